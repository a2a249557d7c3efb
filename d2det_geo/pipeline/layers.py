"""A truth file and a prediction file become two layers of classed polygons in one planar frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.errors import InputError
from d2det_geo.metrics.classes import ClassRules
from d2det_geo.metrics.geo import frame_for
from d2det_geo.vector.readers import Aoi, read_aoi, read_objects, reading_notices

_CLASS = "class"  # the attribute d2det writes
_ONLY_CLASS = "object"
_SCORES = (
    "score",
    "confidence",
    "probability",
    "probabilit",
    "prob",
)  # what tools call it, the surest first; a Shapefile has 10 letters


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """N polygons of one file."""

    path: Path
    geometries: NDArray[np.object_]
    """``[N]`` shapely (Multi)Polygons."""
    classes: NDArray[np.object_]
    """``[N]`` class names of the evaluation; ``""`` for objects to drop, None for regions to ignore."""
    scores: NDArray[np.float64]
    """``[N]``; 1.0 where the file has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Truth and predictions in the same frame."""

    truth: Layer
    predictions: Layer
    crs: pyproj.CRS | None
    """A local equal-area frame, m; None where neither file has a CRS."""
    own_crs: pyproj.CRS | None
    """Of the truth's file; of the predictions' where there is no truth."""
    notices: tuple[str, ...]

    def annotations(self, name: str) -> tuple[Annotations, Annotations]:
        """Give truth and predictions as sets of one image of this name; objects of dropped classes are left out."""
        layers = (self.truth, self.predictions)
        classes = tuple(sorted({str(name) for layer in layers for name in layer.classes if name}))
        codes: dict[str | None, int] = {None: REGION}
        codes.update({name: number for number, name in enumerate(classes)})
        images = Images(np.array([name], object), np.ones(1, np.int64), np.zeros((1, 2), np.int64))

        def annotated(layer: Layer, *, truth: bool) -> Annotations:
            rows = np.array([name != "" and (truth or name is not None) for name in layer.classes], bool)
            labels = np.array([codes[name] for name in layer.classes[rows]], np.int64)
            return Annotations(
                images=images,
                classes=classes,
                image=np.zeros(len(labels), np.int64),
                boxes=shapely.bounds(layer.geometries[rows]).reshape(-1, 4),
                labels=labels,
                ignored=labels == REGION,
                scores=None if truth else layer.scores[rows],
                outlines=layer.geometries[rows],
            )

        return annotated(self.truth, truth=True), annotated(self.predictions, truth=False)

    def area(self, path: Path) -> Aoi:
        """Read an area of interest into the frame of the layers.

        Raises:
            InputError: it cannot be read, or only one of it and the layers has a CRS.
        """
        empty = len(self.truth.geometries) == len(self.predictions.geometries) == 0
        aoi = read_aoi(path, self.crs or (None if empty else "pixels"))
        if aoi.crs_assumed:
            raise InputError(f"{path}: has no CRS, unlike the files compared; write it with its CRS")
        return aoi


def read_layers(
    truth_path: Path, pred_path: Path, rules: ClassRules, class_field: str, pred_field: str | None = None
) -> Layers:
    """Read both files, project them to one local frame, and settle classes and scores.

    A file without class attribute takes the only class of the other.

    Args:
        truth_path: polygons with their class in ``class_field``.
        pred_path: polygons with their class in ``class_field`` or ``class``, and ``score`` (absent: 1.0).
        rules: what becomes of each class.
        class_field: name of the attribute that holds the class.
        pred_field: that of the predictions, which must have it; None is as above.

    Raises:
        InputError: a file is missing or unreadable, only one is in pixels, a class or a score is
            missing in a row, or a file without classes faces several.
    """
    truth, pred = read_objects(truth_path), read_objects(pred_path)
    # Whether GeoJSON is in pixels shows in the pair: a few objects near the origin could be longitude and latitude.
    if _in_pixels(pred) and not _in_pixels(truth):
        _check_pixels(pred, pred_path, truth, truth_path)
        truth = read_objects(truth_path, crs="pixels")
    elif _in_pixels(truth) and not _in_pixels(pred):
        _check_pixels(truth, truth_path, pred, pred_path)
        pred = read_objects(pred_path, crs="pixels")
    notices = [*reading_notices(truth, truth_path), *reading_notices(pred, pred_path)]
    own_crs = truth.crs if len(truth) else pred.crs
    crs = _common_crs(truth, truth_path, pred, pred_path)
    if crs is not None:
        truth, pred = _projected(truth, crs, truth_path), _projected(pred, crs, pred_path)
    elif len(truth) or len(pred):
        notices.append("neither file has a CRS: compared in their own coordinates")
    _check_field(truth, class_field, truth_path, "--class-field")
    _check_field(pred, pred_field or _CLASS, pred_path, "--pred-class-field")
    names = (
        _names(truth, class_field, truth_path),
        _names(pred, pred_field or (class_field if class_field in pred else _CLASS), pred_path),
    )
    notices += rules.unused({name for column in names if column is not None for name in column})
    own, found = (None if column is None else _targets(column, rules) for column in names)
    scores, told = _scores(pred, pred_path)
    notices += [*_swapped(truth, pred, truth_path), *told]
    return Layers(
        Layer(truth_path, _geometries(truth), _filled(own, found, truth, truth_path), np.ones(len(truth))),
        Layer(pred_path, _geometries(pred), _filled(found, own, pred, pred_path), scores),
        crs,
        own_crs,
        tuple(notices),
    )


def _in_pixels(frame: gpd.GeoDataFrame) -> bool:
    return len(frame) > 0 and frame.crs is None


def _check_pixels(bare: gpd.GeoDataFrame, path: Path, other: gpd.GeoDataFrame, other_path: Path) -> None:
    """Refuse a file without CRS whose coordinates may be longitude and latitude as well, beside one that is in them."""
    ends = np.abs(bare.total_bounds).reshape(2, 2).max(axis=0)
    if len(other) and other.crs.is_geographic and ends[0] <= 180 and ends[1] <= 90:
        raise InputError(
            f"{path}: has no CRS, and its coordinates may be longitude and latitude like those of {other_path};"
            " write it with its CRS, or both in pixels to files such as GPKG without one"
        )


def _common_crs(
    truth: gpd.GeoDataFrame, truth_path: Path, pred: gpd.GeoDataFrame, pred_path: Path
) -> pyproj.CRS | None:
    layers = [(frame, path) for frame, path in ((truth, truth_path), (pred, pred_path)) if len(frame)]
    if all(frame.crs is None for frame, _ in layers):
        return None
    try:
        return frame_for(*(frame for frame, _ in layers))
    except pyproj.exceptions.ProjError as error:
        names = ", ".join(frame.crs.name for frame, _ in layers)
        raise InputError(f"{truth_path}: cannot be placed on the earth from its CRS ({names}: {error})") from error


def _projected(frame: gpd.GeoDataFrame, crs: pyproj.CRS, path: Path) -> gpd.GeoDataFrame:
    if frame.empty:
        return frame
    moved = frame.to_crs(crs)
    if not np.isfinite(shapely.bounds(_geometries(moved))).all():
        raise InputError(f"{path}: has coordinates outside of its CRS ({frame.crs.name}); check which CRS they are in")
    return moved


def _geometries(frame: gpd.GeoDataFrame) -> NDArray[np.object_]:
    objects: NDArray[np.object_] = frame.geometry.to_numpy()
    return objects


def _check_field(frame: gpd.GeoDataFrame, field: str, path: Path, option: str) -> None:
    if field != _CLASS and field not in frame and len(frame):
        raise InputError(f"{path}: {_lacks(frame, repr(field))}; name another with {option}")


def _names(frame: gpd.GeoDataFrame, field: str, path: Path) -> list[str] | None:
    """Read the class of every row; None when the file has no such attribute."""
    if field not in frame:
        return None
    missing = np.flatnonzero(frame[field].isna() | (frame[field] == ""))
    if len(missing):
        raise InputError(f"{path}: feature {missing[0]} has no {field!r}; give every object its class")
    return [str(value) for value in frame[field]]


def _targets(names: list[str], rules: ClassRules) -> NDArray[np.object_]:
    return np.array([rules.target(name) for name in names], dtype=object)


def _filled(
    own: NDArray[np.object_] | None, others: NDArray[np.object_] | None, frame: gpd.GeoDataFrame, path: Path
) -> NDArray[np.object_]:
    """Return a file's classes, or the only class of the other file where it has none."""
    if own is not None:
        return own
    names = sorted({name for name in others if name}) if others is not None else []
    if len(names) > 1 and len(frame):
        raise InputError(
            f"{path}: {_lacks(frame, repr(_CLASS))}, to tell {', '.join(names)} apart; name its own with"
            " --class-field or --pred-class-field, or merge the classes with --class-map"
        )
    return np.array([names[0] if names else _ONLY_CLASS] * len(frame), dtype=object)


