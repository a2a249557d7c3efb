"""Masks of boxes as masks of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from d2det_geo.model.convention import Convention, clip_boxes, mask_frame


def paste_masks(masks: Tensor, boxes: Tensor, image_size: tuple[int, int], convention: Convention) -> Tensor:
    """Draw masks into an image, pixel by pixel at the pixels' centres (section 10.4).

    An aligned mask is cut off by the image's border. A legacy one spans the whole pixels of its box and is
    squeezed into what the image leaves of it, as the authors do.

    Args:
        masks: ``[D, 28, 28]`` probabilities over each box.
        boxes: ``[D, 4]`` in px of the image.
        image_size: ``(h, w)``.
        convention: decides what a mask spans, and whether a half belongs to it.

    Returns:
        ``[D, h, w]`` bool.
    """
    height, width = image_size
    frame = mask_frame(boxes, convention)
    if convention is Convention.LEGACY:
        frame = clip_boxes(frame, image_size, convention)
    size = (frame[:, 2:] - frame[:, :2]).clamp(min=1e-6)
    x = (torch.arange(width, device=frame.device) + 0.5 - frame[:, :1]) / size[:, :1]
    y = (torch.arange(height, device=frame.device) + 0.5 - frame[:, 1:2]) / size[:, 1:]
    inside = ((y > 0) & (y < 1))[:, :, None] & ((x > 0) & (x < 1))[:, None, :]
    shape = (len(boxes), height, width)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], -1) * 2 - 1
    drawn = F.grid_sample(masks[:, None], grid.to(masks.dtype), padding_mode="border", align_corners=False)[:, 0]
    return inside & ((drawn > 0.5) if convention is Convention.LEGACY else (drawn >= 0.5))
