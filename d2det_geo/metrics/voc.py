"""Pascal VOC, and what it shares with DOTA: a prediction stands or falls with the truth it overlaps most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.metrics.box_match import Groups, arg_max, first_takers, grouped, sides
from d2det_geo.metrics.curves import mean, ranking, scores_of
from d2det_geo.metrics.outcome import Integral, Iou, Outcome, Verdicts
from d2det_geo.metrics.standing import Standing

IOU = 0.5
DIFFICULT = "difficult objects need not be found, and what overlaps one most is neither right nor wrong"


def score_voc(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score by Pascal VOC: per class, IoU >= 0.5, arg-max matching, mean over classes with truth.

    ``ap`` is over all points, as from VOC 2010 on; ``ap_11point`` is that of VOC 2007. The devkit's rule is ``>=``,
    and that is implemented; Python ports (and DOTA) use ``>``, which differs at an IoU of exactly 0.5. The +1 of
    the devkit's widths belongs to inclusive corners, which the reader has turned into edges: it is not added again.

    Args:
        truth: objects; difficult ones are ``ignored``.
        predictions: of the same images and classes.
        iou: ``bbox``, the only one.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
    """
    difficult = truth.ignored
    best, ious = arg_max(groups_by_class(truth, difficult, predictions), sides(truth), sides(predictions))
    standing = judged(truth, difficult, predictions, np.where(ious >= IOU, best, -1), "all-point")
    settings = {
        "matching": "by falling score, the truth of the highest IoU if >= 0.5; wrong if another prediction has it",
        "ignore_rule": DIFFICULT,
    }
    return outcome_per_class("voc", standing, score, {"ap": "all-point", "ap_11point": "11-point"}, settings)


def groups_by_class(truth: Annotations, difficult: NDArray[np.bool_], predictions: Annotations) -> Groups:
    """Group objects of one image and class; regions are in no group."""
    classes = max(len(truth.classes), 1)
    keys = np.where(truth.labels == REGION, -1, truth.image * classes + truth.labels)
    # The order of the file decides among equal overlaps, so difficult ones stay in place.
    return grouped(
        keys,
        np.zeros_like(difficult),
        predictions.image * classes + predictions.labels,
        scores_of(predictions),
        len(truth.images) * classes,
    )


def judged(
    truth: Annotations,
    difficult: NDArray[np.bool_],
    predictions: Annotations,
    best: NDArray[np.intp],
    integral: Integral,
) -> Standing:
    """Judge predictions by the truth each overlaps most and enough.

    Args:
        truth: objects and regions.
        difficult: ``[T]`` not to be found.
        predictions: of the same images and classes.
        best: ``[P]`` row of the truth, -1 where no overlap is enough.
        integral: of the main number.
    """
    taken = best.astype(np.int32)
    skipped = np.append(difficult, False)[taken]
    first = first_takers(taken, ranking(predictions))
    found = np.where(first | skipped, taken, -1)[None].astype(np.int32)
    verdicts = Verdicts((IOU,), found, skipped[None], difficult | (truth.labels == REGION), integral)
    return Standing(truth, predictions, verdicts, np.zeros(len(predictions), bool))


def outcome_per_class(
    protocol: str,
    standing: Standing,
    score: float | None,
    integrals: Mapping[str, Integral],
    settings: Mapping[str, Any],
) -> Outcome:
    """Sum up a protocol of one threshold: average precisions by name, each per class and their mean."""
    numbers, per_class = standing.operating(score)
    tables = {name: standing.average_precisions(integral)[:, 0].tolist() for name, integral in integrals.items()}
    regions = int(np.count_nonzero(standing.truth.labels == REGION))
    return Outcome(
        protocol=protocol,
        metrics={**{name: mean(values) for name, values in tables.items()}, **numbers},
        per_class={
            name: {**{key: values[label] for key, values in tables.items()}, **per_class[name]}
            for label, name in enumerate(standing.truth.classes)
        },
        counts=standing.counts(),
        settings={
            "iou": "bbox",
            "iou_thresholds": [IOU],
            "operating_iou": IOU,
            "max_dets": None,
            "cap_is_per": None,
            "area_ranges": {},
            "integral": standing.verdicts.integral,
            **settings,
        },
        verdicts=standing.verdicts,
        notices=(f"the {regions} ignore regions of the truth are not used: {protocol} has none",) if regions else (),
    )
