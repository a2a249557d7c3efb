"""Deformable RoI pooling in plain torch: one weighted gather over channels-last features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

OUTSIDE = -2.0  # cells; samples before -1 count as zero


def roi_pool(
    features: Tensor,
    rois: Tensor,
    *,
    bins: int,
    samples: int,
    stride: int,
    offsets: Tensor | None = None,
    legacy: bool = False,
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every RoI.

    The aligned sampler of the D2Det specification (section 5.1 without its rounding): sample
    (a, b) of a bin lies at ``(b + 0.5) / S`` of its width and ``(a + 0.5) / S`` of its height, moved by
    ``offsets`` times the RoI's size. Samples outside ``[-1, W] x [-1, H]`` count as zero. Without
    offsets this is ``torchvision.ops.roi_align(aligned=True, sampling_ratio=S)``.

    A bin is a weighted sum of ``4 S^2`` feature rows, which is what ``embedding_bag`` computes;
    its gradients reach the features, and through the bilinear weights the offsets.

    The authors' sampler (section 5.1, ``legacy``) rounds a RoI to whole pixels, puts sample (a, b) at
    ``b / S`` and ``a / S``, and averages only the samples in ``[-0.5, W - 0.5] x [-0.5, H - 0.5]``.

    Args:
        features: ``[N, C, H, W]`` of one pyramid level.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        stride: image px per feature cell.
        offsets: ``[K, 2, P, P]``, shift of each bin along x and y as a share of the RoI's size.
        legacy: sample as the authors' checkpoints were trained.

    Returns:
        ``[K, C, P, P]`` float32.
    """
    images, channels, height, width = features.shape
    table = features.float().permute(0, 2, 3, 1).reshape(images * height * width, channels)
    shift_x, shift_y = (None, None) if offsets is None else offsets.float().unbind(1)
    boxes, phase, margin = (_whole_pixels(rois[:, 1:], stride), 0.0, 0.5) if legacy else (rois[:, 1:], 0.5, 1.0)
    x = _positions(boxes[:, 0], boxes[:, 2], bins * samples, phase, stride)[:, None, :].expand(-1, bins * samples, -1)
    y = _positions(boxes[:, 1], boxes[:, 3], bins * samples, phase, stride)[:, :, None].expand(-1, -1, bins * samples)
    x = _shifted(x, shift_x, (boxes[:, 2] - boxes[:, 0]) / stride, samples)
    y = _shifted(y, shift_y, (boxes[:, 3] - boxes[:, 1]) / stride, samples)
    first = rois[:, 0].long()[:, None, None] * (height * width)

    last_x, last_y = width - 1 + margin, height - 1 + margin
    valid = (x >= -margin) & (x <= last_x) & (y >= -margin) & (y <= last_y)
    x0, x1, right = _neighbours(x, width, legacy)
    y0, y1, below = _neighbours(y, height, legacy)
    share = valid / (_kept(valid, bins, samples) if legacy else samples * samples)
    rows = torch.stack([y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1], -1) + first[..., None]
    weights = torch.stack(
        [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right], -1
    ) * share.unsqueeze(-1)
    pooled = F.embedding_bag(
        _bags(rows, bins, samples), table, per_sample_weights=_bags(weights, bins, samples), mode="sum"
    )
    return pooled.view(len(rois), bins, bins, channels).permute(0, 3, 1, 2)


def _whole_pixels(boxes: Tensor, stride: int) -> Tensor:
    """Round ``[K, 4]`` as C does, halves away from zero; at least a tenth of a cell wide and high."""
    ends = boxes - boxes.new_tensor([0, 0, 1, 1])  # the authors' last pixel, which is rounded
    whole = ends.sign() * (ends.abs() + 0.5).floor()
    return torch.cat([whole[:, :2], torch.maximum(whole[:, 2:] + 1, whole[:, :2] + 0.1 * stride)], 1)


def _positions(start: Tensor, end: Tensor, count: int, phase: float, stride: int) -> Tensor:
    """Sample positions along one axis, ``[K, count]``, in cells (0 is the centre of the first cell)."""
    steps = (torch.arange(count, device=start.device, dtype=torch.float32) + phase) / count
    return (start[:, None] + (end - start)[:, None] * steps) / stride - 0.5


def _shifted(positions: Tensor, shift: Tensor | None, size: Tensor, samples: int) -> Tensor:
    """Move positions ``[K, P S, P S]`` by the offset of their bin; what is not a number lies outside."""
    if shift is not None:
        spread = shift.repeat_interleave(samples, 1).repeat_interleave(samples, 2)
        positions = positions + spread * size[:, None, None]
    return positions.nan_to_num(nan=OUTSIDE)


def _kept(valid: Tensor, bins: int, samples: int) -> Tensor:
    """How many samples of its bin are valid, at least 1, for each of ``[K, P S, P S]``."""
    count = valid.view(len(valid), bins, samples, bins, samples).sum((2, 4), keepdim=True).clamp(min=1)
    return count.expand(-1, -1, samples, -1, samples).reshape(valid.shape)


def _neighbours(position: Tensor, length: int, legacy: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each position, clamped to the map, and the share of the second.

    On a cell's centre the legacy sampler takes that cell twice, which gives the offsets no gradient there.
    """
    clamped = position.clamp(0, length - 1)
    low = clamped.detach().floor()
    high = clamped.detach().ceil() if legacy else (low + 1).clamp(max=length - 1)
    return low.long(), high.long(), clamped - low


def _bags(taps: Tensor, bins: int, samples: int) -> Tensor:
    """``[K, P S, P S, 4]`` taps grouped by bin, ``[K P P, 4 S S]``."""
    grouped = taps.view(len(taps), bins, samples, bins, samples, 4).transpose(2, 3)
    return grouped.reshape(len(taps) * bins * bins, samples * samples * 4)
