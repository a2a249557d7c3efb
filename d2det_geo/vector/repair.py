"""Whatever geometry comes in, valid polygons come out."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_POLYGON = shapely.GeometryType.POLYGON  # the geometry types above it are collections of parts


def polygon_parts(geometry: shapely.Geometry | None) -> shapely.Geometry:
    """Reduce a geometry to its polygons: a Polygon, a MultiPolygon, or an empty Polygon."""
    if geometry is None:
        return shapely.Polygon()
    parts = shapely.get_parts(geometry)
    while (shapely.get_type_id(parts) > _POLYGON).any():
        parts = shapely.get_parts(parts)
    polygons = parts[(shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)]
    if len(polygons) == 0:
        return shapely.Polygon()
    return polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)


def all_polygon_parts(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Give ``polygon_parts`` of geometries ``[G]``, at once where they are polygons, as nearly all are."""
    kinds = shapely.get_type_id(geometries)
    parts = np.array(geometries, dtype=object)
    alone = (kinds == _POLYGONAL[1]) & (shapely.get_num_geometries(parts) == 1)
    parts[alone] = shapely.get_geometry(parts[alone], 0)
    for index in np.flatnonzero((kinds != _POLYGON) & ~alone):
        parts[index] = polygon_parts(parts[index])
    return parts


def valid_polygons(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Reduce geometries to their polygons, and repair outlines that cross themselves.

    What an outline goes around twice, or two parts both cover, is inside, not a hole.

    Args:
        geometries: ``[G]`` of any type; None is an empty one.

    Returns:
        ``[G]`` valid (Multi)Polygons, an empty Polygon where no area was left; and which ones had to change.
    """
    valid = np.array(geometries, dtype=object)
    for index in np.flatnonzero(~np.isin(shapely.get_type_id(valid), _POLYGONAL)):
        valid[index] = polygon_parts(valid[index])
    invalid = ~shapely.is_valid(valid)
    fixed = shapely.make_valid(valid[invalid], method="structure", keep_collapsed=False)
    valid[invalid] = [polygon_parts(geometry) for geometry in fixed]
    return valid, invalid


def polygonal(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Give what ``valid_polygons`` makes of geometries, and not which ones had to change."""
    return valid_polygons(geometries)[0]


def without_holes(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """Cut a valid polygon from top to bottom, along as few lines as pass through all of its holes."""
    holes = shapely.bounds(shapely.get_rings(polygon)[1:])
    lines: list[float] = []
    for left, right in sorted(holes[:, [0, 2]].tolist(), key=lambda hole: hole[1]):
        if not lines or lines[-1] <= left:
            lines.append((max(left, lines[-1] if lines else left) + right) / 2)
    x_min, y_min, x_max, y_max = polygon.bounds
    edges = np.array([x_min - 1, *lines, x_max + 1])
    strips = shapely.box(edges[:-1], y_min - 1, edges[1:], y_max + 1)
    pieces: list[shapely.Polygon] = shapely.get_parts(polygonal(shapely.intersection(polygon, strips))).tolist()
    return pieces


def parts_without_holes(polygons: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Part (Multi)Polygons, for formats that know no holes: those with holes are repaired and cut open.

    Args:
        polygons: ``[N]``; those without holes stay as they are, also invalid ones.

    Returns:
        Polygons ``[P]`` and which of ``polygons`` each is of, in their order.
    """
    parts, owners = shapely.get_parts(polygons, return_index=True)
    holed = shapely.get_num_interior_rings(parts) > 0
    if not holed.any():
        return parts, owners
    pieces = [_cut_open(part) if cut else [part] for part, cut in zip(parts, holed, strict=True)]
    flat = [piece for some in pieces for piece in some]
    cut = np.empty(len(flat), object)
    cut[:] = flat
    return cut, np.repeat(owners, [len(some) for some in pieces])


def _cut_open(part: shapely.Polygon) -> list[shapely.Polygon]:
    valid = polygon_parts(shapely.make_valid(part))
    return [piece for polygon in shapely.get_parts(valid) if polygon.area for piece in without_holes(polygon)]
