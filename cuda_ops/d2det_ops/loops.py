"""The compiled loops of ``gather``: where each bin reads, and sums over channels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

TILE = 64  # channels and cells that are transposed together, so that both sides stay in the cache

Array = NDArray[Any]


class Grid(NamedTuple):
    """Where the bins of K regions lie."""

    order: Array
    """``[K]`` int64, neighbours one after the other: they read the same cells"""
    images: Array
    """``[K]`` int64"""
    levels: Array
    """``[K]`` int64"""
    shapes: Array
    """``[L, 3]`` int64: images, rows and columns of each level"""
    along: Array
    """``[K, 2, P S]`` x and y of the samples before they are moved, cells"""
    sizes: Array
    """``[K, 2]`` cells"""
    shifts: Array
    """``[K, 2, P, P]`` offsets as shares of the sizes, or of no region"""
    bins: int
    """P"""
    legacy: bool


class Taps(NamedTuple):
    """The columns of cells under each column of bins, then the rows of cells under one row of bins."""

    cells: Array
    """``[P + 1, 2 S]`` int64, each once"""
    weights: Array
    """``[P + 1, 2 S]`` sums of the bilinear weights of the samples"""
    slopes: Array
    """``[P + 1, 2 S]`` how the weights change when the samples move"""
    found: Array
    """``[P + 1]`` how many cells"""
    kept: Array
    """``[P + 1]`` samples that count"""


@compiled
def average_bins(tables: tuple[Array, ...], grid: Grid, pooled: Array, start: int, stop: int) -> None:
    """Fill ``pooled [K, P, P, C]`` for the regions from ``start`` to ``stop`` in their order."""
    taps, index, weights = _room(grid)
    for region in grid.order[start:stop]:
        table = tables[grid.levels[region]]
        for row in range(grid.bins):
            for column in range(grid.bins):
                count = _find_cells(grid, region, row, column, taps, index, weights)
                _blend(table, index, weights, count, pooled[region, row, column])


@compiled
def spread_bins(tables: tuple[Array, ...], grid: Grid, gradient: Array, first: int, last: int) -> None:
    """Add to ``tables`` what the gradient of the bins ``[K, P, P, C]`` leaves in channels ``first`` to ``last``."""
    taps, index, weights = _room(grid)
    for region in grid.order:
        table = tables[grid.levels[region]]
        for row in range(grid.bins):
            for column in range(grid.bins):
                count = _find_cells(grid, region, row, column, taps, index, weights)
                _scatter(table, index, weights, count, gradient[region, row, column], first, last)


@compiled
def move_bins(tables: tuple[Array, ...], grid: Grid, gradient: Array, moved: Array, start: int, stop: int) -> None:
    """Fill ``moved [K, 2, P, P]``, the gradient of the offsets, for the regions from ``start`` to ``stop``."""
    taps, index, dots = _room(grid)
    for region in grid.order[start:stop]:
        table = tables[grid.levels[region]]
        for row in range(grid.bins):
            for column in range(grid.bins):
                count = _find_cells(grid, region, row, column, taps, index, dots)
                _project(table, index, count, gradient[region, row, column], dots)
                x_slope, y_slope = _slopes(taps, column, dots, count)
                scale = _scale(grid, taps, column)
                moved[region, 0, row, column] = x_slope * scale * grid.sizes[region, 0]
                moved[region, 1, row, column] = y_slope * scale * grid.sizes[region, 1]


@compiled
def transpose(source: Array, target: Array, blocks: int, start: int, stop: int) -> None:
    """Copy the blocks from ``start`` to ``stop`` of ``[B, C, R]`` to ``[B, R, C]``; ``blocks`` cover R."""
    channels, length = source.shape[1], source.shape[2]
    for block in range(start, stop):
        part, low = block // blocks, block % blocks * TILE
        for base in range(0, channels, TILE):
            for position in range(low, min(low + TILE, length)):
                for channel in range(base, min(base + TILE, channels)):
                    target[part, position, channel] = source[part, channel, position]


@compiled
def _room(grid: Grid) -> tuple[Taps, Array, Array]:
    """Room for the taps of a region, and for the cells of a bin with a number for each."""
    lines, most = grid.bins + 1, 2 * (grid.along.shape[2] // grid.bins)
    cells, found, kept = np.empty((lines, most), np.int64), np.empty(lines, np.int64), np.empty(lines, np.int64)
    weights, slopes = np.empty((lines, most), grid.along.dtype), np.empty((lines, most), grid.along.dtype)
    taps = Taps(cells, weights, slopes, found, kept)
    return taps, np.empty(most * most, np.int64), np.empty(most * most, grid.along.dtype)


@compiled(inlined=True)
def _find_cells(grid: Grid, region: int, row: int, column: int, taps: Taps, index: Array, weights: Array) -> int:
    """List the rows of a table that a bin reads, each once, and their weights; return how many."""
    images, height, width = grid.shapes[grid.levels[region]]
    image, lines = grid.images[region], grid.bins
    if image < 0 or image >= images:
        return 0
    moved = len(grid.shifts) > 0  # else bins above each other share their columns, and bins of a row their rows
    if moved or row == 0:
        _find_taps(grid, region, 0, row, column, taps)
    if moved or column == 0:
        _find_taps(grid, region, 1, row, column, taps)
    scale = _scale(grid, taps, column)
    count = 0
    for i in range(taps.found[lines]):
        begin = (image * height + taps.cells[lines, i]) * width
        weight = taps.weights[lines, i] * scale
        for j in range(taps.found[column]):
            index[count] = begin + taps.cells[column, j]
            weights[count] = weight * taps.weights[column, j]
            count += 1
    return count


@compiled(inlined=True)
def _scale(grid: Grid, taps: Taps, column: int) -> Any:
    """What the sum of the samples of a bin is multiplied by."""
    samples = grid.along.shape[2] // grid.bins
    count = taps.kept[column] * taps.kept[grid.bins] if grid.legacy else samples * samples
    number = grid.along.dtype.type
    return number(1) / number(max(count, 1))


@compiled(inlined=True)
def _find_taps(grid: Grid, region: int, axis: int, row: int, column: int, taps: Taps) -> None:
    """Collect the cells of a bin along x (axis 0) or y (1)."""
    length = grid.shapes[grid.levels[region], 2 - axis]
    shift = grid.along.dtype.type(0)
    if len(grid.shifts):
        shift = grid.shifts[region, axis, row, column] * grid.sizes[region, axis]
    samples = grid.along.shape[2] // grid.bins
    line, first = (column, column * samples) if axis == 0 else (grid.bins, row * samples)
    positions = grid.along[region, axis, first : first + samples]
    cells, weights, slopes = taps.cells[line], taps.weights[line], taps.slopes[line]
    taps.found[line], taps.kept[line] = _collect(positions, shift, length, grid.legacy, cells, weights, slopes)


@compiled
def _collect(
    positions: Array, shift: Any, length: int, legacy: bool, cells: Array, weights: Array, slopes: Array
) -> tuple[int, int]:
    """List the cells that samples read, and return how many there are, and how many samples count."""
    number = positions.dtype.type
    zero, one, last = number(0), number(1), number(length - 1)
    margin = number(0.5) if legacy else one
    count = kept = 0
    for sample in range(len(positions)):
        position = positions[sample] + shift
        if not (position >= -margin and position <= last + margin):
            continue  # nor what is not a number
        kept += 1
        slope = one if position >= zero and position <= last else zero
        position = min(max(position, zero), last)
        low = np.int64(position)
        share = position - number(low)
        high = low + (share > zero) if legacy else min(low + 1, length - 1)
        count = _add_tap(cells, weights, slopes, count, low, one - share, -slope)
        count = _add_tap(cells, weights, slopes, count, high, share, slope)
    return count, kept


@compiled
def _add_tap(cells: Array, weights: Array, slopes: Array, count: int, cell: Any, weight: Any, slope: Any) -> int:
    """Add to what a cell has, the first time to the list."""
    for index in range(count):
        if cells[index] == cell:
            weights[index] += weight
            slopes[index] += slope
            return count
    cells[count], weights[count], slopes[count] = cell, weight, slope
    return count + 1


@compiled
def _slopes(taps: Taps, column: int, dots: Array, count: int) -> tuple[Any, Any]:
    """How a bin changes along x and y, from the products of its ``count`` cells with the gradient."""
    x_slope = y_slope = dots.dtype.type(0)
    line, width = len(taps.found) - 1, taps.found[column]
    for i in range(taps.found[line] if count else 0):
        for j in range(width):
            dot = dots[i * width + j]
            x_slope += taps.weights[line, i] * taps.slopes[column, j] * dot
            y_slope += taps.slopes[line, i] * taps.weights[column, j] * dot
    return x_slope, y_slope


@compiled(relaxed=True)
def _blend(table: Array, index: Array, weights: Array, count: int, pooled: Array) -> None:
    """Sum the weighted rows into ``pooled [C]``; four at a time, which reads and writes the sum less often."""
    channels = len(pooled)
    for channel in range(channels):
        pooled[channel] = 0
    done = 0
    while done + 4 <= count:
        a, b, c, d = table[index[done]], table[index[done + 1]], table[index[done + 2]], table[index[done + 3]]
        u, v, w, x = weights[done], weights[done + 1], weights[done + 2], weights[done + 3]
        for channel in range(channels):
            pooled[channel] += u * a[channel] + v * b[channel] + w * c[channel] + x * d[channel]
        done += 4
    for tap in range(done, count):
        a, u = table[index[tap]], weights[tap]
        for channel in range(channels):
            pooled[channel] += u * a[channel]


@compiled(relaxed=True)
def _scatter(table: Array, index: Array, weights: Array, count: int, gradient: Array, first: int, last: int) -> None:
    """Add a weighted ``gradient [C]`` to the rows, in channels ``first`` to ``last``."""
    part = gradient[first:last]
    for tap in range(count):
        row, weight = table[index[tap], first:last], weights[tap]
        for channel in range(len(part)):
            row[channel] += weight * part[channel]


@compiled(relaxed=True)
def _project(table: Array, index: Array, count: int, gradient: Array, dots: Array) -> None:
    """Multiply each row with ``gradient [C]``."""
    for tap in range(count):
        row = table[index[tap]]
        total = gradient.dtype.type(0)
        for channel in range(len(gradient)):
            total += row[channel] * gradient[channel]
        dots[tap] = total
