"""Bilinear samples of a feature pyramid, averaged by bin, compiled for the CPU: ``sampling`` made fast.

The samples of a bin form a grid, so their bilinear weights are an outer product: a few columns with their
shares times a few rows with theirs. Cells that several samples touch are read once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from d2det_ops.loops import TILE, Array, Grid, average_bins, move_bins, spread_bins, transpose
from d2det_ops.pyramid import LEVELS
from d2det_ops.sampling import Regions, level_sizes, precision, pyramid_shape, sample_positions
from d2det_ops.threads import in_threads

BAND = 16  # cells; regions that begin in the same band of rows are read from left to right
CHANNELS = 16  # a cache line of float32: the least a thread gets of the gradient's channels


def sample_bins(
    features: Sequence[Tensor], regions: Regions, offsets: Tensor | None, *, bins: int, samples: int, legacy: bool
) -> Tensor:
    """Do what ``sampling.sample_bins`` does, without gradients; each thread takes its share of the regions."""
    first = features[0]
    grid = _grid(pyramid_shape(features), regions, offsets, bins=bins, samples=samples, legacy=legacy)
    tables = _tables(features, regions.levels)
    pooled = room((len(regions.boxes), bins, bins, first.shape[1]), precision(first))
    target = pooled.numpy()
    in_threads(len(pooled), lambda start, stop: average_bins(tables, grid, target, start, stop))
    return pooled.permute(0, 3, 1, 2).to(first.dtype)


def features_gradient(
    gradient: Tensor,
    shape: Sequence[int],
    regions: Regions,
    offsets: Tensor | None,
    *,
    samples: int,
    legacy: bool,
) -> list[Tensor]:
    """Do what ``sampling.features_gradient`` does; each thread takes its share of the channels."""
    grid = _grid(shape, regions, offsets, bins=gradient.shape[2], samples=samples, legacy=legacy)
    dtype, channels = precision(gradient), gradient.shape[1]
    upstream = channels_last(gradient, dtype)
    spread = [room((shape[0], *size, channels), dtype, zero=True) for size in level_sizes(shape)]
    tables = _padded([level.flatten(0, 2).numpy() for level in spread])

    def work(start: int, stop: int) -> None:
        spread_bins(tables, grid, upstream, start * CHANNELS, min(stop * CHANNELS, channels))

    in_threads(-(-channels // CHANNELS), work)
    return [level.permute(0, 3, 1, 2).to(gradient.dtype) for level in spread]


def offsets_gradient(
    gradient: Tensor, features: Sequence[Tensor], regions: Regions, offsets: Tensor, *, samples: int, legacy: bool
) -> Tensor:
    """Do what ``sampling.offsets_gradient`` does; each thread takes its share of the regions."""
    bins, dtype = gradient.shape[2], precision(gradient)
    grid = _grid(pyramid_shape(features), regions, offsets, bins=bins, samples=samples, legacy=legacy)
    tables, upstream = _tables(features, regions.levels), channels_last(gradient, dtype)
    moved = torch.empty(offsets.shape, dtype=dtype)
    target = moved.numpy()
    in_threads(len(moved), lambda start, stop: move_bins(tables, grid, upstream, target, start, stop))
    return moved.to(offsets.dtype)


def _grid(
    shape: Sequence[int], regions: Regions, offsets: Tensor | None, *, bins: int, samples: int, legacy: bool
) -> Grid:
    along, sizes = sample_positions(regions, bins, samples, legacy)
    shifts = along.new_empty(0, 2, bins, bins) if offsets is None else offsets.detach().to(along.dtype)
    images, levels = regions.images.numpy(), regions.levels.numpy()
    x, y = along[:, :, 0].unbind(1)
    return Grid(
        order=np.lexsort((x.numpy(), y.numpy() // BAND, images, levels)),
        images=images,
        levels=levels,
        shapes=np.array([[shape[0], *size] for size in level_sizes(shape)], dtype=np.int64),
        along=along.numpy(),
        sizes=sizes.numpy(),
        shifts=shifts.contiguous().numpy(),
        bins=bins,
        legacy=legacy,
    )


def _tables(features: Sequence[Tensor], levels: Tensor) -> tuple[Array, ...]:
    """The cells of each level as rows ``[N H W, C]``; of a level without regions, none."""
    used = set(levels.tolist())
    dtype = precision(features[0])
    parts = [level if index in used else level[:0] for index, level in enumerate(features)]
    return _padded([channels_last(level, dtype).reshape(-1, level.shape[1]) for level in parts])


def _padded(tables: list[Array]) -> tuple[Array, ...]:
    """Always as many tables, so that one compiled loop serves pyramids of any height."""
    return tuple(tables + tables[-1:] * (LEVELS - len(tables)))


def channels_last(maps: Tensor, dtype: torch.dtype) -> Array:
    """``[B, C, H, W]`` as contiguous ``[B, H, W, C]``, a view where it can be one."""
    maps = maps.detach()
    last = maps.permute(0, 2, 3, 1)
    if last.is_contiguous():
        return last.to(dtype).numpy()
    images, channels, height, width = maps.shape
    target = room((images, height, width, channels), dtype)
    _copy_transposed(maps.to(dtype).contiguous().flatten(2).numpy(), target.flatten(1, 2).numpy())
    return target.numpy()


def _copy_transposed(source: Array, target: Array) -> None:
    """Copy ``[B, C, R]`` to ``[B, R, C]``; torch would use one thread for it."""
    blocks = -(-source.shape[2] // TILE)
    in_threads(len(source) * blocks, lambda start, stop: transpose(source, target, blocks, start, stop))


def room(shape: Sequence[int], dtype: torch.dtype, zero: bool = False) -> Tensor:
    """Memory for a tensor from numpy, which asks for large pages; torch's is slow to touch the first time."""
    line = 64 // dtype.itemsize  # a cache line, to whose border the tensor is moved
    size = int(np.prod(shape, dtype=np.int64)) + line
    kind = np.dtype(str(dtype).removeprefix("torch."))
    memory = np.zeros(size, kind) if zero else np.empty(size, kind)
    skip = -memory.ctypes.data % 64 // dtype.itemsize
    return torch.from_numpy(memory[skip : skip + size - line]).view(*shape)
