"""Deformable RoI pooling in plain torch: one weighted gather over channels-last features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

OUTSIDE = -2.0  # cells; samples before -1 count as zero


def roi_pool(
    features: Tensor, rois: Tensor, *, bins: int, samples: int, stride: int, offsets: Tensor | None = None
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every RoI.

    The aligned sampler of the D2Det specification (section 5.1 without its rounding): sample
    (a, b) of a bin lies at ``(b + 0.5) / S`` of its width and ``(a + 0.5) / S`` of its height, moved by
    ``offsets`` times the RoI's size. Samples outside ``[-1, W] x [-1, H]`` count as zero. Without
    offsets this is ``torchvision.ops.roi_align(aligned=True, sampling_ratio=S)``.

    A bin is a weighted sum of ``4 S^2`` feature rows, which is what ``embedding_bag`` computes;
    its gradients reach the features, and through the bilinear weights the offsets.

    Args:
        features: ``[N, C, H, W]`` of one pyramid level.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        stride: image px per feature cell.
        offsets: ``[K, 2, P, P]``, shift of each bin along x and y as a share of the RoI's size.

    Returns:
        ``[K, C, P, P]`` float32.
    """
    images, channels, height, width = features.shape
    table = features.float().permute(0, 2, 3, 1).reshape(images * height * width, channels)
    shift_x, shift_y = (None, None) if offsets is None else offsets.float().unbind(1)
    x = _positions(rois[:, 1], rois[:, 3], bins, samples, stride)[:, None, :].expand(-1, bins * samples, -1)
    y = _positions(rois[:, 2], rois[:, 4], bins, samples, stride)[:, :, None].expand(-1, -1, bins * samples)
    x = _shifted(x, shift_x, (rois[:, 3] - rois[:, 1]) / stride, samples)
    y = _shifted(y, shift_y, (rois[:, 4] - rois[:, 2]) / stride, samples)
    first = rois[:, 0].long()[:, None, None] * (height * width)

    valid = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x0, x1, right = _neighbours(x, width)
    y0, y1, below = _neighbours(y, height)
    share = valid / (samples * samples)
    rows = torch.stack([y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1], -1) + first[..., None]
    weights = torch.stack(
        [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right], -1
    ) * share.unsqueeze(-1)
    pooled = F.embedding_bag(
        _bags(rows, bins, samples), table, per_sample_weights=_bags(weights, bins, samples), mode="sum"
    )
    return pooled.view(len(rois), bins, bins, channels).permute(0, 3, 1, 2)


def _positions(start: Tensor, end: Tensor, bins: int, samples: int, stride: int) -> Tensor:
    """Sample positions along one axis, ``[K, P * S]``, in cells (0 is the centre of the first cell)."""
    steps = (torch.arange(bins * samples, device=start.device, dtype=torch.float32) + 0.5) / (bins * samples)
    return (start[:, None] + (end - start)[:, None] * steps) / stride - 0.5


def _shifted(positions: Tensor, shift: Tensor | None, size: Tensor, samples: int) -> Tensor:
    """Move positions ``[K, P S, P S]`` by the offset of their bin; what is not a number lies outside."""
    if shift is not None:
        spread = shift.repeat_interleave(samples, 1).repeat_interleave(samples, 2)
        positions = positions + spread * size[:, None, None]
    return positions.nan_to_num(nan=OUTSIDE)


def _neighbours(position: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each position, clamped to the map, and the share of the second."""
    clamped = position.clamp(0, length - 1)
    low = clamped.detach().floor()
    return low.long(), (low + 1).clamp(max=length - 1).long(), clamped - low


def _bags(taps: Tensor, bins: int, samples: int) -> Tensor:
    """``[K, P S, P S, 4]`` taps grouped by bin, ``[K P P, 4 S S]``."""
    grouped = taps.view(len(taps), bins, samples, bins, samples, 4).transpose(2, 3)
    return grouped.reshape(len(taps) * bins * bins, samples * samples * 4)
