"""Pooling of RoIs over a feature pyramid, each bin moved by an offset."""

from d2det_ops.deform_roi_pool.op import deform_roi_pool

__all__ = ["deform_roi_pool"]
