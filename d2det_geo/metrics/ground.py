"""The ``geo`` protocol over whole sets: polygons on the ground, ignore regions, ranges of size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.metrics.geo import shares_inside
from d2det_geo.metrics.matching import Pairs, candidate_pairs, match
from d2det_geo.metrics.outcome import Iou, Outcome, Verdicts
from d2det_geo.metrics.scores import IOU_THRESHOLDS, Labels, Matches, Scores, summarise
from d2det_geo.vector.repair import polygonal

Ranges = Mapping[str, tuple[float, float]]
"""Name -> least and greatest area, m2, both included."""


def score_geo(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "segm",
    score: float | None = None,
    neutral: NDArray[np.bool_] | None = None,
    sizes: Ranges | None = None,
) -> Outcome:
    """Score polygons in one planar frame.

    A prediction of which at least half lies in regions to ignore is ignored where it finds nothing. Average precision
    by size follows COCO: truths outside a range are ignored, and so are predictions outside it that find nothing.

    Args:
        truth: outlines in m, or px of the files where they have no CRS; ``ignored`` ones are neither to be found nor
            wrong to find.
        predictions: in the same frame.
        iou: ``segm`` compares outlines, ``bbox`` their envelopes.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
        neutral: ``[P]`` predictions to be ignored where they find nothing, beside those in regions.
        sizes: ranges of area to score by themselves.
    """
    case = _case(truth, predictions, iou, neutral)
    found, ignored = match(case.pairs, case.truth_ignored, case.scores, case.neutral)
    result = summarise([case.matches(found, ignored)], score)
    parts = {name: case.of_size(*limits) for name, limits in (sizes or {}).items()}
    rows = np.flatnonzero(truth.labels != REGION).astype(np.int32)
    return Outcome(
        protocol="geo",
        metrics={**result.metrics(), **{f"ap_{name}": part.ap for name, part in parts.items()}},
        per_class={
            name: {**item.metrics(), **_by_size(name, parts), **item.counts} for name, item in result.per_class.items()
        },
        counts={
            "images": len(truth.images),
            **result.counts,
            "predictions_capped": 0,
            "ignore_regions": len(truth) - len(rows),
            **{f"truths_{name}": part.counts["truths"] for name, part in parts.items()},
        },
        settings=_settings(sizes or {}, iou),
        verdicts=Verdicts(
            thresholds=tuple(IOU_THRESHOLDS.tolist()),
            found=np.append(rows, np.int32(-1))[found],
            ignored=ignored,
            truth_ignored=truth.ignored | (truth.labels == REGION),
            integral="101-point",
        ),
    )


def outlines_of(objects: Annotations) -> NDArray[np.object_]:
    """Give ``[N]`` outlines, boxes where a set has none."""
    return shapely.box(*objects.boxes.T) if objects.outlines is None else objects.outlines


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """All that matching needs, of the truths that are no regions."""

    pairs: Pairs
    truth_labels: Labels
    truth_ignored: NDArray[np.bool_]
    truth_areas: NDArray[np.float64]
    labels: Labels
    scores: NDArray[np.float64]
    neutral: NDArray[np.bool_]
    areas: NDArray[np.float64]

    def matches(self, found: NDArray[np.int32], ignored: NDArray[np.bool_]) -> Matches:
        hits = (found >= 0) & ~ignored
        return Matches(self.truth_labels, self.truth_ignored, self.labels, self.scores, hits, ignored)

    def of_size(self, least: float, most: float) -> Scores:
        others = self.truth_ignored | (self.truth_areas < least) | (self.truth_areas > most)
        neutral = self.neutral | (self.areas < least) | (self.areas > most)
        found, ignored = match(self.pairs, others, self.scores, neutral)
        hits = (found >= 0) & ~ignored
        return summarise([Matches(self.truth_labels, others, self.labels, self.scores, hits, ignored)])


def _case(truth: Annotations, predictions: Annotations, iou: Iou, neutral: NDArray[np.bool_] | None) -> _Case:
    region = truth.labels == REGION
    shapes, found = (polygonal(outlines_of(objects)) for objects in (truth, predictions))
    aside = np.zeros(len(predictions), bool) if neutral is None else neutral
    if region.any():
        aside = aside | (shares_inside(found, shapely.union_all(shapes[region])) >= LEAST_SHARE_INSIDE)
    names = np.array(truth.classes or ("",), np.str_)
    scores = np.ones(len(predictions)) if predictions.scores is None else predictions.scores
    objects, labels = shapes[~region], truth.labels[~region]
    return _Case(
        candidate_pairs(objects, labels, found, predictions.labels, boxes=iou == "bbox"),
        names[labels],
        truth.ignored[~region],
        shapely.area(objects),
        names[predictions.labels],
        scores,
        aside,
        shapely.area(found),
    )


def _by_size(name: str, parts: Mapping[str, Scores]) -> dict[str, float]:
    return {f"ap_{size}": part.per_class[name].ap for size, part in parts.items()}


def _settings(sizes: Ranges, iou: Iou) -> dict[str, Any]:
    return {
        "iou": iou,
        "iou_thresholds": IOU_THRESHOLDS.tolist(),
        "operating_iou": float(IOU_THRESHOLDS[0]),
        "max_dets": None,
        "cap_is_per": None,
        "area_ranges": {name: list(limits) for name, limits in sizes.items()},
        "matching": f"greedy by score, best free truth by IoU of {'outlines' if iou == 'segm' else 'envelopes'}, >=",
        "ignore_rule": "predictions with half their area or more in ignored regions, unless they find an object",
        "integral": "101-point",
    }
