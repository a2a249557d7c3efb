"""Suppression by decaying scores."""

from d2det_ops.soft_nms.op import soft_nms

__all__ = ["soft_nms"]
