"""RoIAlign with learned bin offsets (deformable RoI pooling)."""

from d2det_ops.roi_pool.reference import roi_pool

__all__ = ["roi_pool"]
