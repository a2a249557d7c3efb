"""Footprints of buildings: rectangles, L, T and U, as unions of rectangular wings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """A footprint in the frame of its rectangle, metres from the centre."""

    outline: Points
    """``[V, 2]`` simple ring."""
    wings: Points
    """``[W, 4]`` overlapping rectangles ``(u1, v1, u2, v2)`` whose union is the footprint."""


_UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


def draw_shape(rng: np.random.Generator, length: float, width: float) -> Shape:
    """Draw a footprint that fills a ``length`` by ``width`` metres rectangle from edge to edge.

    Wings stay at least 2.2 m wide; a rectangle too small for them stays a rectangle.
    """
    size = np.array([length, width])
    kind = str(rng.choice(["rectangle", "L", "T", "U"], p=[0.62, 0.24, 0.07, 0.07]))
    a, b = rng.uniform(0.4, 0.68, 2)
    if kind == "rectangle" or min(length * min(a, 1 - a), width * min(b, 1 - b)) < 3.2:
        return _scaled(_UNIT, np.array([[0, 0, 1, 1]], np.float64), size, 1, 1)
    mirror = rng.choice([-1, 1], 2)
    if kind == "L":
        ring = [[0, 0], [1, 0], [1, b], [a, b], [a, 1], [0, 1]]
        wings = [[0, 0, 1, b], [0, 0, a, 1]]
    elif kind == "T":
        c = (1 - a) / 2
        ring = [[0, 0], [1, 0], [1, b], [1 - c, b], [1 - c, 1], [c, 1], [c, b], [0, b]]
        wings = [[0, 0, 1, b], [c, 0, 1 - c, 1]]
    else:
        c = (1 - a * 0.6) / 2
        ring = [[0, 0], [1, 0], [1, 1], [1 - c, 1], [1 - c, b], [c, b], [c, 1], [0, 1]]
        wings = [[0, 0, 1, b], [0, 0, c, 1], [1 - c, 0, 1, 1]]
    return _scaled(np.array(ring, np.float64), np.array(wings, np.float64), size, mirror[0], mirror[1])


def _scaled(ring: Points, wings: Points, size: Points, flip_u: int, flip_v: int) -> Shape:
    flip = np.array([flip_u, flip_v])
    outline = (ring - 0.5) * size * flip
    if flip_u * flip_v < 0:
        outline = outline[::-1]
    ends = (wings.reshape(-1, 2, 2) - 0.5) * size * flip
    return Shape(outline, np.concatenate([ends.min(1), ends.max(1)], 1))
