"""The compiled loops of ``nms`` and ``soft_nms``: candidates on a grid, so that each meets its neighbours only.

Boxes whose IoU is above a threshold begin near each other. For IoU > t > 0 the common width is above t of either
width; so the other box begins at most ``(1 - t) w`` to the right of this one's begin, ``w`` wide, and at most
``(1 / t - 1) w`` to its left, nor further than the widest box is wide; likewise in y. The grid is periodic: cells a
whole period apart share their list, so outliers cost no memory, and what does not overlap is found out by its IoU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

SLOTS = 256  # classes share their cell size modulo this
SLACK = 1e-9  # by which the reach is widened, far more than what arithmetic rounds
TINY_AREA = 1e-290  # px²: below, arithmetic rounds by more
SMALLEST = 1e-300  # px, a cell
FURTHEST = 2.0**50  # cells from the origin

Array = NDArray[Any]


class Grid(NamedTuple):
    """Which boxes begin where."""

    areas: Array
    """``[D]`` px²"""
    spans: Array
    """``[D, 4]`` first column, columns, first row and rows where what overlaps a box begins"""
    starts: Array
    """``[rows * columns + 1]`` where a cell's list begins"""
    members: Array
    """positions of boxes, cell by cell; those that overlap nothing are left out"""
    columns: int
    """a power of two, as is the number of rows"""


