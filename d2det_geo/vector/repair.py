"""Whatever geometry comes in, valid polygons come out."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

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


def valid_polygons(polygons: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Repair (Multi)Polygons whose outlines cross themselves, keeping what is polygon of the result.

    Returns:
        Valid geometries, an empty Polygon where no area was left; and which ones had to change.
    """
    invalid = ~shapely.is_valid(polygons)
    valid = polygons.copy()
    valid[invalid] = [polygon_parts(shapely.make_valid(polygon)) for polygon in polygons[invalid]]
    return valid, invalid
