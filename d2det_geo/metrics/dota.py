"""DOTA, full images, as DOTA_devkit 99388551 scores them: task 1 compares oriented boxes, task 2 horizontal ones."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.errors import InputError, UsageError
from d2det_geo.metrics.box_match import arg_max, overlapping, sides
from d2det_geo.metrics.outcome import Integral, Iou, Outcome
from d2det_geo.metrics.voc import DIFFICULT, IOU, groups_by_class, judged, outcome_per_class
from d2det_geo.vector.repair import polygonal

Version: TypeAlias = Literal["1.0", "1.5", "2.0"]
_INTEGRALS: dict[str, Integral] = {"ap": "11-point", "ap_allpoint": "all-point"}
_CHUNK = 100_000  # pairs of polygons compared at a time


def score_dota_task2(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "bbox",
    score: float | None = None,
    version: Version = "1.0",
) -> Outcome:
    """Score horizontal boxes: per class, IoU > 0.5 with 1 added to each width, arg-max matching, 11-point AP.

    ``ap_allpoint`` is the area over all points. The coordinates are those of the files: the +1 is the protocol's.

    Args:
        truth: objects; difficult ones are ``ignored``.
        predictions: of the same images and classes.
        iou: ``bbox``, the only one.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
        version: 1.0 leaves difficult objects out; 1.5 asks for them like any other, as its scripts do, and 2.0 has no
            others.

    Raises:
        UsageError: an unknown version.
    """
    difficult = _difficult(truth, version)
    groups = groups_by_class(truth, difficult, predictions)
    best, ious = arg_max(groups, sides(truth), sides(predictions), plus=1.0)
    standing = judged(truth, difficult, predictions, np.where(ious > IOU, best, -1), "11-point")
    settings = {
        "version": version,
        "matching": "by falling score, the truth of the highest IoU (widths + 1) if > 0.5; wrong if taken already",
        "ignore_rule": _ignore_rule(version),
    }
    return outcome_per_class("dota-task2", standing, score, _INTEGRALS, settings)


def score_dota_task1(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "segm",
    score: float | None = None,
    version: Version = "1.0",
) -> Outcome:
    """Score oriented boxes by the IoU of their polygons, otherwise as ``score_dota_task2``.

    An object without an outline is its box; ``iou`` is ``segm``, the only one.

    Raises:
        InputError: an outline is a mask.
        UsageError: an unknown version.
    """
    difficult = _difficult(truth, version)
    groups = groups_by_class(truth, difficult, predictions)
    rows, found = overlapping(groups, sides(truth), sides(predictions))
    ious = _polygon_ious(_polygons(truth, "truth"), _polygons(predictions, "predictions"), rows, found)
    best = np.full(len(predictions), -1)
    order = np.lexsort((rows, -ious, found))  # of equal overlaps the first truth
    order = order[ious[order] > IOU]
    predicted, first = np.unique(found[order], return_index=True)
    best[predicted] = rows[order][first]
    settings = {
        "iou": "segm",
        "version": version,
        "matching": "by falling score, the truth of the highest polygon IoU if > 0.5; wrong if taken already",
        "ignore_rule": _ignore_rule(version),
    }
    standing = judged(truth, difficult, predictions, best, "11-point")
    return outcome_per_class("dota-task1", standing, score, _INTEGRALS, settings)


def _difficult(truth: Annotations, version: Version) -> NDArray[np.bool_]:
    if version not in get_args(Version):
        raise UsageError(f"version {version!r} of DOTA is unknown; choose one of {', '.join(get_args(Version))}")
    return truth.ignored if version == "1.0" else np.zeros(len(truth), bool)


def _ignore_rule(version: Version) -> str:
    if version == "1.0":
        return DIFFICULT
    return f"difficult objects are to be found like any other{', by the rules of 1.5' if version == '2.0' else ''}"


def _polygons(annotations: Annotations, what: str) -> NDArray[np.object_]:
    polygons = shapely.box(*annotations.boxes.reshape(-1, 4).T)
    if annotations.outlines is None:
        return np.asarray(polygons, object)
    masks = [row for row, outline in enumerate(annotations.outlines) if isinstance(outline, Runs)]
    if masks:
        name = annotations.images.names[annotations.image[masks[0]]]
        raise InputError(
            f"{what}: {len(masks)} outlines are masks, the first in image {name}; dota-task1 compares the polygons of "
            "oriented boxes"
        )
    return np.asarray(np.where(shapely.is_missing(annotations.outlines), polygons, annotations.outlines), object)


def _polygon_ious(
    truth: NDArray[np.object_], predictions: NDArray[np.object_], rows: NDArray[np.intp], found: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the IoU of each pair; corners in a crossing order enclose what ``polygonal`` makes of them."""
    truth, predictions = polygonal(truth), polygonal(predictions)
    areas = shapely.area(truth)[rows] + shapely.area(predictions)[found]
    shared = np.zeros(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        shared[part] = shapely.area(shapely.intersection(truth[rows[part]], predictions[found[part]]))
    ious = np.zeros(len(rows))
    np.divide(shared, areas - shared, out=ious, where=areas > shared)
    return ious
