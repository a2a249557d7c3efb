"""Pixels to the world and back, for the whole house.

A pixel (row r, column c) covers ``[c, c + 1) x [r, r + 1)``: edges are at integers, and nobody adds half a pixel.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

Shape = TypeVar("Shape", shapely.Geometry, NDArray[np.object_])
Points = NDArray[np.float64]
Extent = tuple[float, float, float, float]
"""``(x_min, y_min, x_max, y_max)`` in the world."""


def points_mapped(points: Points, transform: Affine) -> Points:
    """Move points ``[N, 2]`` through all six terms of an affine map: px -> world if it is a scene's."""
    x, y = points.T
    a, b, c, d, e, f = transform[:6]
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def points_mapped_back(points: Points, transform: Affine) -> Points:
    """Move points ``[N, 2]`` against an affine map: world -> px if it is a scene's.

    The offset goes first: an inverted transform would hold it in pixels, hundreds of millions of them.
    """
    a, b, c, d, e, f = transform[:6]
    x, y = points.T - np.array([[c], [f]])
    determinant = a * e - b * d
    return np.column_stack([(e * x - b * y) / determinant, (a * y - d * x) / determinant])


def mapped(geometry: Shape, transform: Affine) -> Shape:
    """Move one geometry, or an array of them, by an affine map: px -> world if it is a scene's."""
    return shapely.transform(geometry, lambda points: points_mapped(points, transform))  # type: ignore[no-any-return]


def mapped_back(geometry: Shape, transform: Affine) -> Shape:
    """Move one geometry, or an array of them, against an affine map: world -> px if it is a scene's."""
    return shapely.transform(geometry, lambda points: points_mapped_back(points, transform))  # type: ignore[no-any-return]


def extent(transform: Affine, width: int, height: int) -> Extent:
    """Bound a scene of ``width`` x ``height`` px in the world."""
    corners = points_mapped(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64), transform)
    (x_min, y_min), (x_max, y_max) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x_min, y_min, x_max, y_max
