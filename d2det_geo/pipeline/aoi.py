"""The area of interest of a scene."""

from __future__ import annotations

from pathlib import Path

import shapely
from affine import Affine
from rasterio.crs import CRS

from d2det_geo.errors import InputError
from d2det_geo.places import extent, mapped_back
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
