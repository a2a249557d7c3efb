"""What operators over a feature pyramid share: the level of a RoI, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEVELS = 4  # RoIs are pooled from P2 to P5
FINEST_SIDE = 56  # RoIs of this side and up to twice it belong to P2
FEATURE_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
BOX_TYPES = (torch.float32, torch.float64)


def roi_levels(rois: Tensor, levels: int = LEVELS) -> Tensor:
    """Choose the pyramid level of each RoI: 0 (P2) to 3 (P5), borders at 112, 224 and 448 px (section 4).

    Args:
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px; one that is not a number goes to level 0.
        levels: how many the pyramid has; RoIs of missing ones go to the last.

    Returns:
        ``[K]`` int64.
    """
    size = (rois[:, 3:] - rois[:, 1:3]).clamp(min=0)
    side = size.prod(1).sqrt()
    level = (side / FINEST_SIDE + 1e-6).log2().floor().nan_to_num(nan=0.0)
    return level.clamp(0, min(levels, LEVELS) - 1).long()


def pooled_levels(features: Sequence[Tensor], strides: Sequence[int]) -> tuple[list[Tensor], list[int]]:
    """Check a pyramid, and return the levels RoIs are pooled from with their strides.

    Args:
        features: P2 and up, each ``[N, C, H_l, W_l]``; what is beyond P5 is not looked at.
        strides: image px per cell of each.
    """
    if not features:
        raise ValueError("a pyramid needs at least one level")
    used = list(features[:LEVELS])
    if len(strides) < len(used):
        raise ValueError(f"{len(used)} levels need as many strides, got {list(strides)}")
    first = used[0]
    for level in used:
        if level.ndim != 4 or level.shape[:2] != first.shape[:2] or 0 in level.shape[2:]:
            raise ValueError(f"levels must be [N, C, H, W] with the same N and C, got {[tuple(x.shape) for x in used]}")
        if level.dtype != first.dtype or level.device != first.device:
            raise ValueError(f"levels differ in type or device: {[(x.dtype, x.device) for x in used]}")
    if first.dtype not in FEATURE_TYPES:
        raise TypeError(f"features must be floating, got {first.dtype}")
    return used, list(strides[: len(used)])


def check_rois(rois: Tensor, features: Sequence[Tensor]) -> None:
    """Refuse RoIs that are not ``[K, 5]`` float on the device of the features."""
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(f"RoIs must be [K, 5] as (image, x1, y1, x2, y2), got {tuple(rois.shape)}")
    if rois.dtype not in BOX_TYPES:
        raise TypeError(f"RoIs must be float32 or float64, got {rois.dtype}: half precision moves boxes")
    if rois.device != features[0].device:
        raise ValueError(f"RoIs on {rois.device}, features on {features[0].device}")


def check_grid(bins: int, samples: int) -> None:
    """Refuse a grid of no bins or no samples."""
    if bins < 1 or samples < 1:
        raise ValueError(f"a RoI needs at least one bin and one sample, got bins={bins}, samples={samples}")


def check_images(rois: Tensor, images: int) -> None:
    """Refuse RoIs ``[K, 5]`` of images beyond the batch; looks at the values, so it waits for a GPU."""
    index = rois[:, 0]
    wrong = ~((index >= 0) & (index < images))
    if bool(wrong.any()):
        raise ValueError(f"RoI of image {index[wrong][0].item():g} in a batch of {images}")
