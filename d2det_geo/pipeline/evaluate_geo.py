"""Vector files compared on the ground: what is left out of the judgement, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.errors import InputError
from d2det_geo.metrics.classes import ClassRules
from d2det_geo.metrics.geo import shares_inside
from d2det_geo.metrics.ground import outlines_of, score_geo
from d2det_geo.pipeline.evaluate_options import EvaluateOptions
from d2det_geo.pipeline.evaluation import Evaluation
from d2det_geo.pipeline.layers import Layers, read_layers
from d2det_geo.pipeline.provenance import Provenance, ToPixels, pixels_of
from d2det_geo.pipeline.scene_image import SceneImage

OUTSIDE = "outside the area of interest"
IN_AREA = "in an area to ignore"
NO_IMAGE = "without image"

Reasons = NDArray[np.object_]
"""``[N]`` why an object is left out, ``""`` where it is not."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundEvaluation:
    """An evaluation of vector files, and where its objects lie."""

    evaluation: Evaluation
    frame: pyproj.CRS | None
    """Of boxes and outlines; None is pixels."""
    crs: pyproj.CRS | None
    """Of the truth's file."""
    truth_reasons: Reasons
    reasons: Reasons
    """Of the predictions."""
    provenance: Provenance | None
    image: SceneImage | None


def compare_geo(truth_path: Path, pred_path: Path, options: EvaluateOptions) -> GroundEvaluation:
    """Compare polygons with polygons on the ground.

    Raises:
        InputError: a file is missing, unreadable, or not what is needed; files in different frames.
    """
    rules = ClassRules(options.class_map, options.ignore)
    layers = read_layers(truth_path, pred_path, rules, options.class_field, options.pred_class_field)
    provenance, told = Provenance.of(pred_path, layers.crs)
    image = None if options.scene is None else SceneImage.read(options.scene)
    to_scene = None if image is None else _way_to(image, layers, options.scene)
    truth, predictions = layers.annotations(_name(image, provenance, truth_path))
    if image is not None and image.gsd_m is not None:
        images = replace(truth.images, gsd_m=np.array([image.gsd_m]))
        truth, predictions = replace(truth, images=images), replace(predictions, images=images)
    reasons, notices = _left_out((truth, predictions), layers, options, image, to_scene)
    truth = replace(truth, ignored=truth.ignored | (reasons[0] != ""))
    outcome = score_geo(
        truth,
        predictions,
        iou=options.compared_by,
        score=options.score,
        neutral=reasons[1] != "",
        sizes=options.ranges,
    )
    places = [_places(objects, provenance, image, to_scene) for objects in (truth, predictions)]
    evaluation = Evaluation(
        truth=truth,
        predictions=predictions,
        outcome=outcome,
        scene=options.scene,
        to_scene=to_scene,
        places={name: (places[0][name], places[1][name]) for name in places[0]},
        notices=(*layers.notices, *notices, *told, *_apart(truth, predictions)),
    )
    return GroundEvaluation(evaluation, layers.crs, layers.own_crs, *reasons, provenance, image)


def _name(image: SceneImage | None, provenance: Provenance | None, truth: Path) -> str:
    if image is not None:
        return image.name
    return truth.name if provenance is None else provenance.scene


def _way_to(image: SceneImage, layers: Layers, scene: Path | None) -> ToPixels:
    try:
        return pixels_of(layers.crs, image.crs, image.transform, image.size)
    except ValueError:
        which = (
            "has a georeference, and the files compared are in pixels"
            if layers.crs is None
            else "has no georeference, and the files compared have one"
        )
        raise InputError(f"{scene}: {which}; give files and scene in one frame, or leave out --scene") from None


def _left_out(
    sides: tuple[Annotations, Annotations],
    layers: Layers,
    options: EvaluateOptions,
    image: SceneImage | None,
    to_scene: ToPixels | None,
) -> tuple[tuple[Reasons, Reasons], list[str]]:
    """Find why objects of truth and predictions are left out; the first reason holds."""
    areas = {name: layers.area(path) for name, path in (("aoi", options.aoi), ("not", options.ignore_area)) if path}
    both = []
    for objects in sides:
        reasons = np.full(len(objects), "", object)
        outlines, classed = outlines_of(objects), objects.labels != REGION
        if "aoi" in areas:
            _give(reasons, classed & (shares_inside(outlines, areas["aoi"].area) < LEAST_SHARE_INSIDE), OUTSIDE)
        if "not" in areas:
            _give(reasons, classed & (shares_inside(outlines, areas["not"].area) >= LEAST_SHARE_INSIDE), IN_AREA)
        if image is not None and to_scene is not None:
            shares = image.shares(shapely.transform(outlines, to_scene))
            _give(reasons, classed & (shares < LEAST_SHARE_INSIDE), NO_IMAGE)
        both.append(reasons)
    return (both[0], both[1]), [notice for area in areas.values() for notice in area.notices]


def _give(reasons: Reasons, rows: NDArray[np.bool_], reason: str) -> None:
    reasons[rows & (reasons == "")] = reason


def _places(
    objects: Annotations, provenance: Provenance | None, image: SceneImage | None, to_scene: ToPixels | None
) -> dict[str, NDArray[np.bool_]]:
    """Tell which objects are at a seam between chips, and which at the edge of the image."""
    places: dict[str, NDArray[np.bool_]] = {}
    if provenance is not None:
        boxes = _pixel_boxes(objects, provenance.to_pixels)
        places = {"seam": provenance.near_seam(boxes), "edge": provenance.near_edge(boxes)}
    if image is not None and to_scene is not None:
        edge = image.near_edge(_pixel_boxes(objects, to_scene))
        places["edge"] = places["edge"] | edge if "edge" in places else edge
    return places


def _pixel_boxes(objects: Annotations, to_pixels: ToPixels) -> NDArray[np.float64]:
    """Bound ``[N, 4]`` the boxes of objects in px of a scene."""
    corners = objects.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    moved = to_pixels(corners).reshape(-1, 4, 2)
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def _apart(truth: Annotations, predictions: Annotations) -> list[str]:
    objects = outlines_of(truth.rows(truth.labels != REGION))
    if len(objects) == 0 or len(predictions) == 0:
        return []
    tree = shapely.STRtree(objects)
    if any(tree.query(part, "intersects").size for part in np.array_split(outlines_of(predictions), 100) if len(part)):
        return []
    return ["truth and predictions do not overlap anywhere; check that both show the same place, in the right CRS"]
