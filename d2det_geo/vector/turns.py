"""Coordinates that start again once around the earth: longitudes, and the eastings of cylinder projections."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray

from d2det_geo.places import Extent, mapped
from d2det_geo.vector.repair import valid_polygons


def turned_to(polygons: NDArray[np.object_], crs: pyproj.CRS, extent: Extent) -> NDArray[np.object_]:
    """Move what lies a turn of the earth away from an extent to it, part by part.

    Args:
        polygons: ``[G]`` (Multi)Polygons, also empty ones and None, in ``crs``.
        crs: of polygons and extent.
        extent: of a scene, whose coordinates may run on beyond the antimeridian.

    Returns:
        ``[G]``: an object with parts that reach the extent only after a turn is made of all its parts that
        reach it; the others as they came.
    """
    turn = turn_of(crs, extent)
    if turn is None:
        return polygons
    parts, owners = shapely.get_parts(polygons, return_index=True)
    x_min, _, x_max, _ = shapely.bounds(parts).T
    reach = {shift: (x_min + shift < extent[2]) & (x_max + shift > extent[0]) for shift in (-turn, 0.0, turn)}
    away = np.unique(owners[reach[-turn] | reach[turn]])
    result = polygons.copy()
    for row in away:
        of_row = owners == row
        here = [mapped(parts[of_row & reaching], Affine.translation(shift, 0)) for shift, reaching in reach.items()]
        result[row] = shapely.union_all(np.concatenate(here))
    return valid_polygons(result)[0] if len(away) else polygons


def turn_of(crs: pyproj.CRS, extent: Extent) -> float | None:
    """Measure one turn of the earth along x, in units of the CRS; None where x does not start again."""
    if crs.geodetic_crs is None:
        return None
    forward = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    longitude, _ = forward.transform((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2, direction="INVERSE")
    if not np.isfinite(longitude):
        return None
    # Along two parallels, a degree to each side: one of the steps may pass the end of the longitudes.
    x, _ = forward.transform(longitude + np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]), np.tile([0.0, 45.0], (3, 1)))
    steps = np.diff(x, axis=0)
    step = steps[np.abs(steps).argmin(axis=0), [0, 1]]
    cylinder = np.isfinite(x).all() and np.ptp(x, axis=1).max() <= 1e-9 * abs(step[0]) and step[0] > 0
    return float(360 * step[0]) if cylinder else None
