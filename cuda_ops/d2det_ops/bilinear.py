"""Bilinear samples of a feature pyramid, averaged by bin, in Triton: ``sampling`` made fast on GPUs.

A program takes a row of a region's bins, so that neighbouring bins find in the cache what they share, and a block of
channels, which lie next to each other in memory. The samples of a bin form a grid, so their bilinear shares are an
outer product: a few columns with their shares times a few rows with theirs. Cells that several samples touch are read,
or added to, once; what counts for nothing is not touched at all. Positions are rounded as in ``sampling``, bit for bit
where strides are powers of two, so compile with ``enable_fp_fusion=False``.

What the kernels take:

- ``maps``, ``grids``: of each level ``[N, H_l, W_l, C]``, and ``(H_l, W_l, stride)`` as floating numbers: for whole
  ones in tuples Triton would compile anew when they are 1 or multiples of 16.
- ``images``: N; samples of an image beyond the batch count as zero.
- ``rois``: ``[K, 5]`` as (image, x1, y1, x2, y2), float32 or float64, which is the type positions and sums have.
- ``levels``: ``[K]`` int64.
- ``offsets``: ``[K, 2, P, P]`` or None.
- ``C``, ``P``, ``S``: channels, bins per side, samples per side of a bin.
- ``BOX``: how regions are placed and sampled: ``aligned``, ``placed`` or ``whole``, see ``_placed``.
- ``BLOCK``: channels of a program, a power of two. There are K rows of P bins, by blocks of channels, programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

OUTSIDE = tl.constexpr(-2.0)  # cells; samples before -1 count as zero


@triton.jit(do_not_specialize=["images"])
def average_bins(
    maps, grids, images, rois, levels, offsets, pooled,
    C: tl.constexpr, P: tl.constexpr, S: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the average of each bin's samples to ``pooled [K, P, P, C]``."""
    roi, row, channel = _part(C, P, BLOCK)
    level, height, width, stride = _level(maps, grids, tl.load(levels + roi))
    image, known, x, y, wide, tall = _region(rois, roi, images, stride, BOX)
    plane, line = level + image * height * width * C, width.to(tl.int64) * C
    for column in range(P):
        right, down = _shifts(offsets, roi, row, column, P, x)
        columns, across, _, seen_x = _taps(x, wide, stride, right, column, width, P, S, BOX == "whole")
        rows, along, _, seen_y = _taps(y, tall, stride, down, row, height, P, S, BOX == "whole")
        norm = _norm(known, seen_x * seen_y, S, BOX == "whole")
        total = tl.full([BLOCK], 0.0, x.dtype)
        for i in tl.static_range(len(rows)):
            for j in tl.static_range(len(columns)):
                share = along[i] * norm * across[j]
                place = plane + rows[i] * line + columns[j] * C + channel
                cell = tl.load(place, channel < tl.where(share == 0, 0, C), 0.0)
                total = tl.fma(cell.to(x.dtype), share, total)
        tl.store(pooled + ((roi * P + row) * P + column) * C + channel, total, channel < C)


