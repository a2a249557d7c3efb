"""Masks of boxes as pixels of an image, each no larger than its box."""

from d2det_ops.paste_masks.crops import PastedMasks
from d2det_ops.paste_masks.op import paste_masks

__all__ = ["PastedMasks", "paste_masks"]
