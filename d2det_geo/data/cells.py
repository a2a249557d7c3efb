"""Object masks: outlines sampled at the cell centres of a grid over each object's box."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray


def object_cells(polygons: NDArray[np.object_], boxes: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Say which cell centres of a ``side x side`` grid over each box its polygon covers.

    Even-odd rule, all objects at once: every edge toggles, in each row it crosses, the cells
    right of the crossing; a running parity along the row is the mask.

    Args:
        polygons: ``[G]`` valid (Multi)Polygons, holes allowed.
        boxes: ``[G, 4]`` in the same frame, sides greater than 0.
        side: cells per side.

    Returns:
        ``[G, side, side]`` of 0 and 1.
    """
    owner, starts, ends = _edges(polygons)
    scale = side / (boxes[owner, 2:] - boxes[owner, :2])
    starts, ends = (starts - boxes[owner, :2]) * scale, (ends - boxes[owner, :2]) * scale
    centres = np.arange(side) + 0.5
    edge, row = np.nonzero((starts[:, 1, None] <= centres) != (ends[:, 1, None] <= centres))
    (x1, y1), (x2, y2) = starts[edge].T, ends[edge].T
    crossing = x1 + (centres[row] - y1) * (x2 - x1) / (y2 - y1)
    column = np.clip(np.ceil(crossing - 0.5), 0, side).astype(np.int64)
    cell = (owner[edge] * side + row) * (side + 1) + column
    toggles = np.bincount(cell, minlength=len(polygons) * side * (side + 1))
    parity = toggles.reshape(len(polygons), side, side + 1).cumsum(axis=2) & 1
    return parity[:, :, :side].astype(np.uint8)


def _edges(
    polygons: NDArray[np.object_],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Owner ``[E]``, start and end ``[E, 2]`` of every edge of every ring."""
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[1:] == ring[:-1]
    owner = part_owner[ring_part][ring[:-1][within]]
    return owner.astype(np.int64), points[:-1][within], points[1:][within]
