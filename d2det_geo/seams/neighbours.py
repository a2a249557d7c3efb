"""Which detections have to do with each other: all pairs of near ones, through a hash of grid cells.

A box lives on the level of a pyramid whose cells are as large as its longer side, in the cell of its upper left
corner. Its near ones of the same or a higher level are in the few cells around it on each level, so that the cost
grows with the number of boxes and not with their sizes, nor with the size of the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.seams.seen import Pairs, Seen
from d2det_ops.compiled import compiled

EXPLAINED = 0.7  # share of a fragment inside another detection that makes it a part of that one
JITTER = 2.0  # margins that two views of one side may differ by: each is off by its own
_FINEST, _COARSEST = 4, 24  # levels: cells of 16 px, below which there is nothing to gain, to 16 million px
_APART = -3.0  # agreement of a pair that is not one object; what is has more


def find_pairs(seen: Seen, *, iou: float, margin: float) -> Pairs:
    """Find the pairs that are one object, or a fragment and what may explain it.

    Args:
        seen: D detections.
        iou: of what both windows see; above it two detections are one object.
        margin: px that a side may be off.
    """
    size = 1 << max(len(seen.boxes) - 1, 1).bit_length()
    keys, buckets = _cells(seen.boxes, size - 1)
    starts, items = _table(buckets, size)
    first, second, agreement, covered = _search(seen, (keys[items], starts, items), iou, margin)
    order = np.lexsort((second, first, -agreement))
    return Pairs(first[order], second[order], agreement[order] > _APART, covered[order])


@compiled
def _key(level: int, row: int, column: int) -> int:
    """Name a cell by one number."""
    return (level << 58) + ((row + (1 << 28)) << 29) + column + (1 << 28)


@compiled
def _bucket(level: int, row: int, column: int, mask: int) -> int:
    """Give a cell its place in the table: those of a row are neighbours there."""
    return (column + row * 0x9E3779B1 + level * 0x85EBCA77) & mask


@compiled
def _level(box: Any) -> int:
    """Find the finest level whose cells hold a box."""
    side, level = max(box[2] - box[0], box[3] - box[1]), _FINEST
    while level < _COARSEST and side > (1 << level):
        level += 1
    return level


@compiled
def _cells(boxes: NDArray[np.float64], mask: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the key and the bucket of the cell of each box."""
    keys, buckets = np.empty(len(boxes), dtype=np.int64), np.empty(len(boxes), dtype=np.int64)
    for index in range(len(boxes)):
        level = _level(boxes[index])
        row, column = int(boxes[index, 1] // (1 << level)), int(boxes[index, 0] // (1 << level))
        keys[index] = _key(level, row, column)
        buckets[index] = _bucket(level, row, column, mask)
    return keys, buckets


@compiled
def _table(buckets: NDArray[np.int64], size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sort positions by bucket: where each bucket starts ``[size + 1]``, and the positions ``[D]``."""
    starts = np.zeros(size + 1, dtype=np.int32)
    for bucket in buckets:
        starts[bucket + 1] += 1
    for bucket in range(size):
        starts[bucket + 1] += starts[bucket]
    items = np.empty(len(buckets), dtype=np.int32)
    free = starts[:-1].copy()
    for index, bucket in enumerate(buckets):
        items[free[bucket]] = index
        free[bucket] += 1
    return starts, items


@compiled
def _clipped(box: Any, frame: Any, reach: float) -> tuple[float, float, float, float]:
    """Clip a box, grown by ``reach`` px, to a window."""
    return (
        max(box[0] - reach, frame[0]),
        max(box[1] - reach, frame[1]),
        min(box[2] + reach, frame[2]),
        min(box[3] + reach, frame[3]),
    )


@compiled
def _area(box: Any) -> Any:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


@compiled
def _inside(piece: Any, cover: Any, frame: Any, reach: float) -> Any:
    """Tell whether a piece lies in a cover, of which a window saw what is in ``frame``, or within ``reach`` px."""
    return _area(_clipped(piece, _clipped(cover, frame, reach), 0.0)) > EXPLAINED * _area(piece)


@compiled
def _cross(first: Any, second: Any, own: Any, other: Any, margin: float) -> bool:
    """Tell whether two detections both reach an edge of the first one's window that the other window sees past."""
    for side in range(2):
        low, high = own[side], own[side + 2]
        if other[side] < low < other[side + 2] and max(first[side], second[side]) <= low + margin:
            return True
        if other[side] < high < other[side + 2] and min(first[side + 2], second[side + 2]) >= high - margin:
            return True
    return False


@compiled
def _probability(mask: Any, box: Any, x: float, y: float) -> Any:
    """Look up a mask ``[S, S]`` over a box at a point, px: bilinear, 0 outside the box."""
    side = len(mask)
    if not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
        return 0.0
    column = min(max((x - box[0]) / (box[2] - box[0]) * side - 0.5, 0.0), side - 1.0)
    row = min(max((y - box[1]) / (box[3] - box[1]) * side - 0.5, 0.0), side - 1.0)
    i, j = min(int(row), side - 2), min(int(column), side - 2)
    upper = mask[i, j] * (1 - column + j) + mask[i, j + 1] * (column - j)
    lower = mask[i + 1, j] * (1 - column + j) + mask[i + 1, j + 1] * (column - j)
    return upper * (1 - row + i) + lower * (row - i)


@compiled
def _mask_share(seen: Any, first: int, second: int, one: Any, two: Any) -> Any:
    """Measure, of what both windows see, the share of the smaller mask that is in the larger one, by 32 x 32 points."""
    area_one, area_two, shared = 0, 0, 0
    x1, y1, x2, y2 = min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])
    for row in range(32):
        for column in range(32):
            x, y = x1 + (column + 0.5) / 32 * (x2 - x1), y1 + (row + 0.5) / 32 * (y2 - y1)
            in_one = _probability(seen.masks[first], seen.boxes[first], x, y) > 0.5
            in_two = _probability(seen.masks[second], seen.boxes[second], x, y) > 0.5
            area_one, area_two, shared = area_one + in_one, area_two + in_two, shared + (in_one and in_two)
    return shared / max(min(area_one, area_two), 1)


