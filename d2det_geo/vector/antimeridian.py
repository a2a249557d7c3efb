"""Polygons in longitude and latitude, cut where the map ends: at 180 degrees and at the poles."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.vector.repair import polygonal


def crossing(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which geometries may cross 180 degrees, or a pole, by their least and greatest longitudes ``[N]``."""
    return np.asarray((low < -180) | (high > 180) | (high - low > 180))


def cut(geometry: shapely.Geometry, *, continuous: bool) -> shapely.Geometry:
    """Cut a (Multi)Polygon at 180 degrees and give its parts within -180 and 180.

    A ring that goes around a pole gets that pole inside.

    Args:
        geometry: degrees, x longitude, y latitude.
        continuous: longitudes run on beyond 180; if not, a step of more than 180 degrees jumps over the line.

    Returns:
        A valid Polygon or MultiPolygon, which touches itself at most at 180 degrees.
    """
    parts = [_part(part, continuous) for part in shapely.get_parts(geometry)]
    whole: shapely.Geometry = polygonal(np.array([shapely.union_all(parts)], dtype=object))[0]
    return whole


def _part(polygon: shapely.Polygon, continuous: bool) -> shapely.Geometry:
    shell, *holes = [_region(shapely.get_coordinates(ring), continuous) for ring in shapely.get_rings(polygon)]
    return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def _region(ring: NDArray[np.float64], continuous: bool) -> shapely.Geometry:
    """Give what a closed ring ``[P, 2]`` goes around, within -180 and 180."""
    steps = np.diff(ring[:, 0])
    if not continuous:
        steps -= 360 * np.rint(steps / 360)
    lon = ring[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    line = np.column_stack([lon, ring[:, 1]])
    if abs(lon[-1] - lon[0]) > 180:  # around a pole: the nearer one, for what is smaller than half the earth
        pole = math.copysign(90.0, ring[:, 1].mean())
        line = np.concatenate([line, [[lon[-1], pole], [lon[0], pole]]])
    region = polygonal(np.array([shapely.Polygon(line)], dtype=object))[0]
    first, last = math.floor((lon.min() + 180) / 360), math.ceil((lon.max() - 180) / 360)
    turns = np.arange(first, last + 1) * 360.0
    pieces = shapely.intersection(region, shapely.box(turns - 180, -90, turns + 180, 90))
    moved = [_shifted(piece, turn) for piece, turn in zip(pieces, turns, strict=True)]
    return shapely.union_all(polygonal(np.array(moved, dtype=object)))


def _shifted(piece: shapely.Geometry, turn: float) -> shapely.Geometry:
    return shapely.transform(piece, lambda points: points - [turn, 0])
