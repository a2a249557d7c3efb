"""The four corners DOTA says an object by."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.runs import pixels


def corners(annotations: Annotations) -> NDArray[np.float64]:
    """Give the corners ``[N, 4, 2]`` of objects, px.

    Those of an outline that has exactly four, as they are; of any other outline or mask those of the least rectangle
    around it, turned as it needs be, clockwise as seen; of the box where there is nothing else.
    """
    found = box_corners(annotations.boxes)
    if annotations.outlines is None:
        return found
    outlines = annotations.outlines.copy()
    masks = [row for row, outline in enumerate(outlines) if isinstance(outline, Runs)]
    if masks:
        outlines[masks] = _hulls(outlines[masks])
    four = (shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_interior_rings(outlines) == 0
    )
    four &= shapely.get_num_coordinates(outlines) == 5
    found[four] = _rings(outlines[four])
    other = shapely.is_geometry(outlines) & ~four
    around = shapely.oriented_envelope(outlines[other])
    flat = (shapely.get_type_id(around) != shapely.GeometryType.POLYGON) | shapely.is_empty(around)  # no area
    rows = np.flatnonzero(other)[~flat]
    found[rows] = _rings(shapely.orient_polygons(around[~flat]))
    return found


def box_corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the corners ``[N, 4, 2]`` of boxes, clockwise as seen, from the upper left one."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def polygons(quads: NDArray[np.float64]) -> NDArray[np.object_]:
    """Make a polygon of each four corners ``[N, 4, 2]``."""
    made: NDArray[np.object_] = np.empty(len(quads), dtype=object)
    if len(quads):
        made[:] = shapely.polygons(np.concatenate((quads, quads[:, :1]), axis=1))
    return made


def bounds(quads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the boxes ``[N, 4]`` around corners ``[N, 4, 2]``."""
    return np.hstack((quads.min(axis=1), quads.max(axis=1)))


def _rings(shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    rings: NDArray[np.float64] = shapely.get_coordinates(shapes).reshape(-1, 5, 2)
    return rings[:, :4]


def _hulls(masks: NDArray[np.object_]) -> NDArray[np.object_]:
    """Give the convex hulls ``[N]`` of masks' pixels: the first and the last one of each column tell them."""
    hulls = np.empty(len(masks), dtype=object)
    for row, runs in enumerate(masks):
        mask = pixels(runs).T
        columns = np.flatnonzero(mask.any(axis=1))
        first, last = mask[columns].argmax(axis=1), runs.height - mask[columns][:, ::-1].argmax(axis=1)
        points = np.vstack([np.column_stack((columns + right, y)) for y in (first, last) for right in (0, 1)])
        hull = shapely.convex_hull(shapely.multipoints(points + np.array([runs.x, runs.y], dtype=np.float64)))
        hulls[row] = shapely.orient_polygons(hull)
    return hulls