@compiled
def _agreement(seen: Any, i: int, j: int, iou: float, margin: float) -> Any:
    """Compare what both windows see of two detections; the more, the surer they are one object.

    In [0, 1] the IoU of the boxes where at least one shows all of its end of the object. Less where both cross
    what the windows share: there the larger match is the surer one, above -1 if the boxes are alike.
    """
    first, second = seen.boxes[i], seen.boxes[j]
    own, other = seen.frames[seen.windows[i]], seen.frames[seen.windows[j]]
    one, two = _clipped(first, other, 0.0), _clipped(second, own, 0.0)
    shared = _area(_clipped(one, two, 0.0))
    if shared <= 0:
        return _APART
    ratio = shared / (_area(one) + _area(two) - shared)
    off = max(abs(one[0] - two[0]), abs(one[1] - two[1]), abs(one[2] - two[2]), abs(one[3] - two[3]))
    alike = ratio > iou or off <= JITTER * margin
    if not (_cross(first, second, own, other, margin) and _cross(second, first, other, own, margin)):
        return ratio if alike else _APART
    if len(seen.masks) and _mask_share(seen, i, j, one, two) <= iou:
        return _APART
    return -1 / (1 + shared * ratio) - (0 if alike else 1)


@compiled
def _near(box: Any, level: int, reach: float, table: Any, near: Any) -> int:
    """Write the boxes of a level that may be within ``reach`` px of a box to ``near``; how many they are."""
    keys, starts, items = table
    side, mask, found = float(1 << level), len(starts) - 2, 0
    for row in range(int((box[1] - reach) // side) - 1, int((box[3] + reach) // side) + 1):
        for column in range(int((box[0] - reach) // side) - 1, int((box[2] + reach) // side) + 1):
            key, bucket = _key(level, row, column), _bucket(level, row, column, mask)
            for place in range(starts[bucket], starts[bucket + 1]):
                if keys[place] == key:
                    near[found] = items[place]
                    found += 1
    return found


@compiled
def _judged(seen: Any, i: int, j: int, iou: float, margin: float) -> tuple[float, int]:
    """Give the agreement of two detections, and which is a fragment inside the other: 1 the first, 2 the second."""
    first, second, reach = seen.boxes[i], seen.boxes[j], JITTER * margin
    own, other = seen.frames[seen.windows[i]], seen.frames[seen.windows[j]]
    inner = seen.cut[i] and _inside(first, second, other, reach)
    outer = seen.cut[j] and _inside(second, first, own, reach)
    return _agreement(seen, i, j, iou, margin), int(inner) + 2 * int(outer)


@compiled
def _search(
    seen: Any, table: Any, iou: float, margin: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.uint8]]:
    """Look from each box for the near ones of its level and above, in the order of the table."""
    keys, _, items = table
    labels, windows, count = seen.labels, seen.windows, len(items)
    pairs, agreements = np.empty((2 * count + 16, 2), dtype=np.int32), np.empty(2 * count + 16)
    fragments, found = np.empty(len(pairs), dtype=np.uint8), 0
    near, occupied = np.empty(count, dtype=np.int32), np.bincount(keys >> 58, minlength=_COARSEST + 1)
    for place, one in enumerate(items):
        lowest = keys[place] >> 58
        for level in range(lowest, _COARSEST + 1):
            hits = _near(seen.boxes[one], level, JITTER * margin, table, near) if occupied[level] else 0
            for other in near[:hits]:
                if windows[one] == windows[other] or labels[one] != labels[other] or (level == lowest and one > other):
                    continue  # told apart, or found from the other's side
                i, j = min(one, other), max(one, other)
                agreement, fragment = _judged(seen, i, j, iou, margin)
                if agreement == _APART and fragment == 0:
                    continue
                if found == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    agreements = np.concatenate((agreements, np.empty_like(agreements)))
                    fragments = np.concatenate((fragments, np.empty_like(fragments)))
                pairs[found, 0], pairs[found, 1] = i, j
                agreements[found], fragments[found] = agreement, fragment
                found += 1
    return pairs[:found, 0], pairs[:found, 1], agreements[:found], fragments[:found]
