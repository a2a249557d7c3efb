"""Arithmetic of boxes ``[..., 4]`` as ``(x1, y1, x2, y2)``, px, float64, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure boxes, px²; one whose sides are out of order has no area."""
    sides: NDArray[np.float64] = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersect the boxes of each row; where they are apart the sides are out of order."""
    return np.concatenate(
        [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])], axis=-1
    )


def paired_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of the boxes of each row, in ``[0, 1]``; 0 where neither has an area."""
    shared = area(intersection(first, second))
    union = area(first) + area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
