"""The COCO family: ``coco``, ``isaid``, ``uavdt-coco3`` and ``uavdt-coco1``, by hotcoco.

hotcoco was chosen over pycocotools and faster-coco-eval: the tables equal pycocotools' to the last digits (the tests
compare them), it takes a fortieth of the time and less memory than either, is MIT, released often, and takes columns.
Its precision and recall tables are read directly: ``summarize`` prints -1 for caps other than 1, 10, 100.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hotcoco import COCOeval
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.collection import no_collection
from d2det_geo.errors import UsageError
from d2det_geo.metrics.coco_index import index_coco
from d2det_geo.metrics.coco_tables import Tables
from d2det_geo.metrics.coco_verdicts import judge
from d2det_geo.metrics.outcome import Iou, Outcome, Verdicts
from d2det_geo.metrics.standing import Standing

COCO_CAPS = (1, 10, 100)
COCO_RANGES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
ISAID_CAPS = (1, 10, 1000)
ISAID_RANGES = {"small": (10.0**2, 144.0**2), "medium": (144.0**2, 512.0**2), "large": (512.0**2, 1e10)}
_ALL = (0.0, 1e10)
_CROWDS = "crowds and ignore regions absorb any number of results, by intersection over the area of the result"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What tells one protocol of the family from another."""

    protocol: str
    caps: tuple[int, ...]
    ranges: Mapping[str, tuple[float, float]]
    ignore_rule: str = _CROWDS
    pooled: bool = False
    """All classes are one."""


_COCO = _Rules("coco", COCO_CAPS, COCO_RANGES)
_ISAID = _Rules("isaid", ISAID_CAPS, ISAID_RANGES)
_UAVDT = "ignore regions are not used; frames without truth are left out with what was predicted on them"


def score_coco(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "segm",
    score: float | None = None,
    max_dets: Sequence[int] | None = None,
) -> Outcome:
    """Score by the COCO protocol: mean AP over IoU 0.50:0.05:0.95, 101 recalls, mean over classes with truth.

    Args:
        truth: objects, crowds and regions.
        predictions: of the same images and classes; rows of an image in the order that decides equal scores.
        iou: compare masks or boxes.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
        max_dets: results kept per image and class, ascending; AP is at the last. None: 1, 10, 100.

    Raises:
        InputError: masks are to be compared and an object has none.
        UsageError: ``max_dets`` does not ascend from 1 or more.
    """
    return _score(truth, predictions, iou, score, _capped(_COCO, max_dets))


def score_isaid(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "segm",
    score: float | None = None,
    max_dets: Sequence[int] | None = None,
) -> Outcome:
    """Score patches as the iSAID devkit does: COCO with 1000 results and its own size ranges (iSAID_Devkit a671fd53).

    Objects below 100 px count only in ``ap``; "small" reaches to 144 px squared. Arguments and errors as in
    ``score_coco``.
    """
    return _score(truth, predictions, iou, score, _capped(_ISAID, max_dets))


def score_uavdt_coco3(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "bbox",
    score: float | None = None,
    max_dets: Sequence[int] | None = None,
) -> Outcome:
    """Score UAVDT as the ClusDet line of papers does: COCO per class, no ignore handling, frames with truth only.

    Arguments and errors as ``score_coco``; the papers differ in the cap (100, or 500 for UFPMP).
    """
    rules = _capped(replace(_COCO, protocol="uavdt-coco3", ignore_rule=_UAVDT), max_dets)
    return _without_regions(truth, predictions, iou, score, rules)


def score_uavdt_coco1(
    truth: Annotations,
    predictions: Annotations,
    *,
    iou: Iou = "bbox",
    score: float | None = None,
    max_dets: Sequence[int] | None = None,
) -> Outcome:
    """Score UAVDT as ``uavdt-coco3`` with all classes merged into one; a class by itself has recall only."""
    rules = _capped(replace(_COCO, protocol="uavdt-coco1", ignore_rule=_UAVDT, pooled=True), max_dets)
    return _without_regions(truth, predictions, iou, score, rules)


def _merged(objects: Annotations) -> Annotations:
    labels = np.where(objects.labels == REGION, REGION, 0)
    return replace(objects, classes=("any",), labels=labels, class_ids=None, supercategories=None)


def _capped(rules: _Rules, max_dets: Sequence[int] | None) -> _Rules:
    if max_dets is None:
        return rules
    caps = tuple(max_dets)
    if not caps or caps[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(caps)):
        raise UsageError(f"max_dets must ascend from 1 or more, got {', '.join(map(str, caps)) or 'nothing'}")
    return replace(rules, caps=caps)


