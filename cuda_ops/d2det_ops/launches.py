"""Give the kernels of ``bilinear`` what they take: maps with channels last, results to write, programs and warps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import triton
from torch import Tensor

from d2det_ops import bilinear
from d2det_ops.sampling import level_sizes, precision

LINE = 512  # bytes the threads of a warp read at once
CHANNELS = 256  # of a program, at most
FIXED_POINT = 2.0**30  # what the largest gradient becomes; leaves room in int64 for 2^33 of them in one cell
LEAST_GRADIENT = 2.0**-90  # below, the fixed point would not be finite


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where samples lie."""

    rois: Tensor
    """``[K, 5]`` as (image, x1, y1, x2, y2), image px"""
    levels: Tensor
    """``[K]`` int64"""
    offsets: Tensor | None
    """``[K, 2, P, P]``"""
    samples: int
    """per side of a bin"""
    strides: Sequence[int]
    """of the levels, image px per cell"""
    box: Literal["aligned", "placed", "whole"]
    """see ``bilinear._placed``"""


def average(features: Sequence[Tensor], places: Places, bins: int) -> Tensor:
    """Average the samples of each bin, ``[K, C, P, P]`` channels-last, in the type of the features."""
    first = features[0]
    pooled = torch.empty(len(places.rois), bins, bins, first.shape[1], dtype=first.dtype, device=first.device)
    block = min(triton.next_power_of_2(first.shape[1]), CHANNELS)
    maps = [level.detach().permute(0, 2, 3, 1).contiguous() for level in features]
    _launch(bilinear.average_bins, maps, places, pooled, block=block, warps=1)
    return pooled.permute(0, 3, 1, 2)


def spread(gradient: Tensor, places: Places, shape: Sequence[int], deterministic: bool) -> list[Tensor]:
    """Spread the gradient of bins ``[K, C, P, P]`` over the levels of a pyramid of ``pyramid_shape``.

    Atomics add float32 (float64 if the gradient is) in any order. Deterministic ones add whole numbers, of which the
    largest gradient is ``2**30``: what n bins add to a cell is off by at most ``n * 2**-30`` of that, and gradients
    that are not finite leave nothing finite.

    Returns:
        ``[N, C, H_l, W_l]`` channels-last, in the type of the gradient.
    """
    upstream, dtype = gradient.detach().permute(0, 2, 3, 1).contiguous(), precision(gradient)
    channels, scale = upstream.shape[3], None
    if deterministic and len(upstream):
        largest = torch.linalg.vector_norm(upstream, torch.inf, dtype=dtype).clamp(min=LEAST_GRADIENT)
        scale = FIXED_POINT / largest.view(1)
    kind = dtype if scale is None else torch.int64
    sums = [torch.zeros(shape[0], *size, channels, dtype=kind, device=gradient.device) for size in level_sizes(shape)]
    block = min(triton.next_power_of_2(channels), CHANNELS)
    _launch(bilinear.spread_bins, sums, places, upstream, scale, block=block, warps=2)
    if scale is not None:
        sums = [level / scale for level in sums]
    return [level.to(gradient.dtype).permute(0, 3, 1, 2) for level in sums]


def move(gradient: Tensor, features: Sequence[Tensor], places: Places, offsets: Tensor) -> Tensor:
    """Gradient of ``offsets``, like them, given that of bins ``[K, C, P, P]``; always deterministic."""
    upstream = gradient.detach().permute(0, 2, 3, 1).contiguous()
    moved = torch.empty(offsets.shape, dtype=precision(gradient), device=offsets.device)
    block = min(triton.next_power_of_2(upstream.shape[3]), LINE // upstream.element_size())
    maps = [level.detach().permute(0, 2, 3, 1).contiguous() for level in features]
    _launch(bilinear.move_bins, maps, places, upstream, moved, block=block, warps=1)
    return moved.to(offsets.dtype)


def _launch(
    kernel: Any, maps: Sequence[Tensor], places: Places, bins: Tensor, *others: Tensor | None, block: int, warps: int
) -> None:
    """Start a kernel, on the device of its tensors, that reads or writes ``bins [K, P, P, C]``.

    Each thread finds out by itself where samples lie: few warps, with many channels a thread, do less in all.
    """
    count, side, _, channels = bins.shape
    if bins.numel() == 0:
        return
    blocks = 1 if kernel is bilinear.move_bins else triton.cdiv(channels, block)
    grids = tuple(
        (float(level.shape[1]), float(level.shape[2]), float(stride))
        for level, stride in zip(maps, places.strides, strict=True)
    )
    rois = places.rois.detach().to(precision(bins)).contiguous()
    offsets = None if places.offsets is None else places.offsets.detach().contiguous()
    with torch.cuda.device(bins.get_device()):  # -1 in the interpreter, which changes nothing
        kernel[(count * side * blocks,)](
            tuple(maps), grids, len(maps[0]), rois, places.levels.contiguous(), offsets, bins, *others,
            C=channels, P=side, S=places.samples, BOX=places.box, BLOCK=block,
            num_warps=warps, enable_fp_fusion=False,
        )  # fmt: skip
