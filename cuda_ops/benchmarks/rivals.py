"""What torchvision has, called the way a detector calls it, and the references in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import roi_align

from d2det_ops.paste_masks import PastedMasks
from d2det_ops.paste_masks.crops import windows_of
from d2det_ops.paste_masks.reference import fill
from d2det_ops.pyramid import roi_levels
from d2det_ops.roi_align.reference import roi_align as roi_align_reference


def torchvision_levels(
    features: Sequence[Tensor], rois: Tensor, *, bins: int, samples: int, strides: Sequence[int]
) -> Tensor:
    """Pool the RoIs of each level by themselves and put them where they belong, as ``MultiScaleRoIAlign`` does.

    That class cannot be told ``aligned=True``. The levels are ours: its borders differ in the last digits.
    """
    levels = roi_levels(rois, len(strides))
    pooled = torch.zeros(
        len(rois), features[0].shape[1], bins, bins, dtype=features[0].dtype, device=features[0].device
    )
    for level, (cells, stride) in enumerate(zip(features, strides, strict=True)):
        index = torch.where(levels == level)[0]
        part = roi_align(cells, rois[index].to(cells.dtype), (bins, bins), 1 / stride, samples, aligned=True)
        pooled[index] = part.to(pooled.dtype)
    return pooled


def reference_levels(
    features: Sequence[Tensor], rois: Tensor, *, bins: int, samples: int, strides: Sequence[int]
) -> Tensor:
    """Pool with plain torch, the choice of levels included."""
    levels = roi_levels(rois, len(strides))
    return roi_align_reference(features, rois, levels, bins=bins, samples=samples, strides=strides, legacy=False)


def paste_images(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Draw ``[D, 28, 28]`` masks into images ``[D, 1, H, W]``, thresholded as its caller does."""
    drawn: Tensor = paste_masks_in_image(masks[:, None], boxes, image_size)
    return drawn >= 0.5


def reference_masks(masks: Tensor, frames: Tensor, image_size: tuple[int, int]) -> PastedMasks:
    """Paste with plain torch, one mask after the other."""
    windows, starts = windows_of(frames, image_size)
    return PastedMasks(fill(masks, frames, windows, starts, 0.5), starts, windows)
