"""Score predictions against truth: two files in, one report out.

``geo`` compares polygons on the ground; ``coco`` compares COCO results with a COCO truth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.errors import InputError, UsageError
from d2det_geo.metrics.classes import ClassRules
from d2det_geo.metrics.coco_documents import score_documents
from d2det_geo.metrics.coco_input import Iou, parse_results, parse_truth
from d2det_geo.metrics.geo import score_objects, shares_inside
from d2det_geo.metrics.scores import Scores
from d2det_geo.pipeline.layers import Layer, Layers, read_layers

Protocol = Literal["geo", "coco"]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation. Undefined numbers are NaN here and null in JSON."""

    protocol: Protocol
    iou: Iou
    metrics: dict[str, float]
    """``ap``, ``ap50``, ``ap75``, ``precision``, ``recall``, ``f1``, ``score_threshold``."""
    counts: dict[str, int]
    """``truths``, ``truths_ignored``, ``predictions``, ``predictions_ignored``, ``ignore_regions``."""
    per_class: dict[str, dict[str, float]]
    """The metrics and counts of each class."""
    notices: tuple[str, ...]
    """What a reader of the numbers should know, one sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps(..., allow_nan=False)`` accepts."""
        return {
            "schema_version": SCHEMA_VERSION,
            "protocol": self.protocol,
            "iou": self.iou,
            "metrics": _without_nan(self.metrics),
            "counts": self.counts,
            "per_class": {name: _without_nan(values) for name, values in self.per_class.items()},
            "notices": list(self.notices),
        }


def evaluate_files(  # noqa: PLR0913  (one argument per option of the command)
    truth: Path,
    pred: Path,
    *,
    protocol: Protocol = "geo",
    iou: Iou = "segm",
    aoi: Path | None = None,
    class_map: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    score: float | None = None,
    class_field: str = "class",
) -> Report:
    """Score a file of predictions against a file of truth.

    Args:
        truth: vector file of polygons (``geo``) or COCO JSON (``coco``).
        pred: vector file of polygons with ``class`` and ``score``, or a COCO results list. Without
            ``score`` every prediction has 1.0; without ``class`` it has the only class of the truth.
        protocol: how the two are compared.
        iou: ``segm`` compares outlines or masks, ``bbox`` boxes (``geo``: north-up boxes on the ground).
        aoi: vector file; objects with less than half their area inside are ignored. ``geo`` only.
        class_map: class in the data -> class of the evaluation; an empty name drops the objects.
        ignore: classes of the data that mark ignore regions. In ``geo`` a prediction with half its
            area or more in them is ignored unless it finds an object; ``coco`` treats them as crowds.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
        class_field: attribute that holds the class, ``geo`` only. Predictions without it use ``class``.

    Raises:
        InputError: a file is missing, unreadable, or not what the protocol needs.
        UsageError: options that make no sense together.
    """
    _check_options(protocol, iou, aoi, score)
    rules = ClassRules(class_map or {}, tuple(ignore))
    if protocol == "coco":
        scores, regions, notices = _evaluate_coco(Path(truth), Path(pred), rules, iou, score)
    else:
        layers = read_layers(Path(truth), Path(pred), rules, class_field)
        region = None if aoi is None else layers.area(aoi)
        scores, regions, notices = _evaluate_geo(layers, iou, region and region.area, score)
        notices += region.notices if region else ()
    return Report(
        protocol=protocol,
        iou=iou,
        metrics=scores.metrics(),
        counts={**scores.counts, "ignore_regions": regions},
        per_class={name: {**item.metrics(), **item.counts} for name, item in scores.per_class.items()},
        notices=(*notices, *_remarks(scores)),
    )


def _check_options(protocol: str, iou: str, aoi: Path | None, score: float | None) -> None:
    for name, value, known in (("protocol", protocol, get_args(Protocol)), ("iou", iou, get_args(Iou))):
        if value not in known:
            raise UsageError(f"{name} {value!r} is unknown; choose one of {', '.join(known)}")
    if protocol == "coco" and aoi is not None:
        raise UsageError("aoi needs protocol geo: the images of a COCO file carry no ground coordinates")
    if score is not None and not math.isfinite(score):
        raise UsageError(f"score must be a finite number, got {score}")


def _evaluate_coco(
    truth: Path, pred: Path, rules: ClassRules, iou: Iou, score: float | None
) -> tuple[Scores, int, list[str]]:
    """Return the scores, the number of ignore regions and notices."""
    document = _read_json(truth)
    parsed = parse_truth(document, iou, rules, str(truth))
    results = parse_results(_read_json(pred), parsed, iou, str(pred))
    scores = score_documents(parsed, results, iou, score=score)
    regions = int(np.count_nonzero(parsed.objects.labels == ""))
    return scores, regions, rules.unused(row["name"] for row in document["categories"])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a COCO JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); give a complete COCO JSON file") from error


def _evaluate_geo(
    layers: Layers, iou: Iou, area: shapely.Geometry | None, score: float | None
) -> tuple[Scores, int, list[str]]:
    """Return the scores, the number of ignore regions and notices."""
    region = np.array([name is None for name in layers.truth.classes], bool)
    regions = layers.truth.geometries[region]
    truth, predictions = _classed(layers.truth), _classed(layers.predictions)
    truth_ignored, ignored = _outside(truth, area), _outside(predictions, area)
    if len(regions):
        ignored |= shares_inside(predictions.geometries, shapely.union_all(regions)) >= LEAST_SHARE_INSIDE
    scores = score_objects(
        truth.geometries,
        truth.classes.astype(np.str_),
        truth_ignored,
        predictions.geometries,
        predictions.classes.astype(np.str_),
        predictions.scores,
        ignored,
        score=score,
        boxes=iou == "bbox",
    )
    return scores, len(regions), [*layers.notices, *_apart(truth, predictions)]


def _classed(layer: Layer) -> Layer:
    return layer.where(np.array([bool(name) for name in layer.classes], bool))


def _outside(layer: Layer, area: shapely.Geometry | None) -> NDArray[np.bool_]:
    if area is None:
        return np.zeros(len(layer.geometries), bool)
    return shares_inside(layer.geometries, area) < LEAST_SHARE_INSIDE


def _apart(truth: Layer, predictions: Layer) -> list[str]:
    if len(truth.geometries) == 0 or len(predictions.geometries) == 0:
        return []
    if shapely.STRtree(truth.geometries).query(predictions.geometries, "intersects").size:
        return []
    return ["truth and predictions do not overlap anywhere; check that both show the same place, in the right CRS"]


def _remarks(scores: Scores) -> list[str]:
    """Say what makes the numbers undefined or less than they seem."""
    if scores.counts["truths"] == 0:
        ignored = scores.counts["truths_ignored"]
        reason = f"all {ignored} objects of the truth are ignored" if ignored else "the truth has no objects"
        return [f"{reason}: the metrics are undefined"]
    remarks = []
    if math.isnan(scores.precision):
        remarks.append("no prediction that counts reaches the score threshold: recall is 0, precision is undefined")
    strange = [name for name, item in scores.per_class.items() if item.counts["truths"] == 0]
    if strange:
        remarks.append(
            f"the truth has no objects of class {', '.join(strange)}: their predictions are counted "
            "under that class, and in none of the metrics"
        )
    return remarks


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
