"""Bilinear samples of a feature pyramid, averaged by bin, in plain torch: what the RoI operators must compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

OUTSIDE = -2.0  # cells; samples before -1 count as zero


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Where bins lie: RoIs with their levels."""

    images: Tensor
    """``[K]`` int64; samples of an image beyond the batch count as zero"""
    levels: Tensor
    """``[K]`` int64"""
    boxes: Tensor
    """``[K, 4]`` xyxy image px, which the bins divide"""
    strides: Tensor
    """``[K]`` image px per cell of their levels"""


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Where the map of each region lies among the cells of a pyramid, level by level, image by image."""

    first: Tensor
    """``[K, 1, 1]`` int64"""
    height: Tensor
    """``[K, 1, 1]`` cells"""
    width: Tensor
    """``[K, 1, 1]`` cells"""
    known: Tensor
    """``[K, 1, 1]`` whether the image is in the batch"""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What each bin reads: ``4 S^2`` cells and their weights."""

    cells: Tensor
    """``[K P P, 4 S S]`` int64"""
    weights: Tensor
    """``[K P P, 4 S S]``"""
    slopes: tuple[Tensor, Tensor]
    """how the weights change when the bin moves along x and y, each ``[K P P, 4 S S]`` and per cell"""


def precision(features: Tensor) -> torch.dtype:
    """Type positions and sums have: float32, but float64 for float64 features."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def choose_regions(rois: Tensor, levels: Tensor, strides: Sequence[int], dtype: torch.dtype) -> Regions:
    """Take ``[K, 5]`` RoIs apart, in ``dtype``; no gradient reaches them."""
    rois = rois.detach().to(dtype)
    images = rois[:, 0].nan_to_num(nan=-1.0).clamp(-1, 2**31).long()
    return Regions(images, levels, rois[:, 1:], rois.new_tensor(list(strides))[levels])


def sample_bins(
    features: Sequence[Tensor], regions: Regions, offsets: Tensor | None, *, bins: int, samples: int, legacy: bool
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every region.

    A bin is a weighted sum of cells, which is what ``embedding_bag`` computes; its gradients reach the
    features, and through the weights the offsets. What is not a number lies outside.

    Args:
        features: levels ``[N, C, H_l, W_l]``.
        regions: K of them.
        offsets: ``[K, 2, P, P]``, shift of each bin along x and y as a share of the region's size.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        legacy: sample (a, b) lies at ``b / S`` and ``a / S`` of its bin instead of ``(b + 0.5) / S`` and
            ``(a + 0.5) / S``, and only samples in ``[-0.5, W - 0.5] x [-0.5, H - 0.5]`` are averaged,
            where otherwise those outside ``[-1, W] x [-1, H]`` count as zero.

    Returns:
        ``[K, C, P, P]`` like the features, channels-last in memory.
    """
    plan = make_plan(pyramid_shape(features), regions, offsets, bins=bins, samples=samples, legacy=legacy)
    pooled = F.embedding_bag(plan.cells, _table(features), per_sample_weights=plan.weights, mode="sum")
    grid = pooled.view(len(regions.boxes), bins, bins, features[0].shape[1])
    return grid.permute(0, 3, 1, 2).to(features[0].dtype)


def features_gradient(
    gradient: Tensor,
    shape: Sequence[int],
    regions: Regions,
    offsets: Tensor | None,
    *,
    samples: int,
    legacy: bool,
) -> list[Tensor]:
    """Spread the gradient of bins ``[K, C, P, P]`` over the levels of a pyramid of ``pyramid_shape``, channels-last.

    The adjoint of ``sample_bins``, for where autograd is off.
    """
    dtype, bins = precision(gradient), gradient.shape[2]
    plan = make_plan(shape, regions, offsets, bins=bins, samples=samples, legacy=legacy)
    bags = torch.arange(len(plan.cells), device=gradient.device)[:, None].expand_as(plan.cells)
    sizes = [shape[0] * height * width for height, width in level_sizes(shape)]
    taken = torch.sparse_coo_tensor(
        torch.stack([plan.cells.flatten(), bags.flatten()]),
        plan.weights.detach().flatten(),
        (sum(sizes), len(plan.cells)),
        check_invariants=False,
    )
    rows = (taken @ gradient.to(dtype).permute(0, 2, 3, 1).flatten(0, 2)).to(gradient.dtype)
    parts = zip(torch.split(rows, sizes), level_sizes(shape), strict=True)
    return [part.view(shape[0], *size, gradient.shape[1]).permute(0, 3, 1, 2) for part, size in parts]


def offsets_gradient(
    gradient: Tensor, features: Sequence[Tensor], regions: Regions, offsets: Tensor, *, samples: int, legacy: bool
) -> Tensor:
    """Gradient of bins ``[K, C, P, P]`` with regard to ``offsets``: how the bins change as they move."""
    bins, dtype = gradient.shape[2], precision(gradient)
    plan = make_plan(pyramid_shape(features), regions, offsets, bins=bins, samples=samples, legacy=legacy)
    _, size = sample_positions(regions, bins, samples, legacy)
    table, upstream = _table(features), gradient.to(dtype).permute(0, 2, 3, 1).flatten(0, 2)
    moves = [F.embedding_bag(plan.cells, table, per_sample_weights=slope, mode="sum") for slope in plan.slopes]
    slopes = torch.stack([(move * upstream).sum(1).view(-1, bins, bins) for move in moves], 1)
    return (slopes * size[:, :, None, None]).to(offsets.dtype)


def pyramid_shape(features: Sequence[Tensor]) -> list[int]:
    """Images, then the rows and columns of each level."""
    return [len(features[0]), *(side for level in features for side in level.shape[2:])]


