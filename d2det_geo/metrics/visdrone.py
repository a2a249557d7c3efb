"""VisDrone-DET: COCO thresholds with ignored regions, a cap over all classes, and quirks of its toolkit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.metrics.box_match import free_best, grouped, sides
from d2det_geo.metrics.curves import average_precision, scores_of
from d2det_geo.metrics.outcome import Iou, Outcome, Verdicts
from d2det_geo.metrics.region_share import shares_in_regions
from d2det_geo.metrics.standing import Standing

IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
CAPS = (1, 10, 100, 500)
_UNJUDGED = "others"  # category 11


def score_visdrone(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score by the VisDrone-DET toolkit: AP over IoU 0.50:0.05:0.95 at 500 results per image over all classes.

    Objects and predictions with half of their rounded area or more in ignored regions are dropped. The cap keeps the
    first rows of an image in the file, whatever their class: a file has to be sorted by score. The toolkit's quirks
    are kept: the recall denominator includes objects of score 0, and the mean over classes is weighted by the number
    of images that contain the class. Precision, recall and F1 leave those objects out and pool the classes.

    Args:
        truth: objects, those of score 0 ``ignored``, and regions. A class ``others`` is not judged.
        predictions: of the same images and classes; rows of an image in the order of the file.
        iou: ``bbox``, the only one.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
    """
    dropped_truth, dropped = _in_regions(truth, truth), _in_regions(predictions, truth)
    strange = np.array([name == _UNJUDGED for name in (*truth.classes, "")], bool)  # the last is for regions
    left_out = dropped_truth | strange[truth.labels] | (truth.labels == REGION)
    capped = _rank_in_image(predictions, dropped) >= np.array(CAPS)[:, None]
    ignored = truth.ignored | left_out
    found = [_match(truth, left_out, predictions, dropped | over | strange[predictions.labels]) for over in capped]
    judged = ~(dropped | capped[-1] | strange[predictions.labels])
    absorbed = np.append(ignored, False)[found[-1]] & (found[-1] >= 0)
    cut = capped[-1] & ~dropped
    verdicts = Verdicts(IOUS, found[-1], absorbed | ~judged, ignored, "all-point", demanded=~left_out, capped=cut)
    standing = Standing(truth, predictions, verdicts, cut)
    recalls = [_recalls(standing, took, ~left_out) for took in found]
    return _outcome(standing, recalls, ~strange[:-1], score)


def class_weights(truth: Annotations, demanded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count the images that contain each class among the truths of the recall denominator."""
    weights = np.zeros(len(truth.classes))
    for label in range(len(weights)):
        weights[label] = len(np.unique(truth.image[demanded & (truth.labels == label)]))
    return weights


def _in_regions(annotations: Annotations, truth: Annotations) -> NDArray[np.bool_]:
    regions = truth.labels == REGION
    shares = shares_in_regions(
        sides(annotations), annotations.image, sides(truth)[regions], truth.image[regions], truth.images.sizes
    )
    inside: NDArray[np.bool_] = shares >= 0.5
    return inside


def _rank_in_image(predictions: Annotations, dropped: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number the rows of each image that were not dropped, from 0 in the order of the file; 0 for dropped ones."""
    kept = np.flatnonzero(~dropped)
    kept = kept[np.argsort(predictions.image[kept], kind="stable")]
    images = predictions.image[kept]
    ranks = np.zeros(len(predictions), np.intp)
    ranks[kept] = np.arange(len(kept)) - np.searchsorted(images, images)
    return ranks


def _match(
    truth: Annotations, left_out: NDArray[np.bool_], predictions: Annotations, out: NDArray[np.bool_]
) -> NDArray[np.int32]:
    classes = max(len(truth.classes), 1)
    groups = grouped(
        np.where(left_out, -1, truth.image * classes + truth.labels),
        truth.ignored,
        np.where(out, -1, predictions.image * classes + predictions.labels),
        scores_of(predictions),
        len(truth.images) * classes,
    )
    return free_best(groups, sides(truth), truth.ignored, sides(predictions), np.array(IOUS))


def _recalls(standing: Standing, found: NDArray[np.int32], demanded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return recall ``[classes, thresholds]`` under one cap."""
    truth, labels = standing.truth, range(len(standing.truth.classes))
    right = (found >= 0) & ~np.append(truth.ignored, True)[found]
    table = np.full((len(labels), len(IOUS)), np.nan)
    for label in labels:
        objects = np.count_nonzero(demanded & (truth.labels == label))
        if objects:
            table[label] = right[:, standing.predictions.labels == label].sum(axis=1) / objects
    return table


def _precisions(standing: Standing) -> NDArray[np.float64]:
    """Return average precision ``[classes, thresholds]``."""
    verdicts, truth = standing.verdicts, standing.truth
    table = np.full((len(truth.classes), len(IOUS)), np.nan)
    for row in range(len(IOUS)):
        hits = verdicts.hits(row)
        for label, rows in enumerate(standing.ranked(row)):
            objects = int(np.count_nonzero(verdicts.recall_denominator() & (truth.labels == label)))
            table[label, row] = average_precision(hits[rows], objects, "all-point")
    return table


def _outcome(
    standing: Standing, recalls: list[NDArray[np.float64]], judged: NDArray[np.bool_], score: float | None
) -> Outcome:
    numbers, per_class = standing.operating(score)
    weights = class_weights(standing.truth, standing.verdicts.recall_denominator())
    ap = _precisions(standing)
    tables = {"ap": ap.mean(axis=1), "ap50": ap[:, 0], "ap75": ap[:, 5]}
    tables.update({f"ar_{cap}": table.mean(axis=1) for cap, table in zip(CAPS, recalls, strict=True)})
    present = weights > 0
    return Outcome(
        protocol="visdrone",
        metrics={
            **{
                name: float(np.average(values[present], weights=weights[present])) if present.any() else float("nan")
                for name, values in tables.items()
            },
            **numbers,
        },
        per_class={
            name: {**{key: float(values[label]) for key, values in tables.items()}, **per_class[name]}
            for label, name in enumerate(standing.truth.classes)
            if judged[label]
        },
        counts=standing.counts(),
        settings={
            "iou": "bbox",
            "iou_thresholds": list(IOUS),
            "operating_iou": IOUS[0],
            "max_dets": list(CAPS),
            "cap_is_per": "image",
            "area_ranges": {},
            "matching": "greedy by falling score, the free truth of the highest IoU >= threshold; of equals the later",
            "ignore_rule": "half the area in ignored regions drops objects and predictions; objects of score 0 absorb "
            "predictions by intersection over their area, and stay in the recall denominator of AP and AR",
            "class_mean": "weighted by the number of images that contain the class",
            "integral": "all-point",
        },
        verdicts=standing.verdicts,
        notices=_notices(standing.predictions),
    )


def _notices(predictions: Annotations) -> tuple[str, ...]:
    order = np.argsort(predictions.image, kind="stable")
    images, scores = predictions.image[order], scores_of(predictions)[order]
    rising = (images[1:] == images[:-1]) & (scores[1:] > scores[:-1])
    unsorted = len(np.unique(images[1:][rising]))
    if not unsorted:
        return ()
    return (f"{unsorted} images list predictions out of score order: the cap keeps the first rows, not the best",)
