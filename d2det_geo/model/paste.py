"""Masks of boxes as pixels of images."""

from __future__ import annotations

from torch import Tensor

from d2det_geo.model.convention import Convention, clip_boxes, mask_frame
from d2det_ops import paste_masks as paste
from d2det_ops.paste_masks import PastedMasks


def paste_masks(masks: Tensor, boxes: Tensor, image_size: tuple[int, int], convention: Convention) -> PastedMasks:
    """Draw masks into the pixels of an image, each where its box is (section 10.4); no mask takes the whole image.

    An aligned mask is cut off by the image's border. A legacy one spans the whole pixels of its box and is
    squeezed into what the image leaves of it, as the authors do.

    Args:
        masks: ``[D, 28, 28]`` probabilities over each box.
        boxes: ``[D, 4]`` in px of the image.
        image_size: ``(h, w)``.
        convention: decides what a mask spans, and whether a half belongs to it.
    """
    frames, legacy = mask_frame(boxes, convention), convention is Convention.LEGACY
    if legacy:
        frames = clip_boxes(frames, image_size, convention)
    return paste(masks, frames, image_size, strict=legacy)