def level_sizes(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Rows and columns of each level of a pyramid of ``pyramid_shape``."""
    return list(zip(shape[1::2], shape[2::2], strict=True))


def empty_pyramid(gradient: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Levels of a pyramid of ``pyramid_shape``, with the channels of ``gradient [K, C, P, P]``, channels-last."""
    sizes = [(shape[0], *size, gradient.shape[1]) for size in level_sizes(shape)]
    return [gradient.new_empty(size).permute(0, 3, 1, 2) for size in sizes]


def make_plan(
    shape: Sequence[int], regions: Regions, offsets: Tensor | None, *, bins: int, samples: int, legacy: bool
) -> Plan:
    """Choose the cells and weights of every bin in a pyramid of ``pyramid_shape``; see ``sample_bins``."""
    maps = _find_maps(shape, regions)
    x, y = _moved(*sample_positions(regions, bins, samples, legacy), offsets, samples)
    margin = 0.5 if legacy else 1.0
    valid = (x >= -margin) & (x <= maps.width - 1 + margin) & (y >= -margin) & (y <= maps.height - 1 + margin)
    valid &= maps.known
    share = valid.to(x.dtype) / (_kept(valid, bins, samples) if legacy else samples * samples)
    columns, across, x_slopes = _neighbours(x, maps.width, legacy)
    rows, down, y_slopes = _neighbours(y, maps.height, legacy)

    def bags(vertical: Sequence[Tensor], horizontal: Sequence[Tensor]) -> Tensor:
        return _bags(torch.stack([v * h * share for v in vertical for h in horizontal], -1), bins, samples)

    cells = torch.stack([maps.first + row * maps.width + column for row in rows for column in columns], -1)
    return Plan(_bags(cells, bins, samples), bags(down, across), (bags(down, x_slopes), bags(y_slopes, across)))


def _table(features: Sequence[Tensor]) -> Tensor:
    """The cells of a pyramid, ``[R, C]``."""
    dtype = precision(features[0])
    return torch.cat([level.to(dtype).permute(0, 2, 3, 1).flatten(0, 2) for level in features])


def _find_maps(shape: Sequence[int], regions: Regions) -> Maps:
    images, sizes = shape[0], level_sizes(shape)
    starts = [0, *accumulate(images * height * width for height, width in sizes)][:-1]
    numbers = regions.levels.new_tensor([[*size, start] for size, start in zip(sizes, starts, strict=True)])
    height, width, start = (column[:, None, None] for column in numbers[regions.levels].unbind(1))
    index = regions.images[:, None, None]
    known = (index >= 0) & (index < images)
    return Maps(start + index.where(known, 0) * height * width, height, width, known)


def sample_positions(regions: Regions, bins: int, samples: int, legacy: bool) -> tuple[Tensor, Tensor]:
    """Where samples lie along x and y before offsets, ``[K, 2, P S]``, and the size of the regions, ``[K, 2]``.

    Both in cells; 0 is the centre of the first cell. A size that is not finite is given as 0, for it would spoil
    gradients; the samples of such a region are outside anyway.
    """
    count = bins * samples
    start, extent = regions.boxes[:, :2], regions.boxes[:, 2:] - regions.boxes[:, :2]
    steps = (torch.arange(count, device=start.device, dtype=start.dtype) + (0.0 if legacy else 0.5)) / count
    along = (start[:, :, None] + extent[:, :, None] * steps) / regions.strides[:, None, None] - 0.5
    return along.nan_to_num(nan=OUTSIDE), (extent / regions.strides[:, None]).nan_to_num(0.0, 0.0, 0.0)


def _moved(along: Tensor, size: Tensor, offsets: Tensor | None, samples: int) -> tuple[Tensor, Tensor]:
    """X and y of all samples, ``[K, P S, P S]`` cells, each bin moved by its offset."""
    count = along.shape[2]
    x, y = along[:, 0, None, :].expand(-1, count, -1), along[:, 1, :, None].expand(-1, -1, count)
    if offsets is None:
        return x, y
    shifts = offsets.to(along.dtype) * size[:, :, None, None]
    spread = shifts.repeat_interleave(samples, 2).repeat_interleave(samples, 3)
    return (x + spread[:, 0]).nan_to_num(nan=OUTSIDE), (y + spread[:, 1]).nan_to_num(nan=OUTSIDE)


def _kept(valid: Tensor, bins: int, samples: int) -> Tensor:
    """How many samples of its bin are valid, at least 1, for each of ``[K, P S, P S]``."""
    count = valid.view(len(valid), bins, samples, bins, samples).sum((2, 4), keepdim=True).clamp(min=1)
    return count.expand(-1, -1, samples, -1, samples).reshape(valid.shape)


def _neighbours(position: Tensor, length: Tensor, legacy: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The two cells around each position, clamped to the map, their shares, and how these change with it.

    On a cell's centre the legacy sampler takes that cell twice, which gives the offsets no gradient there.
    """
    last = (length - 1).to(position.dtype)
    clamped = position.clamp(torch.zeros_like(last), last)
    low = clamped.detach().floor()
    high = clamped.detach().ceil() if legacy else torch.minimum(low + 1, last)
    inside = (clamped == position).to(position.dtype)
    return [low.long(), high.long()], [1 - (clamped - low), clamped - low], [-inside, inside]


def _bags(taps: Tensor, bins: int, samples: int) -> Tensor:
    """``[K, P S, P S, 4]`` taps grouped by bin, ``[K P P, 4 S S]``."""
    grouped = taps.view(len(taps), bins, samples, bins, samples, 4).transpose(2, 3)
    return grouped.reshape(len(taps) * bins * bins, samples * samples * 4)
