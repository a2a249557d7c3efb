"""The area of interest of a scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from d2det_geo.errors import InputError
from d2det_geo.places import Extent, extent, mapped_back
from d2det_geo.raster.scene import Scene
from d2det_geo.vector.readers import read_aoi


def scene_area(
    path: str | Path, scene: str, crs: CRS | None, transform: Affine, size: tuple[int, int]
) -> tuple[shapely.Geometry, tuple[str, ...]]:
    """Read an area of interest in the pixels of a scene.

    Args:
        path: vector file of polygons.
        scene: its name, for messages.
        crs: of the scene; None without georeference, where the file must be in pixels.
        transform: of the scene, px -> world.
        size: (width, height) of the scene, px.

    Returns:
        The area, and notices of how the file was understood.

    Raises:
        InputError: the file cannot be read, or misses the scene.
    """
    aoi = read_aoi(path, crs or "pixels", extent=extent(transform, *size))
    area = mapped_back(aoi.area, transform)
    if not area.intersects(shapely.box(0, 0, *size)):
        raise InputError(f"{path}: the AOI does not touch {scene}; check that the two belong together, and their CRS")
    return area, aoi.notices


def region_of(
    aoi: str | Path | None, bbox: Extent | None, scene: Scene
) -> tuple[shapely.Geometry | None, tuple[str, ...]]:
    """Give the area of interest in scene px: of the file, of the box, or of both.

    Args:
        aoi: vector file of polygons.
        bbox: in the scene's CRS.
        scene: where it lies.

    Returns:
        The area, None if all of the scene is wanted, and notices of how the file was understood.

    Raises:
        InputError: the file cannot be read, or either misses the scene.
    """
    region: shapely.Geometry | None = None
    notices: tuple[str, ...] = ()
    if aoi is not None:
        region, notices = scene_area(aoi, scene.path, scene.crs, scene.transform, (scene.width, scene.height))
    if bbox is not None:
        box = mapped_back(shapely.box(*bbox), scene.transform)
        whole = shapely.box(0, 0, scene.width, scene.height)
        if region is not None and not region.intersects(box):
            raise InputError(f"{aoi}: the AOI and --bbox do not overlap; correct one of them")
        region = box if region is None else region.intersection(box)
        if not box.intersects(whole):
            bounds = extent(scene.transform, scene.width, scene.height)
            raise InputError(
                f"--bbox: does not touch {scene.path}, whose bounds are {','.join(f'{value:.10g}' for value in bounds)}"
            )
    return region, notices


def meeting(
    region: shapely.Geometry | None, scale: tuple[float, float], windows: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which windows, rows ``(x, y, width, height)`` in grid px, meet a region of scene px; all meet None.

    Args:
        region: scene px.
        scale: (x, y) of the grid, scene px per grid px.
        windows: ``[N, 4]``.

    Returns:
        ``[N]``.
    """
    if region is None:
        return np.ones(len(windows), np.bool_)
    in_grid = shapely.transform(region, lambda points: points / scale)
    shapely.prepare(in_grid)
    x, y, width, height = windows.T
    return np.asarray(shapely.intersects(in_grid, shapely.box(x, y, x + width, y + height)))
