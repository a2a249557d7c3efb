"""The loops of the bootstrap: average precision of weighted units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled


@compiled
def average_precisions(
    units: NDArray[np.int32],
    hits: NDArray[np.bool_],
    ends: NDArray[np.int64],
    weights: NDArray[np.int64],
    truths: NDArray[np.float64],
    recalls: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Fill ``table`` ``[R, C, K]`` for R draws of weights ``[R, U]``; what has no truth is left as it is."""
    for draw in range(len(weights)):
        for label in range(table.shape[1]):
            for row in range(table.shape[2]):
                at = label * table.shape[2] + row
                part = slice(ends[at], ends[at + 1])
                if truths[draw, label] > 0:
                    table[draw, label, row] = _average_precision(
                        units[part], hits[part], weights[draw], truths[draw, label], recalls
                    )


@compiled
def _average_precision(
    units: NDArray[np.int32],
    hits: NDArray[np.bool_],
    weights: NDArray[np.int64],
    truths: float,
    recalls: NDArray[np.float64],
) -> float:
    """Walk predictions from the lowest score up; the envelope is the best precision met, and rises only at hits.

    No recalls: the area over all points.
    """
    right, predicted = 0, 0
    for index in range(len(units)):
        predicted += weights[units[index]]
        right += weights[units[index]] * hits[index]
    level = len(recalls) - 1
    while level >= 0 and recalls[level] > right / truths:
        level -= 1
    total, best = 0.0, 0.0
    for index in range(len(units) - 1, -1, -1):
        weight = weights[units[index]]
        if hits[index] and weight:
            best = max(best, right / predicted)
            right -= weight
            if len(recalls) == 0:
                total += weight * best
            while level >= 0 and recalls[level] > right / truths:
                total += best
                level -= 1
        predicted -= weight
    if len(recalls) == 0:
        return total / truths
    return (total + (level + 1) * best) / len(recalls)
