"""Suppression of duplicates, class by class."""

from d2det_ops.nms.op import nms

__all__ = ["nms"]
