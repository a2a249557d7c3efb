"""RoIAlign over a feature pyramid."""

from d2det_ops.roi_align.op import roi_align

__all__ = ["roi_align"]