@compiled
def place(boxes: Array, labels: Array, iou: float) -> Grid:
    """Put boxes ``[D, 4]`` px of classes ``[D]`` on a grid of about D cells, to find overlaps above ``iou``."""
    count = len(boxes)
    bits = math.ceil(math.log2(max(count, 4)))
    columns, rows = 1 << (bits // 2), 1 << (bits - bits // 2)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    sizes, most = _typical_sizes(boxes, labels, areas)
    spans, cells = np.zeros((count, 4), np.int32), np.full(count, -1, np.int32)
    starts = np.zeros(columns * rows + 1, np.int32)
    for box in range(count):
        if not _overlaps_something(boxes, areas, box):
            continue
        slot = labels[box] & (SLOTS - 1)
        least = iou * (1 - SLACK) if areas[box] > TINY_AREA else 0.0
        shift = labels[box] * 2654435761  # spreads classes over the grid
        width, height = boxes[box, 2] - boxes[box, 0], boxes[box, 3] - boxes[box, 1]
        column, spans[box, 0], spans[box, 1] = _reach(
            boxes[box, 0], width, most[slot, 0], least, sizes[slot, 0], columns, shift >> 3
        )
        row, spans[box, 2], spans[box, 3] = _reach(
            boxes[box, 1], height, most[slot, 1], least, sizes[slot, 1], rows, shift >> 17
        )
        cells[box] = row * columns + column
        starts[cells[box] + 1] += 1
    return Grid(areas, spans, starts, _listed(cells, starts), columns)


@compiled
def suppress(boxes: Array, labels: Array, order: Array, grid: Grid, iou: float) -> Array:
    """Go through ``order [D]`` and drop what overlaps something kept by more than ``iou``; return what is left."""
    waiting = np.ones(len(boxes), np.bool_)
    kept, count = np.empty(len(boxes), np.int64), 0
    found, overlaps = np.empty(len(boxes), np.int64), np.empty(len(boxes))
    for best in order:
        if not waiting[best]:
            continue
        waiting[best] = False
        kept[count] = best
        count += 1
        for index in range(_meet(boxes, labels, grid, best, iou, waiting, found, overlaps)):
            waiting[found[index]] = False
    return kept[:count]


@compiled
def decay(
    boxes: Array, labels: Array, order: Array, left: Array, grid: Grid, rule: tuple[float, float, float]
) -> Array:
    """Take the best box again and again, lowering the scores ``left [D]`` of what it overlaps.

    ``order`` is by score: a heap to begin with. Scores only fall, so the heap holds what they were at least, and
    a box that comes up is put back if its score fell since.

    Args:
        boxes: ``[D, 4]`` px.
        labels: ``[D]``.
        order: positions of what may be taken, the best first.
        left: ``[D]`` scores, changed in place.
        grid: of overlaps above the first of ``rule``, or of any if Gaussian.
        rule: IoU above which scores decay, score below which boxes are dropped, sigma of the Gaussian or 0: linear.

    Returns:
        Positions in the order they were taken.
    """
    iou, least_score, sigma = rule
    heap, size, keys = order.copy(), len(order), left.copy()
    waiting = np.ones(len(boxes), np.bool_)
    kept, count = np.empty(len(boxes), np.int64), 0
    found, overlaps = np.empty(len(boxes), np.int64), np.empty(len(boxes))
    while size > 0:
        best = heap[0]
        if left[best] >= least_score and left[best] < keys[best]:
            keys[best] = left[best]
            _sink(heap, size, keys)
            continue
        size -= 1
        heap[0] = heap[size]
        _sink(heap, size, keys)
        waiting[best] = False
        if not left[best] >= least_score:
            continue
        kept[count] = best
        count += 1
        for index in range(_meet(boxes, labels, grid, best, 0.0 if sigma > 0 else iou, waiting, found, overlaps)):
            overlap = overlaps[index]
            left[found[index]] *= math.exp(-overlap * overlap / sigma) if sigma > 0 else max(1 - overlap, 0.0)
    return kept[:count]


@compiled
def _typical_sizes(boxes: Array, labels: Array, areas: Array) -> tuple[Array, Array]:
    """Find the geometric mean and the largest width and height ``[SLOTS, 2]`` of the classes, px."""
    logs, counts, most = np.zeros((SLOTS, 2)), np.zeros(SLOTS), np.zeros((SLOTS, 2))
    for box in range(len(boxes)):
        if _overlaps_something(boxes, areas, box):
            slot = labels[box] & (SLOTS - 1)
            counts[slot] += 1
            for axis in range(2):
                length = boxes[box, axis + 2] - boxes[box, axis]
                logs[slot, axis] += math.log(length)
                most[slot, axis] = max(most[slot, axis], length)
    return np.exp(logs / np.maximum(counts, 1.0).reshape(-1, 1)), most


@compiled
def _overlaps_something(boxes: Array, areas: Array, box: int) -> bool:
    """Tell whether an IoU with this box can be above 0: not with what is empty, inside out or not finite."""
    return bool(boxes[box, 2] > boxes[box, 0] and boxes[box, 3] > boxes[box, 1] and 0 < areas[box] < np.inf)


@compiled
def _reach(
    start: float, length: float, widest: float, least: float, size: float, cells: int, shift: int
) -> tuple[int, int, int]:
    """Find along an axis a box's cell, the first that may hold what overlaps it by ``least``, and how many may.

    Args:
        start: where the box begins, px.
        length: of the box, px.
        widest: of the lengths of all boxes, px.
        least: IoU.
        size: of a cell, px.
        cells: along the axis, a power of two.
        shift: of the class, cells.
    """
    before = min((1 / least - 1) * length * (1 + SLACK), widest) if least > 0 else widest
    after = max(1 - least, 0.0) * length * (1 + SLACK)
    size = max(size, SMALLEST)
    first = _cell(start - before, size)
    count = min(_cell(start + after, size) - first + 1, cells)
    return (_cell(start, size) + shift) & (cells - 1), (first + shift) & (cells - 1), count


@compiled
def _cell(position: float, size: float) -> int:
    return int(min(max(np.floor(position / size), -FURTHEST), FURTHEST))


@compiled
def _listed(cells: Array, starts: Array) -> Array:
    """List boxes cell by cell; ``starts`` holds, behind each cell, its count, and is summed up."""
    for cell in range(len(starts) - 1):
        starts[cell + 1] += starts[cell]
    ends = starts[:-1].copy()
    members = np.empty(starts[-1], np.int32)
    for box in range(len(cells)):
        if cells[box] >= 0:
            members[ends[cells[box]]] = box
            ends[cells[box]] += 1
    return members


@compiled
def _meet(
    boxes: Array, labels: Array, grid: Grid, box: int, iou: float, waiting: Array, found: Array, overlaps: Array
) -> int:
    """Fill ``found`` with what waits, is of the box's class and overlaps it by more than ``iou``; return how many."""
    count, cells = 0, len(grid.starts) - 1
    columns, rows = grid.columns, cells // grid.columns
    x1, y1, x2, y2 = boxes[box, 0], boxes[box, 1], boxes[box, 2], boxes[box, 3]
    for down in range(grid.spans[box, 3]):
        row = (grid.spans[box, 2] + down) & (rows - 1)
        for across in range(grid.spans[box, 1]):
            cell = row * columns + ((grid.spans[box, 0] + across) & (columns - 1))
            for index in range(grid.starts[cell], grid.starts[cell + 1]):
                other = grid.members[index]
                if not waiting[other] or labels[other] != labels[box]:
                    continue
                width = min(x2, boxes[other, 2]) - max(x1, boxes[other, 0])
                height = min(y2, boxes[other, 3]) - max(y1, boxes[other, 1])
                if width > 0 and height > 0:
                    common = width * height
                    overlap = common / (grid.areas[box] + grid.areas[other] - common)
                    if overlap > iou:
                        found[count], overlaps[count] = other, overlap
                        count += 1
    return count


@compiled
def _sink(heap: Array, size: int, keys: Array) -> None:
    """Put the first of the heap where it belongs: below what is better, or as good and of a lower position."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _before(heap[child + 1], heap[child], keys):
            child += 1
        if not _before(heap[child], heap[place], keys):
            return
        heap[place], heap[child] = heap[child], heap[place]
        place = child


@compiled
def _before(one: int, other: int, keys: Array) -> bool:
    return keys[one] > keys[other] or (keys[one] == keys[other] and one < other)
