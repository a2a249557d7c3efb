"""The operators of D2Det, one folder each; ``reference.py`` is the truth, ``op.py`` chooses what runs on a device."""

from d2det_ops.deform_roi_pool import deform_roi_pool
from d2det_ops.discriminative_pool import discriminative_pool
from d2det_ops.nms import nms
from d2det_ops.paste_masks import paste_masks
from d2det_ops.roi_align import roi_align
from d2det_ops.soft_nms import soft_nms

__all__ = ["deform_roi_pool", "discriminative_pool", "nms", "paste_masks", "roi_align", "soft_nms"]