def _swapped(truth: gpd.GeoDataFrame, pred: gpd.GeoDataFrame, truth_path: Path) -> list[str]:
    """Say when truth has scores and predictions have none, as when the two are swapped."""
    swapped = any(name in truth for name in _SCORES) and not any(name in pred for name in _SCORES) and len(pred)
    return [f"{truth_path}: has scores, and the predictions have none; are the two swapped?"] if swapped else []


def _scores(frame: gpd.GeoDataFrame, path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Return ``[P]`` scores, and what was taken for them where that is not ``score``."""
    name = next((name for name in _SCORES if name in frame), None)
    if name is None:
        told = [f"{path}: has no attribute 'score'; every prediction scores 1.0"] if len(frame) else []
        return np.ones(len(frame)), told
    try:
        scores: NDArray[np.float64] = frame[name].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: attribute {name!r} is not a number in every row ({error})") from error
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise InputError(f"{path}: feature {wrong[0]} has no finite {name!r}; give every prediction one, or none")
    return scores, [] if name == _SCORES[0] else [f"{path}: has no attribute 'score'; {name!r} is taken for it"]


def _lacks(frame: gpd.GeoDataFrame, name: str) -> str:
    own = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
    return f"has no attribute {name}, only {own}" if own else f"has no attribute {name}, nor any other"
