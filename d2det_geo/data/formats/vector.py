"""Vector files over a raster: one scene, its objects as polygons in any CRS.

Objects come in px of the raster; without a raster, files are written in px, too, and name no CRS.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.run_shapes import shapes_of
from d2det_geo.errors import InputError, UsageError
from d2det_geo.places import extent, mapped, mapped_back
from d2det_geo.raster.geodesy import gsd_m
from d2det_geo.raster.georeference import georeference_of, placed
from d2det_geo.raster.source import open_dataset
from d2det_geo.vector.readers import feature_of, read_objects, reading_notices

ONLY_CLASS = "object"
"""Class of a file that says none."""
SCORE = "score"
_DRIVERS = {".geojson": "GeoJSON", ".json": "GeoJSON", ".gpkg": "GPKG"}


@dataclass(frozen=True, slots=True)
class _Scene:
    """What is needed of a raster."""

    name: str
    size: tuple[int, int]
    crs: CRS | None
    transform: Affine
    gsd_m: float | None


def read(path: Path, reading: Reading) -> Annotations:
    """Read truth over a raster.

    Classes are the different values of ``reading.class_field``, sorted; a file without it has one class, ``object``.

    Args:
        path: any vector file of polygons.
        reading: ``raster``, and ``class_field``; ``class_names`` in the order that is wanted.

    Raises:
        InputError: a file cannot be read, has no polygons, or lies elsewhere than the raster; a class is missing or
            unknown.
        UsageError: no raster was given.
    """
    scene = _scene(path, reading)
    table = _objects(path, scene, reading)
    names = _class_names(table, path, reading.class_field)
    classes = reading.class_names or tuple(sorted(set(names)))
    images = Images(
        names=filled([scene.name]),
        ids=np.ones(1, np.int64),
        sizes=np.array([scene.size], np.int64),
        gsd_m=None if scene.gsd_m is None else np.array([scene.gsd_m]),
    )
    return _annotations(table, images, classes, _labels(names, classes, table, path), None)


def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read detections over a raster, with their scores in the attribute ``score``.

    Args:
        path: any vector file of polygons.
        truth: of one image, the raster.
        reading: ``raster`` and ``class_field``.

    Raises:
        InputError: as ``read``; a score is missing or no finite number, a class unknown to the truth.
        UsageError: no raster was given, or the truth has several images.
    """
    if len(truth.images) != 1:
        raise UsageError(f"{path}: a vector file is of one scene, and the truth has {len(truth.images)} images")
    table = _objects(path, _scene(path, reading), reading)
    if SCORE not in table.columns:
        fields = ", ".join(str(name) for name in table.columns if name != table.geometry.name) or "none"
        raise InputError(f"{path}: has no attribute {SCORE!r} (attributes: {fields}); give detections with scores")
    scores = pd.to_numeric(table[SCORE], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(scores).all():
        row = int(np.argmax(~np.isfinite(scores)))
        raise InputError(
            f"{path}: features[{feature_of(table, row)}].{SCORE} must be a finite number, got {table[SCORE][row]!r:.40}"
        )
    names = _class_names(table, path, reading.class_field)
    return _annotations(table, truth.images, truth.classes, _labels(names, truth.classes, table, path), scores)


def _scene(path: Path, reading: Reading) -> _Scene:
    if reading.raster is None:
        raise UsageError(f"{path}: a vector file needs its raster, whose pixels it is brought to; give --raster")
    with placed(open_dataset(reading.raster)) as dataset:
        place = georeference_of(dataset)
        size = (dataset.width, dataset.height)
        return _Scene(reading.raster.name, size, place.crs, place.transform, gsd_m(place.crs, place.transform, *size))


def _objects(path: Path, scene: _Scene, reading: Reading) -> gpd.GeoDataFrame:
    """Read the objects in px of the scene."""
    table = read_objects(path, crs=scene.crs or "pixels", extent=extent(scene.transform, *scene.size))
    reading.notices.extend(reading_notices(table, path))
    shapes = mapped_back(table.geometry.to_numpy(), scene.transform)
    if len(table) and not shapely.intersects(shapes, shapely.box(0, 0, *scene.size)).any():
        raise InputError(f"{path}: nothing lies inside {scene.name}; check that the two belong together, and their CRS")
    return table.set_geometry(gpd.GeoSeries(shapes))


def _class_names(table: gpd.GeoDataFrame, path: Path, field: str) -> list[str]:
    if field not in table.columns:
        return [ONLY_CLASS] * len(table)
    missing = table[field].isna().to_numpy()
    if missing.any():
        raise InputError(
            f"{path}: features[{feature_of(table, int(np.argmax(missing)))}].{field} is missing; give its class"
        )
    return [str(name) for name in table[field]]


def _labels(names: list[str], classes: tuple[str, ...], table: gpd.GeoDataFrame, path: Path) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = next((row for row, name in enumerate(names) if name not in numbers), None)
    if unknown is not None:
        known = ", ".join(classes) or "none"
        row = feature_of(table, unknown)
        raise InputError(f"{path}: features[{row}]: class {names[unknown]!r} is not one of {known}; map its name")
    return np.array([numbers[name] for name in names], np.int64)


def _annotations(
    table: gpd.GeoDataFrame,
    images: Images,
    classes: tuple[str, ...],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64] | None,
) -> Annotations:
    shapes = table.geometry.to_numpy()
    count = len(table)
    return Annotations(
        images=images,
        classes=classes,
        image=np.zeros(count, np.int64),
        boxes=np.asarray(shapely.bounds(shapes), np.float64).reshape(-1, 4),
        labels=labels,
        ignored=np.zeros(count, np.bool_),
        scores=scores,
        outlines=filled(list(shapes)) if count else None,
    )


def write(annotations: Annotations, path: Path, raster: Path | None = None) -> None:
    """Write the objects of one scene, those without outline as their boxes, with ``class`` and ``score``.

    Args:
        annotations: of one image, without regions.
        path: ``.geojson`` or ``.gpkg``.
        raster: the scene; the file is in its place on the earth. None, or a raster without one: in px.

    Raises:
        UsageError: another suffix, or several images.
    """
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise UsageError(f"{path}: vector files are written as {' or '.join(_DRIVERS)}; change the suffix")
    if len(annotations.images) != 1:
        raise UsageError(f"{path}: a vector file is of one scene, and the set has {len(annotations.images)} images")
    shapes = _shapes(annotations)
    scene = None if raster is None else _scene(path, Reading(raster=raster))
    crs = None if scene is None else scene.crs
    if scene is not None:
        shapes = mapped(shapes, scene.transform)
    names = [annotations.classes[label] if label != REGION else "" for label in annotations.labels]
    columns: dict[str, object] = {"class": filled(list(names))}
    if annotations.scores is not None:
        columns[SCORE] = annotations.scores
    table = gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(shapes, crs=crs))
    options = {"RFC7946": "YES"} if driver == "GeoJSON" and crs is not None else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # px have none
        table.to_file(path, driver=driver, engine="pyogrio", **options)


def _shapes(annotations: Annotations) -> NDArray[np.object_]:
    shapes = np.asarray(shapely.box(*annotations.boxes.T), object)
    if annotations.outlines is not None:
        outlines = shapes_of(annotations.outlines)
        shapes = np.where([outline is None for outline in outlines], shapes, outlines)
    return shapes
