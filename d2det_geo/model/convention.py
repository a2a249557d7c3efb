"""The two conventions a network can be trained in, and the arithmetic they do differently.

Boxes are the same in both: ``xyxy`` px, pixel edges at integers. The authors' network thinks of a box
by its last pixels; such a box ``(x1, y1, x2, y2)`` is ``(x1, y1, x2 + 1, y2 + 1)`` here.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image


class Convention(StrEnum):
    """How the network counts pixels where it matters; a bundle says which it was trained with."""

    ALIGNED = "aligned"
    """pixel edges everywhere: nothing is rounded, nothing lost at the border"""
    LEGACY = "legacy"
    """as the authors' checkpoints were trained"""


def clip_boxes(boxes: Tensor, image_size: tuple[int, int], convention: Convention) -> Tensor:
    """Clip ``[..., 4]`` boxes to an image of ``(h, w)``; a legacy box keeps a pixel of it."""
    if convention is Convention.ALIGNED:
        aligned: Tensor = clip_boxes_to_image(boxes, image_size)
        return aligned
    height, width = image_size
    least = boxes.new_tensor([0, 0, 1, 1])
    most = boxes.new_tensor([width - 1, height - 1, width, height])
    return boxes.clamp(least, most)


def clip_refined(boxes: Tensor, image_size: tuple[int, int], convention: Convention) -> Tensor:
    """Clip refined ``[..., 4]`` boxes to an image of ``(h, w)``; legacy ones may leave it (section 9 step 7)."""
    return boxes if convention is Convention.LEGACY else clip_boxes(boxes, image_size, convention)


def to_corners(boxes: Tensor, convention: Convention) -> Tensor:
    """Turn ``[..., 4]`` boxes into what dense regression divides: legacy boxes end at their last pixel."""
    return boxes - _tail(boxes) if convention is Convention.LEGACY else boxes


def from_corners(corners: Tensor, convention: Convention) -> Tensor:
    """Undo ``to_corners``."""
    return corners + _tail(corners) if convention is Convention.LEGACY else corners


def _tail(boxes: Tensor) -> Tensor:
    return torch.tensor([0, 0, 1, 1], dtype=boxes.dtype, device=boxes.device)


def mask_frame(boxes: Tensor, convention: Convention) -> Tensor:
    """Turn ``[..., 4]`` boxes into what their masks span: legacy ones the whole pixels from first to last."""
    if convention is Convention.ALIGNED:
        return boxes
    corners = to_corners(boxes, convention).trunc()
    low, high = corners[..., :2], corners[..., 2:] + 1
    return torch.cat([low, torch.maximum(high, low + 1)], -1)
