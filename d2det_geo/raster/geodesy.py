"""Ground sample distance, measured on the earth and never in units of the CRS.

EPSG:3857 at 28 degrees north says 0.149 m per pixel where the ground has 0.132 m.
"""

from __future__ import annotations

import math

import numpy as np
import pyproj
from affine import Affine
from rasterio.crs import CRS

from d2det_geo.places import points_mapped


def gsd_m(crs: CRS | None, transform: Affine, width: int, height: int) -> float | None:
    """Measure metres per pixel at the scene's centre: the geometric mean of ``axis_gsd_m``.

    Returns:
        None without a CRS, or with one that says nothing about the earth.
    """
    axes = axis_gsd_m(crs, transform, width, height)
    return axes and math.sqrt(axes[0] * axes[1])


def axis_gsd_m(crs: CRS | None, transform: Affine, width: int, height: int) -> tuple[float, float] | None:
    """Measure metres per pixel along a row and along a column, at the scene's centre.

    Each is the geodesic length, on the CRS's own ellipsoid, of one pixel's step through the
    full affine, so rotated, south-up and lat/lon scenes need no special case.

    Args:
        crs: of the scene, or None.
        transform: pixel -> CRS.
        width: of the scene, px.
        height: of the scene, px.

    Returns:
        ``(x, y)`` m/px; None without a CRS, or where the CRS or the position says nothing about the earth.
    """
    if crs is None:
        return None
    projected = pyproj.CRS.from_wkt(crs.to_wkt())
    ellipsoid = projected.get_geod()
    if ellipsoid is None or projected.geodetic_crs is None:
        return None
    to_lonlat = pyproj.Transformer.from_crs(projected, projected.geodetic_crs, always_xy=True)
    # One pixel's step along the row, then one along the column, both through the centre.
    steps = np.array([width, height]) / 2 + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    lon, lat = to_lonlat.transform(*points_mapped(steps, transform).T)
    _, _, lengths = ellipsoid.inv([lon[0], lon[2]], [lat[0], lat[2]], [lon[1], lon[3]], [lat[1], lat[3]])
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        return None
    return float(lengths[0]), float(lengths[1])
