"""Areas on the ellipsoid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rasterio.crs import CRS

_SMALL = 0.003  # degrees, about 300 m: below, straight in an equal-area map and geodesic agree to 1e-7 of the area
_POLAR = 85.0  # degrees of latitude
_SPHERE = 1e-12  # squared eccentricity


def geodesic_areas_m2(geometries: NDArray[np.object_], crs: CRS) -> NDArray[np.float64]:
    """Measure (Multi)Polygons on the ellipsoid of ``crs``, edges as geodesics; holes count as not covered.

    Rings of less than 300 m are measured in longitude and authalic latitude, all at once; larger ones, and those
    near a pole, edge by edge (Karney, *Algorithms for geodesics*, 2013).

    Returns:
        ``[D]`` square metres.
    """
    source = pyproj.CRS.from_user_input(crs)
    geod = source.get_geod() or pyproj.Geod(ellps="WGS84")
    geographic = source.geodetic_crs or pyproj.CRS(4326)
    to_degrees = pyproj.Transformer.from_crs(source, geographic, always_xy=True)
    areas = np.zeros(len(geometries))
    if len(geometries) == 0:
        return areas
    points, starts, owners, holes = _rings(geometries)
    if len(owners) == 0:
        return areas
    lon, lat = to_degrees.transform(points[:, 0], points[:, 1])
    lon = _unwrapped(lon, starts)
    measured = _authalic(lon, lat, starts, geod)
    for ring in np.flatnonzero(~_small(lon, lat, starts)):
        part = slice(starts[ring], starts[ring + 1])
        measured[ring] = abs(geod.polygon_area_perimeter(lon[part], lat[part])[0])
    np.add.at(areas, owners, np.where(holes, -measured, measured))
    return areas


def _rings(
    geometries: NDArray[np.object_],
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Take (Multi)Polygons apart: points ``[P, 2]``, where R rings start (and the end), owners, which are holes."""
    kind, points, offsets = shapely.to_ragged_array(geometries, include_z=False)
    starts, parts = offsets[0].astype(np.intp), offsets[1].astype(np.intp)
    of_parts = np.arange(len(geometries))
    if kind == shapely.GeometryType.MULTIPOLYGON:
        of_parts = np.repeat(of_parts, np.diff(offsets[2]))
    owners = np.repeat(of_parts, np.diff(parts))
    holes = np.ones(len(owners), dtype=bool)
    holes[parts[:-1][np.diff(parts) > 0]] = False
    return np.asarray(points, np.float64), starts, owners, holes


def _unwrapped(lon: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Make the longitudes of each ring ones within half a turn of its first."""
    first = np.repeat(lon[starts[:-1]], np.diff(starts))
    return np.asarray(first + (lon - first + 180) % 360 - 180)


def _small(lon: NDArray[np.float64], lat: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which rings are less than 300 m across, and away from the poles."""
    at = starts[:-1]
    north, south = np.maximum.reduceat(lat, at), np.minimum.reduceat(lat, at)
    wide = (np.maximum.reduceat(lon, at) - np.minimum.reduceat(lon, at)) * np.cos(np.radians(south))
    small: NDArray[np.bool_] = (north - south < _SMALL) & (wide < _SMALL) & (np.maximum(north, -south) < _POLAR)
    return small


def _authalic(
    lon: NDArray[np.float64], lat: NDArray[np.float64], starts: NDArray[np.intp], geod: pyproj.Geod
) -> NDArray[np.float64]:
    """Measure rings ``[R]`` whose edges are straight in the cylindrical equal-area map of the ellipsoid, m2."""
    sine = np.sin(np.radians(lat))
    squared = geod.es
    bend = sine if squared < _SPHERE else np.arctanh(np.sqrt(squared) * sine) / np.sqrt(squared)
    # Between the equator and a latitude, per radian of longitude.
    y = geod.b**2 / 2 * (sine / (1 - squared * sine**2) + bend)
    counts = np.diff(starts)
    x = np.radians(lon - np.repeat(lon[starts[:-1]], counts))
    y = y - np.repeat(y[starts[:-1]], counts)
    doubled = x[:-1] * y[1:] - x[1:] * y[:-1]
    doubled = np.append(doubled, 0.0)
    doubled[starts[1:] - 1] = 0.0  # from the end of one ring to the start of the next is no edge
    return np.asarray(np.abs(np.add.reduceat(doubled, starts[:-1])) / 2)
