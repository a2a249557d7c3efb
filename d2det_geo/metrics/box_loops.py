"""The loops of matching boxes (x, y, width, height), group by group; ``box_match`` says what they are for."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

Boxes: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]


@compiled(inlined=True)
def _intersection(a: Boxes, b: Boxes, plus: float) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + plus
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + plus
    return float(max(width, 0.0) * max(height, 0.0))


@compiled
def _overlap(a: Boxes, b: Boxes, plus: float, over_first: bool) -> float:
    """Return the IoU, or the intersection over the area of ``a``."""
    shared = _intersection(a, b, plus)
    if shared == 0:
        return 0.0
    area = (a[2] + plus) * (a[3] + plus)
    if over_first:
        return float(shared / area)
    return float(shared / (area + (b[2] + plus) * (b[3] + plus) - shared))


@compiled
def free_best(
    truth: Boxes,
    ignored: NDArray[np.bool_],
    truth_ends: Rows,
    predictions: Boxes,
    ends: Rows,
    thresholds: NDArray[np.float64],
    found: NDArray[np.int32],
) -> None:
    """Give ``found`` ``[K, P]`` the free truth of highest overlap at each threshold; equal ones, the later."""
    free = np.empty(len(truth), np.bool_)
    for row in range(len(thresholds)):
        free[:] = True
        for group in range(len(ends) - 1):
            for p in range(ends[group], ends[group + 1]):
                best = thresholds[row]
                for t in range(truth_ends[group], truth_ends[group + 1]):
                    if ignored[t] and found[row, p] >= 0 and not ignored[found[row, p]]:
                        break  # those that count come first
                    if free[t] or ignored[t]:
                        overlap = _overlap(predictions[p], truth[t], 0.0, ignored[t])
                        if overlap >= best:
                            best = overlap
                            found[row, p] = t
                if found[row, p] >= 0:
                    free[found[row, p]] = False


@compiled
def free_best_of(
    truths: Rows,
    predictions: Rows,
    ious: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    found: NDArray[np.int32],
) -> None:
    """Do as ``free_best`` on the pairs there are, sorted by prediction."""
    free = np.empty(len(ignored), np.bool_)
    for row in range(len(thresholds)):
        free[:] = True
        best = thresholds[row]
        for k in range(len(truths)):
            t, p = truths[k], predictions[k]
            if k == 0 or p != predictions[k - 1]:
                best = thresholds[row]
            settled = found[row, p] >= 0 and not ignored[found[row, p]]
            if ious[k] >= best and (free[t] or ignored[t]) and not (settled and ignored[t]):
                best = ious[k]
                found[row, p] = t
            if found[row, p] >= 0 and (k + 1 == len(truths) or predictions[k + 1] != p):
                free[found[row, p]] = False


@compiled
def arg_max(
    truth: Boxes,
    truth_ends: Rows,
    predictions: Boxes,
    ends: Rows,
    plus: float,
    found: NDArray[np.int32],
    ious: Boxes,
) -> None:
    """Give ``found`` and ``ious`` ``[P]`` the truth of highest overlap, free or not; equal ones, the first."""
    for group in range(len(ends) - 1):
        for p in range(ends[group], ends[group + 1]):
            for t in range(truth_ends[group], truth_ends[group + 1]):
                overlap = _overlap(predictions[p], truth[t], plus, False)
                if overlap > ious[p]:
                    ious[p] = overlap
                    found[p] = t


@compiled
def pairs(truth: Boxes, truth_ends: Rows, predictions: Boxes, ends: Rows, rows: Rows, found: Rows) -> int:
    """Write the pairs that overlap where there is room for them; return how many there are."""
    count = 0
    for group in range(len(ends) - 1):
        for p in range(ends[group], ends[group + 1]):
            for t in range(truth_ends[group], truth_ends[group + 1]):
                if _intersection(predictions[p], truth[t], 1.0) > 0:
                    if count < len(rows):
                        rows[count], found[count] = t, p
                    count += 1
    return count


@compiled
def strictly_inside(predictions: Boxes, regions: Boxes, starts: Rows, ends: Rows, inside: NDArray[np.bool_]) -> None:
    """Mark predictions all of whose edges lie strictly inside a region of theirs."""
    for p in range(len(predictions)):
        x, y, right, bottom = predictions[p]
        right, bottom = x + right, y + bottom
        for r in range(starts[p], ends[p]):
            left, top, width, height = regions[r]
            if x > left and y > top and right < left + width and bottom < top + height:
                inside[p] = True
                break