def _without_regions(
    truth: Annotations, predictions: Annotations, iou: Iou, score: float | None, rules: _Rules
) -> Outcome:
    """Score without what is ignored in the truth, on the images that have truth."""
    objects = np.flatnonzero(~truth.ignored & (truth.labels != REGION))
    framed = np.zeros(len(truth.images), bool)
    framed[truth.image[objects]] = True
    outcome = _score(truth, predictions, iou, score, rules, objects, framed)
    left_out = int(np.count_nonzero(~framed))
    if not left_out:
        return outcome
    strays = int(np.count_nonzero(~framed[predictions.image]))
    notice = f"{left_out} frames without truth are left out, as in the papers, with {strays} predictions on them"
    counts = {**outcome.counts, "images": int(np.count_nonzero(framed))}
    return replace(outcome, counts=counts, notices=(*outcome.notices, notice))


@no_collection()
def _score(
    truth: Annotations,
    predictions: Annotations,
    iou: Iou,
    score: float | None,
    rules: _Rules,
    rows: NDArray[np.intp] | None = None,
    images: NDArray[np.bool_] | None = None,
) -> Outcome:
    """Score some rows of a truth, or all, on some images, or all."""
    rows = np.arange(len(truth)) if rows is None else rows
    images = np.ones(len(truth.images), bool) if images is None else images
    objects, results = truth.rows(rows), predictions
    if rules.pooled:
        objects, results = _merged(objects), _merged(results)
    index = index_coco(objects, results, iou)
    evaluation = COCOeval(index.truth, index.results, iou)
    evaluation.params.img_ids = np.sort(index.image_ids[images]).tolist()
    tables = _tables(evaluation, rules, len(objects.classes))
    thresholds = np.array(tables.thresholds)
    found, ignored, capped = judge(objects, results, index, images, rules.caps[-1], thresholds)
    found = np.where(found >= 0, np.append(rows, -1)[found], -1).astype(np.int32)
    truth_ignored = np.ones(len(truth), bool)
    truth_ignored[rows] = truth.ignored[rows]
    verdicts = Verdicts(
        tables.thresholds, found, ignored, truth_ignored, "101-point", rules.pooled, capped=capped, images=images
    )
    standing = Standing(truth, predictions, verdicts, capped)
    numbers, per_class = standing.operating(score)
    return Outcome(
        protocol=rules.protocol,
        metrics={**tables.metrics(), **numbers},
        per_class={
            name: {**(tables.undefined() if rules.pooled else tables.metrics(label)), **per_class[name]}
            for label, name in enumerate(truth.classes)
        },
        counts=standing.counts(),
        settings=_settings(rules, tables.thresholds, iou),
        verdicts=verdicts,
        notices=_notices(rules),
    )


def _tables(evaluation: COCOeval, rules: _Rules, classes: int) -> Tables:
    names = ("all", *rules.ranges)
    evaluation.params.cat_ids = list(range(1, classes + 1))
    evaluation.params.max_dets = list(rules.caps)
    evaluation.params.area_rng = [list(_ALL), *map(list, rules.ranges.values())]
    evaluation.params.area_rng_lbl = list(names)
    evaluation.evaluate()
    evaluation.accumulate()
    thresholds = tuple(evaluation.params.iou_thrs)
    tables = evaluation.eval or {}
    return Tables(thresholds, names, rules.caps, np.asarray(tables["precision"]), np.asarray(tables["recall"]))


def _settings(rules: _Rules, thresholds: Sequence[float], iou: Iou) -> dict[str, object]:
    return {
        "iou": iou,
        "iou_thresholds": list(thresholds),
        "operating_iou": thresholds[0],
        "max_dets": list(rules.caps),
        "cap_is_per": "image and class",
        "area_ranges": {"all": list(_ALL), **{name: list(ends) for name, ends in rules.ranges.items()}},
        "matching": "greedy by falling score, the free truth of the highest IoU >= threshold; of equals the later",
        "ignore_rule": rules.ignore_rule,
        "integral": "101-point",
    }


def _notices(rules: _Rules) -> tuple[str, ...]:
    official = ISAID_CAPS if rules.protocol == "isaid" else COCO_CAPS
    if rules.caps[-1] == official[-1]:
        return ()
    return (
        f"ap is at {rules.caps[-1]} results per image and class; the number known as {rules.protocol} AP is at "
        f"{official[-1]}",
    )
