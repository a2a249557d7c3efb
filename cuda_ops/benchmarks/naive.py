"""What one would write without an operator: deformable RoI pooling by ``grid_sample``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from d2det_ops.pyramid import roi_levels


def deform_roi_pool(
    features: Sequence[Tensor], rois: Tensor, offsets: Tensor | None, *, bins: int, samples: int, strides: Sequence[int]
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every RoI, level by level and image by image.

    Args:
        features: P2.. each ``[N, C, H, W]``.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), px.
        offsets: ``[K, 2, P, P]``, shift of each bin along x and y as a share of the RoI's size.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        strides: px per feature cell of each level.

    Returns:
        ``[K, C, P, P]``.
    """
    levels = roi_levels(rois, len(strides))
    pooled = features[0].new_zeros(len(rois), features[0].shape[1], bins, bins)
    for level, (cells, stride) in enumerate(zip(features, strides, strict=True)):
        for image in range(len(cells)):
            rows = ((levels == level) & (rois[:, 0] == image)).nonzero()[:, 0]
            if len(rows):
                shifts = None if offsets is None else offsets[rows]
                x, y = _positions(rois[rows, 1:], shifts, bins, samples, stride)
                pooled = pooled.index_copy(0, rows, _averages(cells[image : image + 1], x, y, bins, samples))
    return pooled


def _positions(boxes: Tensor, offsets: Tensor | None, bins: int, samples: int, stride: int) -> tuple[Tensor, Tensor]:
    """Where each sample lies along x and along y, both ``[k, P S, P S]`` in cells; 0 is the centre of the first."""
    count = bins * samples
    share = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    along = low[:, :, None] + size[:, :, None] * share
    x = along[:, 0, None, :].expand(-1, count, -1)
    y = along[:, 1, :, None].expand(-1, -1, count)
    if offsets is not None:
        moved = offsets.repeat_interleave(samples, 2).repeat_interleave(samples, 3) * size[:, :, None, None]
        x, y = x + moved[:, 0], y + moved[:, 1]
    return x / stride - 0.5, y / stride - 0.5


def _averages(cells: Tensor, x: Tensor, y: Tensor, bins: int, samples: int) -> Tensor:
    """Sample one image ``[1, C, H, W]`` and average by bin, ``[k, C, P, P]``; zero beyond a cell outside."""
    height, width = cells.shape[2:]
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    grid = torch.stack([(x + 0.5) * (2 / width) - 1, (y + 0.5) * (2 / height) - 1], -1)
    flat = grid.reshape(1, -1, bins * samples, 2).to(cells.dtype)
    sampled = F.grid_sample(cells, flat, padding_mode="border", align_corners=False)[0]
    sampled = sampled.view(len(sampled), len(x), bins * samples, bins * samples).transpose(0, 1)
    return F.avg_pool2d(sampled * inside[:, None], samples)
