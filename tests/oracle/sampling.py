"""The authors' two RoI samplers, one RoI after the other, written from the parity notes (sections 3 and 4.6)."""

from __future__ import annotations

import torch
from torch import Tensor


def away_from_zero(values: Tensor) -> Tensor:
    """Round as C does: halves away from zero."""
    return values.sign() * (values.abs() + 0.5).floor()


def bilinear(feature: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read ``[C, H, W]`` at points of its own pixels, ``[...]``, that are clamped to it; ``[C, ...]``."""
    height, width = feature.shape[1:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = x.ceil().long(), y.ceil().long()
    dx, dy = x - left, y - top
    upper = feature[:, top, left] * (1 - dx) + feature[:, top, right] * dx
    lower = feature[:, bottom, left] * (1 - dx) + feature[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def deformable_pool(feature: Tensor, roi: Tensor, scale: float, bins: int, samples: int, moves: Tensor) -> Tensor:
    """Pool one RoI ``[4]`` whose corners are pixels that belong to it; moves ``[2, bins, bins]``, shares of its size.

    Returns:
        ``[C, bins, bins]``.
    """
    height, width = feature.shape[1:]
    low = away_from_zero(roi[:2]) * scale - 0.5
    high = (away_from_zero(roi[2:]) + 1) * scale - 0.5
    roi_width, roi_height = (high - low).clamp(min=0.1)
    bin_x, sample_x = torch.arange(bins)[None, :, None, None], torch.arange(samples)[None, None, None, :]
    bin_y, sample_y = torch.arange(bins)[:, None, None, None], torch.arange(samples)[None, None, :, None]
    step_x, step_y = roi_width / bins, roi_height / bins
    x = bin_x * step_x + low[0] + moves[0, :, :, None, None] * roi_width + sample_x * step_x / samples
    y = bin_y * step_y + low[1] + moves[1, :, :, None, None] * roi_height + sample_y * step_y / samples
    x, y = torch.broadcast_tensors(x, y)
    kept = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    total = (bilinear(feature, x, y) * kept).sum((-2, -1))
    return total / kept.sum((-2, -1)).clamp(min=1)


def roi_align(feature: Tensor, roi: Tensor, scale: float, bins: int, samples: int) -> Tensor:
    """Average samples in the middle of their share of a bin, over ``[x1, x2 + 1] * scale``; ``[C, bins, bins]``."""
    height, width = feature.shape[1:]
    low = roi[:2] * scale
    size = ((roi[2:] + 1) * scale - low).clamp(min=0)
    steps = (torch.arange(bins * samples) + 0.5) / (bins * samples)
    x, y = (low[0] + size[0] * steps)[None, :], (low[1] + size[1] * steps)[:, None]
    x, y = torch.broadcast_tensors(x, y)
    kept = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    read = bilinear(feature, x, y) * kept
    return read.view(-1, bins, samples, bins, samples).mean((2, 4))


def level_of(roi: Tensor) -> int:
    """Choose among P2 to P5 by the RoI's size (section 4 of the specification)."""
    side = ((roi[2] - roi[0] + 1) * (roi[3] - roi[1] + 1)).sqrt()
    return int((side / 56 + 1e-6).log2().floor().clamp(0, 3))