@triton.jit(do_not_specialize=["images"])
def spread_bins(
    maps, grids, images, rois, levels, offsets, upstream, scale,
    C: tl.constexpr, P: tl.constexpr, S: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add the gradient of bins, ``upstream [K, P, P, C]``, to that of ``maps``: the adjoint of ``average_bins``.

    With a ``scale [1]``, what is added is multiplied by it and rounded, and ``maps`` are int64.
    """
    roi, row, channel = _part(C, P, BLOCK)
    level, height, width, stride = _level(maps, grids, tl.load(levels + roi))
    image, known, x, y, wide, tall = _region(rois, roi, images, stride, BOX)
    plane, line = level + image * height * width * C, width.to(tl.int64) * C
    for column in range(P):
        right, down = _shifts(offsets, roi, row, column, P, x)
        columns, across, _, seen_x = _taps(x, wide, stride, right, column, width, P, S, BOX == "whole")
        rows, along, _, seen_y = _taps(y, tall, stride, down, row, height, P, S, BOX == "whole")
        norm = _norm(known, seen_x * seen_y, S, BOX == "whole")
        above = tl.load(upstream + ((roi * P + row) * P + column) * C + channel, channel < C, 0.0).to(x.dtype)
        if scale is not None:
            above *= tl.load(scale)
        for i in tl.static_range(len(rows)):
            for j in tl.static_range(len(columns)):
                share = along[i] * norm * across[j]
                part = above * share
                if scale is not None:
                    part = tl.floor(part + 0.5).to(tl.int64)
                place = plane + rows[i] * line + columns[j] * C + channel
                tl.atomic_add(place, part, channel < tl.where(share == 0, 0, C), sem="relaxed")


@triton.jit(do_not_specialize=["images"])
def move_bins(
    maps, grids, images, rois, levels, offsets, upstream, moved,
    C: tl.constexpr, P: tl.constexpr, S: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``offsets`` to ``moved``, given that of bins, ``upstream [K, P, P, C]``.

    A program takes its row's channels block after block.
    """
    roi, row, first = _part(BLOCK, P, BLOCK)
    level, height, width, stride = _level(maps, grids, tl.load(levels + roi))
    image, known, x, y, wide, tall = _region(rois, roi, images, stride, BOX)
    plane, line = level + image * height * width * C, width.to(tl.int64) * C
    for column in range(P):
        right, down = _shifts(offsets, roi, row, column, P, x)
        columns, across, slopes_x, seen_x = _taps(x, wide, stride, right, column, width, P, S, BOX == "whole")
        rows, along, slopes_y, seen_y = _taps(y, tall, stride, down, row, height, P, S, BOX == "whole")
        norm = _norm(known, seen_x * seen_y, S, BOX == "whole")
        by_x, by_y = tl.full([BLOCK], 0.0, x.dtype), tl.full([BLOCK], 0.0, x.dtype)
        for start in range(0, C, BLOCK):
            channel = start + first
            above = tl.load(upstream + ((roi * P + row) * P + column) * C + channel, channel < C, 0.0).to(x.dtype)
            for i in tl.static_range(len(rows)):
                for j in tl.static_range(len(columns)):
                    of_x, of_y = along[i] * norm * slopes_x[j], slopes_y[i] * norm * across[j]
                    place = plane + rows[i] * line + columns[j] * C + channel
                    cell = tl.load(place, channel < tl.where((of_x == 0) & (of_y == 0), 0, C), 0.0).to(x.dtype) * above
                    by_x, by_y = tl.fma(cell, of_x, by_x), tl.fma(cell, of_y, by_y)
        place = moved + (roi * 2 * P + row) * P + column
        tl.store(place, tl.sum(by_x, 0))
        tl.store(place + P * P, tl.sum(by_y, 0))


@triton.jit
def _part(C: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr):
    """Find this program's region (int64), row of bins and channels."""
    blocks: tl.constexpr = (C + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    channel = program % blocks * BLOCK + tl.arange(0, BLOCK)
    return (program // (blocks * P)).to(tl.int64), program // blocks % P, channel


@triton.jit
def _level(maps, grids, level):
    """Choose the map of a level, its height, width and stride (floating); where there is no such level, the first's."""
    chosen = maps[0]
    height, width, stride = tl.to_tensor(grids[0][0]), tl.to_tensor(grids[0][1]), tl.to_tensor(grids[0][2])
    for other in tl.static_range(1, len(maps)):
        chosen = tl.where(level == other, maps[other], chosen)
        height = tl.where(level == other, grids[other][0], height)
        width = tl.where(level == other, grids[other][1], width)
        stride = tl.where(level == other, grids[other][2], stride)
    return chosen, height.to(tl.int32), width.to(tl.int32), stride


@triton.jit
def _region(rois, roi, images, stride, BOX: tl.constexpr):
    """Read a region: its image (int64), 1 or 0 whether there is such, position and size of its box, px."""
    start = rois + roi * 5
    index = tl.load(start)
    known = (index > -1) & (index < images)  # not, where it is not a number
    image = tl.where(known, index, 0.0).to(tl.int64)
    x1, x2 = _placed(tl.load(start + 1), tl.load(start + 3), stride, BOX)
    y1, y2 = _placed(tl.load(start + 2), tl.load(start + 4), stride, BOX)
    return image, known.to(x1.dtype), x1, y1, x2 - x1, y2 - y1


@triton.jit
def _placed(low, high, stride, BOX: tl.constexpr):
    """Place the ends of a box, px: where they are, half a cell further, or on whole pixels as the authors' C does."""
    if BOX == "placed":
        half = stride.to(low.dtype) * 0.5
        high = tl.where(high < low, low, high) + half
        low += half
    if BOX == "whole":
        low, high = _rounded(low), _rounded(high - 1) + 1
        least = low + stride.to(low.dtype) * 0.1
        high = tl.where(high < least, least, high)
    return low, high


@triton.jit
def _rounded(number):
    """Round halves away from zero."""
    whole = tl.floor(tl.abs(number) + 0.5)
    return tl.where(number < 0, -whole, whole)


@triton.jit
def _shifts(offsets, roi, row, column, P: tl.constexpr, like):
    """Read the offset of a bin along x and y, in the type of ``like``."""
    right, down = tl.full([], 0.0, like.dtype), tl.full([], 0.0, like.dtype)
    if offsets is not None:
        place = offsets + (roi * 2 * P + row) * P + column
        right, down = tl.load(place).to(like.dtype), tl.load(place + P * P).to(like.dtype)
    return right, down


@triton.jit
def _taps(start, size, stride, shift, bin, length, P: tl.constexpr, S: tl.constexpr, LEGACY: tl.constexpr):
    """Find what the samples of a bin touch along one axis.

    Returns:
        Four things: ``2 S`` cells; their shares, which sum up to the samples that count; the gradients of the shares
        with regard to the shift; and how many samples count.
    """
    margin: tl.constexpr = 0.5 if LEGACY else 1.0
    phase: tl.constexpr = 0.0 if LEGACY else 0.5
    cells_per_px = _divided(tl.full([], 1.0, size.dtype), stride.to(size.dtype))
    last = (length - 1).to(size.dtype)
    cells, shares, slopes = (), (), ()
    seen = tl.full([], 0, tl.int32)
    for sample in tl.static_range(S):
        index = tl.full([], phase, size.dtype) + (bin * S + sample)
        step = _divided(index, tl.full([], P * S, size.dtype))
        position = (start + size * step) * cells_per_px - 0.5 + shift * (size * cells_per_px)
        position = tl.where(position == position, position, OUTSIDE)  # noqa: PLR0124 - not, where it is not a number
        counts = (position >= -margin) & (position <= last + margin)
        inside = tl.minimum(tl.maximum(position, 0.0), last)
        low = tl.floor(inside)
        high = tl.ceil(inside) if LEGACY else tl.minimum(low + 1, last)
        share = tl.where(counts, inside - low, 0.0)
        slope = tl.where((position >= 0) & (position <= last), size * cells_per_px, 0.0)
        cells = cells + (low.to(tl.int32), high.to(tl.int32))
        shares = shares + (counts.to(size.dtype) - share, share)
        slopes = slopes + (-slope, slope)
        seen += counts.to(tl.int32)
    return cells, _merged(cells, shares), _merged(cells, slopes), seen


@triton.jit
def _divided(number, by):
    """Divide, rounding as the CPU does; for float64 that is what division is."""
    return number / by if number.dtype == tl.float64 else tl.fdiv(number, by, ieee_rounding=True)


@triton.jit
def _merged(cells, values):
    """Give all that belongs to a cell to the last of its taps, so that the others count for nothing."""
    merged = ()
    for tap in tl.static_range(len(cells)):
        value = values[tap]
        for other in tl.static_range(tap):
            value += tl.where(cells[other] == cells[tap], values[other], 0.0)
        for other in tl.static_range(tap + 1, len(cells)):
            value = tl.where(cells[other] == cells[tap], 0.0, value)
        merged = merged + (value,)
    return merged


@triton.jit
def _norm(known, seen, S: tl.constexpr, LEGACY: tl.constexpr):
    """Give what the sum of a bin is multiplied by: all samples are averaged, if ``LEGACY`` those that count."""
    return known / tl.maximum(seen, 1) if LEGACY else known * (1.0 / (S * S))
