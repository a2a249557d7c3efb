"""UAVDT: the toolkit's overall AP, and the one-class VOC AP of NDFT and D2Det.

Both pool all classes. On the same detections they and COCO over three classes give very different numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.box_match import arg_max, first_takers, free_best, grouped, sides, strictly_inside
from d2det_geo.metrics.curves import ranking, scores_of
from d2det_geo.metrics.outcome import Iou, Outcome, Verdicts
from d2det_geo.metrics.standing import Standing

IOU = 0.7


def score_uavdt(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score by the UAVDT toolkit: all classes as one, IoU >= 0.7, all-point AP, ``ap_percent`` to two decimals.

    A prediction all of whose edges lie strictly inside one ignore box of its frame is dropped; the truth never is.
    Out-of-view and occluded objects count like any other. There is no cap, no score threshold, no frame sampling.
    The AP of the images with a tag ``night`` is ``ap_tag_night``, and so for each tag; ``ap_medium`` is a size
    elsewhere, and ``ap_tag_medium`` a height.

    Args:
        truth: objects and regions. Objects flagged ignored, which UAVDT has none of, count as regions.
        predictions: of the same images.
        iou: ``bbox``, the only one.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
    """
    regions, scores = truth.ignored, scores_of(predictions)
    boxes, objects = sides(predictions), sides(truth)
    dropped = strictly_inside(boxes, predictions.image, objects[regions], truth.image[regions])
    groups = grouped(
        np.where(regions, -1, truth.image),
        regions,
        np.where(dropped, -1, predictions.image),
        scores,
        len(truth.images),
    )
    found = free_best(groups, objects, regions, boxes, np.array([IOU]))
    verdicts = Verdicts((IOU,), found, dropped[None], regions, "all-point", pooled=True)
    settings = {
        "matching": "greedy by falling score per frame, the free truth of the highest IoU >= 0.7; of equals the later",
        "ignore_rule": "a prediction strictly inside one ignore box of its frame is dropped; the truth never is",
    }
    return _outcome("uavdt", Standing(truth, predictions, verdicts, _none(predictions)), score, settings)


def score_uavdt_voc07(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score UAVDT as one VOC class at IoU > 0.7: arg-max matching, all-point AP; ignore regions are not used.

    ``ap_11point`` is the other integral NDFT prints. Its widths are those of boxes whose edges lie at integers: the
    +1 of VOC code belongs to inclusive corners, which the reader has already turned into edges (golden case 07b).
    Arguments as in ``score_uavdt``.
    """
    unused, scores = truth.ignored, scores_of(predictions)
    groups = grouped(np.where(unused, -1, truth.image), unused, predictions.image, scores, len(truth.images))
    best, ious = arg_max(groups, sides(truth), sides(predictions))
    enough = np.where(ious > IOU, best, -1).astype(np.int32)
    found = np.where(first_takers(enough, ranking(predictions)), enough, -1)[None]
    nothing = np.zeros((1, len(predictions)), bool)
    verdicts = Verdicts((IOU,), found, nothing, unused, "all-point", pooled=True)
    settings = {
        "matching": "by falling score, the truth of the highest IoU > 0.7; wrong if another prediction has it",
        "ignore_rule": "ignore regions are not used",
    }
    standing = Standing(truth, predictions, verdicts, _none(predictions))
    more = {"ap_11point": standing.pooled_average_precision("11-point")}
    return _outcome("uavdt-voc07", standing, score, settings, more)


def released_object_ap(truth: Annotations, predictions: Annotations) -> dict[str, float]:
    """Reproduce the toolkit's per-object-attribute script as released, which is no sane AP per class.

    Truth of other classes can not be found, what is predicted on it is wrong, and it still counts in the recall
    denominator; predictions of all classes take part. For comparison with numbers made by that script only.

    Returns:
        AP as a share of 1 of each class.
    """
    official = score_uavdt(truth, predictions).verdicts
    boxes, objects = sides(predictions), sides(truth)
    aps = {}
    for label, name in enumerate(truth.classes):
        taken = (truth.labels != label) | truth.ignored
        keys = np.where(official.ignored[0], -1, predictions.image)
        groups = grouped(np.where(taken, -1, truth.image), taken, keys, scores_of(predictions), len(truth.images))
        found = free_best(groups, objects, taken, boxes, np.array([IOU]))
        verdicts = Verdicts((IOU,), found, official.ignored, official.truth_ignored, "all-point", pooled=True)
        standing = Standing(truth, predictions, verdicts, _none(predictions))
        aps[name] = standing.pooled_average_precision("all-point")
    return aps


def _none(predictions: Annotations) -> NDArray[np.bool_]:
    return np.zeros(len(predictions), bool)


def _outcome(
    protocol: str,
    standing: Standing,
    score: float | None,
    settings: Mapping[str, Any],
    more: Mapping[str, float] | None = None,
) -> Outcome:
    numbers, per_class = standing.operating(score)
    tags = standing.truth.images.tags
    ap = standing.pooled_average_precision("all-point")
    return Outcome(
        protocol=protocol,
        metrics={
            "ap": ap,
            "ap_percent": round(100 * ap, 2),
            **(more or {}),
            **{f"ap_tag_{tag}": standing.pooled_average_precision("all-point", tags[tag]) for tag in tags},
            **numbers,
        },
        per_class={name: {"ap": float("nan"), **values} for name, values in per_class.items()},
        counts=standing.counts(),
        settings={
            "iou": "bbox",
            "iou_thresholds": [IOU],
            "operating_iou": IOU,
            "max_dets": None,
            "cap_is_per": None,
            "area_ranges": {},
            "integral": "all-point",
            **settings,
        },
        verdicts=standing.verdicts,
    )
