"""A georeferenced scene with vector labels as one labelled image."""

from __future__ import annotations

import threading
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.truth import IGNORE, ClassMap, Truth
from d2det_geo.errors import InputError
from d2det_geo.places import Extent, Shape, extent, mapped, mapped_back
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.vector.readers import read_aoi, read_objects
from d2det_geo.vector.repair import polygonal


def labelled_scene(
    scene: Path,
    labels: Path,
    *,
    class_map: ClassMap,
    aoi: Path | None = None,
    class_field: str = "class",
    gsd_m: float | None = None,
) -> LabelledImage:
    """Join a raster and its labels in grid px.

    The AOI rule decides: objects with less than half of their area inside the scene and the AOI
    become ignore regions, the rest count whole, those wholly outside are dropped.

    Args:
        scene: any raster ``raster.open_scene`` reads.
        labels: vector file of polygons.
        class_map: from the labels' classes to the model's.
        aoi: vector file of the only area to use.
        class_field: attribute that holds the class. It may be missing when the model has one class.
        gsd_m: resample the scene to this GSD, m/px; None keeps its own.

    Raises:
        InputError: a file is unreadable, a class unknown, the labels or the AOI miss the scene.
    """
    opened = open_scene(scene, gsd_m=gsd_m)
    try:
        return _labelled(opened, labels, class_map, aoi, class_field)
    except BaseException:
        opened.close()
        raise


def _labelled(scene: Scene, labels: Path, class_map: ClassMap, aoi: Path | None, class_field: str) -> LabelledImage:
    whole = shapely.box(0, 0, scene.grid_width, scene.grid_height)
    frame = read_objects(labels, crs=scene.crs or "pixels", extent=_extent(scene))
    if frame.empty:
        raise InputError(f"{labels}: holds no labels; give a file with at least one polygon")
    polygons = polygonal(_in_grid(frame.geometry.to_numpy(), scene))
    if not shapely.intersects(polygons, whole).any():
        raise InputError(
            f"{labels}: no label lies inside {scene.path}; check that the two belong together, and their CRS"
        )
    usable = None if aoi is None else _usable_area(aoi, scene, whole)
    names = _labels(frame, labels, class_field, class_map)
    return LabelledImage(
        name=scene.path,
        width=scene.grid_width,
        height=scene.grid_height,
        truth=judge_inside(polygons, names, whole if usable is None else usable),
        read=_SceneReader(scene),
        aoi=usable,
    )


def _extent(scene: Scene) -> Extent:
    return extent(scene.transform, scene.width, scene.height)


def _in_grid(geometry: Shape, scene: Scene) -> Shape:
    """World -> grid px."""
    return mapped(mapped_back(geometry, scene.transform), Affine.scale(1 / scene.scale[0], 1 / scene.scale[1]))


def _usable_area(aoi: Path, scene: Scene, whole: shapely.Geometry) -> shapely.Geometry:
    """The part of an AOI that lies in the scene, grid px."""
    area = _in_grid(read_aoi(aoi, scene.crs or "pixels", extent=_extent(scene)).area, scene)
    if scene.scale != (1.0, 1.0):
        # A resampled pixel mixes in its neighbours' surroundings, which may lie beyond the AOI.
        area = shapely.buffer(area, -1.0, join_style="mitre")
    usable = polygonal(np.array([shapely.intersection(area, whole)], dtype=object))[0]
    if usable.is_empty:
        raise InputError(f"{aoi}: the AOI does not touch {scene.path}; check that the two belong together")
    return usable


def judge_inside(polygons: NDArray[np.object_], labels: NDArray[np.object_], region: shapely.Geometry) -> Truth:
    """Apply the AOI rule.

    Args:
        polygons: ``[G]`` in one planar frame.
        labels: ``[G]`` of ``ClassMap.label``.
        region: the AOI, in the same frame.

    Returns:
        The objects at least half inside, uncut; the parts inside of the others, and of those
        labelled ``IGNORE``, as ignore regions.
    """
    inside = polygonal(shapely.intersection(polygons, region))
    area = shapely.area(inside)
    wanted = np.array([label is not None for label in labels], np.bool_) & (area > 0)
    counted = wanted & (area >= LEAST_SHARE_INSIDE * shapely.area(polygons)) & (labels != IGNORE)
    return Truth.of_polygons(polygons[counted], labels[counted].astype(np.int64), inside[wanted & ~counted])


def _labels(frame: gpd.GeoDataFrame, path: Path, class_field: str, class_map: ClassMap) -> NDArray[np.object_]:
    """Model labels ``[G]``, as ``ClassMap.label`` gives them."""
    if class_field not in frame.columns:
        if len(class_map.classes) > 1:
            fields = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name) or "none"
            raise InputError(
                f"{path}: has no attribute {class_field!r} to tell {len(class_map.classes)} classes apart "
                f"(attributes: {fields}); name one as class_field"
            )
        return np.zeros(len(frame), dtype=object)
    known = {name: class_map.label(str(name), source=str(path)) for name in frame[class_field].unique()}
    return np.array([known[name] for name in frame[class_field]], dtype=object)


class _SceneReader:
    """Reads grid windows of a scene, one at a time: a GDAL dataset serves one thread only."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._lock = threading.Lock()

    def __call__(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        with self._lock:
            return self._scene.read(Window(x, y, width, height))[0]
