"""Fewer vertices, and the right angles of buildings, for outlines in a metric plane."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.vector.right_angles import square_rings

LEAST_IOU = 0.9
"""Of a ring and its right-angled one, below which the ring is not right-angled."""


def simplified(polygons: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Leave out vertices that move the outline by no more than ``tolerance``; by twice that where a ring begins.

    Args:
        polygons: ``[D]`` valid (Multi)Polygons.
        tolerance: in the plane's unit, 0 or more; 0 leaves out vertices on straight lines only.

    Returns:
        ``[D]`` valid (Multi)Polygons with all their parts and holes, however small; one whose simplified rings
        would cross each other stays as it is.
    """
    slim = np.asarray(shapely.simplify(polygons, tolerance, preserve_topology=True), dtype=object)
    return np.where(shapely.is_valid(slim), slim, polygons)


def regularized(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Make right-angled footprints of outlines that are nearly so: buildings as a network sees them.

    Each part has one direction, which most of its outline runs along or across. Every wall is put where its piece of
    the outline lies, and walls meet in the corners; steps under 8 % of the part's mean width are evened out. A ring
    that is not right-angled stays as it is: one with less than 60 % of its length along or across the direction, or
    with an IoU with its right-angled ring under ``LEAST_IOU``. So do circles, triangles, wings at odd angles.

    Args:
        polygons: ``[D]`` valid (Multi)Polygons, in a plane where angles are those on the ground.

    Returns:
        ``[D]`` valid (Multi)Polygons, with all their parts and holes; never empty where the outline is not.
    """
    parts, owners = shapely.get_parts(polygons, return_index=True)
    solid = ~shapely.is_empty(parts)
    if not solid.any():
        return np.array(polygons, dtype=object)
    parts, owners = parts[solid], owners[solid]
    squares = _squared_parts(parts)
    squares = np.where(shapely.is_valid(squares), squares, parts)
    footprints = _joined(squares, owners, polygons)
    return np.where(shapely.is_valid(footprints), footprints, polygons)


def _squared_parts(parts: NDArray[np.object_]) -> NDArray[np.object_]:
    """Square the rings of each Polygon that are right-angled; the result need not be valid."""
    _, points, (ring_starts, part_starts) = shapely.to_ragged_array(parts)
    widths = 4 * shapely.area(parts) / shapely.length(parts)  # a square's is its side
    found, sizes = square_rings(np.ascontiguousarray(points), ring_starts, part_starts, widths)
    right = _right_angled(points, ring_starts, found, sizes)
    lengths = np.where(right, sizes, np.diff(ring_starts))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rings = np.empty((starts[-1], 2))
    taken = np.repeat(right, lengths)
    rings[taken] = found[np.repeat(right, sizes)]
    rings[~taken] = points[np.repeat(~right, np.diff(ring_starts))]
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, rings, (starts, part_starts)))


def _right_angled(
    points: NDArray[np.float64], starts: NDArray[np.int64], found: NDArray[np.float64], sizes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which rings are nearly what was found for them: ``sizes`` vertices of ``found`` each, or none."""
    right = sizes > 0
    outlines = _filled(points, starts)[right]
    squares = _filled(found, np.concatenate([[0], np.cumsum(sizes[right])]))
    valid = shapely.is_valid(squares)
    shared = np.zeros(len(squares))
    shared[valid] = shapely.area(shapely.intersection(outlines[valid], squares[valid]))
    united = shapely.area(outlines) + shapely.area(squares) - shared
    right[right] = valid & (shared >= LEAST_IOU * united)
    return right


def _filled(points: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.object_]:
    """Make a Polygon of each ring."""
    alone = np.arange(len(starts))
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (starts, alone)))


def _joined(parts: NDArray[np.object_], owners: NDArray[np.intp], polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Put parts in the places of those that ``polygons`` have."""
    joined = np.array(polygons, dtype=object)
    of_several = (shapely.get_type_id(polygons) == shapely.GeometryType.MULTIPOLYGON)[owners]
    joined[owners[~of_several]] = parts[~of_several]
    rows, group = np.unique(owners[of_several], return_inverse=True)
    joined[rows] = shapely.multipolygons(parts[of_several], indices=group)
    return joined
