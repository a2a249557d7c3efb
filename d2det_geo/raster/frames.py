"""Raw frames of a drone's camera on the ground: an approximate transform from what the camera wrote.

The camera is a pinhole above a level plane. Its view of the plane is a perspective; the
affine that fits it best over the picture stands for it, and what the fit leaves is counted
as uncertainty. With r the distance from the point below the camera to the farthest corner
and H the height, the uncertainty of any place in the frame (about 95 %) is, in metres::

    sqrt(position² + (height · r/H)² + (focal · r)² + (yaw · r)² + (tilt · (H + r²/H))²) + fit

where each name stands for the error of that number (``Camera``), angles in radians. Ground
that rises or falls away from the take-off by more than the height's error is not in it.
"""

from __future__ import annotations

import math

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from d2det_geo.errors import InputError
from d2det_geo.raster.camera import Camera, UnplacedError, camera_of
from d2det_geo.raster.exif import camera_tags
from d2det_geo.raster.geodesy import axis_gsd_m
from d2det_geo.raster.place import Georeference

_NADIR = 10.0  # degrees off straight down
_HORIZON = 80.0  # degrees off straight down: rays beyond it meet the ground too far away to say where
_GRID = 9  # points per side at which affine and perspective are compared

Points = NDArray[np.float64]


def frame_georeference(dataset: rasterio.DatasetReader, *, oblique: bool = False) -> Georeference | None:
    """Place a raw frame on the ground by its camera's position, height, heading and focal length.

    Args:
        dataset: open, without a georeference of its own.
        oblique: place a frame that looks more than 10 degrees away from straight down too.

    Returns:
        None for a raster without a camera's EXIF or XMP. Where these say too little, or what cannot be,
        the crs is None and the notice says what is missing.

    Raises:
        InputError: the frame is oblique and ``oblique`` was not asked for.
    """
    tags = camera_tags(dataset)
    if tags is None:
        return None
    try:
        camera = camera_of(tags, dataset.width, dataset.height)
        angle = _off_nadir(camera)
        if angle > _NADIR and not oblique:
            raise InputError(
                f"{dataset.name}: the camera looked {angle:.0f} degrees away from straight down, and no affine places"
                f" that well beyond {_NADIR:.0f}; --allow-oblique places it all the same"
            )
        return _placed(camera, dataset.width, dataset.height)
    except UnplacedError as reason:
        notice = f"no georeference: coordinates are pixels (its camera does not place it: {reason})"
        return Georeference(None, Affine.identity(), None, None, (notice,))


def _placed(camera: Camera, width: int, height: int) -> Georeference:
    columns, rows = (axis.ravel() for axis in np.meshgrid(np.linspace(0, width, _GRID), np.linspace(0, height, _GRID)))
    east, north = _on_ground(camera, columns - width / 2, rows - height / 2)
    crs = _utm(camera.lon, camera.lat)
    world = _to_world(camera, east, north, crs)
    transform, fit_m = _best_affine(columns, rows, world)
    axes = axis_gsd_m(crs, transform, width, height)
    if axes is None:
        raise UnplacedError("its place is not on the map")
    uncertainty_m = _uncertainty(camera, float(np.hypot(east, north).max())) + fit_m
    notice = (
        f"no georeference in the file: placed by its camera (approximate, about {uncertainty_m:.0f} m):"
        f" {camera.height_m:.1f} m above the take-off, ground taken as level with it"
    )
    return Georeference(crs, transform, axes, uncertainty_m, (notice, *camera.notices))


def _off_nadir(camera: Camera) -> float:
    return math.degrees(math.acos(np.clip(-math.sin(math.radians(camera.pitch)), -1, 1)))


def _on_ground(camera: Camera, columns: Points, rows: Points) -> tuple[Points, Points]:
    """Find where rays meet the ground, metres east and north of the point below the camera.

    Args:
        camera: the exposure.
        columns: [N] px right of the picture's centre, as stored.
        rows: [N] px below it.
    """
    (a, b), (c, d) = camera.upright
    right, down, sight = _axes(camera)
    rays = (
        np.outer((a * columns + b * rows) / camera.focal_px, right)
        + np.outer((c * columns + d * rows) / camera.focal_px, down)
        + sight
    )
    if (-rays[:, 2] < math.cos(math.radians(_HORIZON)) * np.linalg.norm(rays, axis=1)).any():
        raise UnplacedError("it sees the horizon")
    reach = camera.height_m / -rays[:, 2]
    return reach * rays[:, 0], reach * rays[:, 1]


def _axes(camera: Camera) -> tuple[Points, Points, Points]:
    """Give the directions right, down and into the picture, each [3] as (east, north, up)."""
    yaw, pitch, roll = np.radians([camera.yaw, camera.pitch, camera.roll])
    sight = np.array([np.cos(pitch) * np.sin(yaw), np.cos(pitch) * np.cos(yaw), np.sin(pitch)])
    level = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    below = np.cross(sight, level)
    return np.cos(roll) * level + np.sin(roll) * below, np.cos(roll) * below - np.sin(roll) * level, sight


def _utm(lon: float, lat: float) -> CRS:
    if lat >= 84:
        return CRS.from_epsg(5041)
    if lat < -80:
        return CRS.from_epsg(5042)
    zone = min(int((lon + 180) // 6) + 1, 60)
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def _to_world(camera: Camera, east: Points, north: Points, crs: CRS) -> Points:
    """Project points of the ground; going through the ellipsoid applies the grid's convergence and scale.

    Returns:
        [N, 2] in the CRS.
    """
    distance, azimuth = np.hypot(east, north), np.degrees(np.arctan2(east, north))
    start = np.full_like(east, camera.lon), np.full_like(east, camera.lat)
    lon, lat, _ = pyproj.Geod(ellps="WGS84").fwd(*start, azimuth, distance)
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True)
    return np.stack(to_crs.transform(lon, lat), axis=1)


def _best_affine(columns: Points, rows: Points, world: Points) -> tuple[Affine, float]:
    """Fit pixels to the world; also give the largest distance between the two, in the world's units."""
    origin = world.mean(axis=0)
    pixels = np.stack([columns, rows, np.ones_like(columns)], axis=1)
    solution, *_ = np.linalg.lstsq(pixels, world - origin)
    left = np.hypot(*(pixels @ solution - (world - origin)).T).max()
    (a, d), (b, e), (c, f) = solution.tolist()
    return Affine(a, b, c + origin[0], d, e, f + origin[1]), float(left)


def _uncertainty(camera: Camera, reach_m: float) -> float:
    return math.hypot(
        camera.position_error_m,
        camera.height_error_m * reach_m / camera.height_m,
        camera.focal_error * reach_m,
        math.radians(camera.yaw_error) * reach_m,
        math.radians(camera.tilt_error) * (camera.height_m + reach_m**2 / camera.height_m),
    )
