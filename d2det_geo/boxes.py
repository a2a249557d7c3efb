"""Arithmetic of boxes ``[..., 4]`` as ``(x1, y1, x2, y2)``, px, float64, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure boxes, px²; one whose sides are out of order has no area."""
    sides: NDArray[np.float64] = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]
