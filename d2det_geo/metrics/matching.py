"""Which prediction found which truth: sparse candidate pairs, then COCO's greedy rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.metrics.scores import IOU_THRESHOLDS, Labels

_LEAST_IOU = float(IOU_THRESHOLDS[0])
_CHUNK = 512  # predictions whose neighbours are held at a time: bounds memory where many objects overlap


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """K pairs of a truth and a prediction of one class whose IoU is at least 0.5."""

    truths: NDArray[np.intp]
    """``[K]`` index of the truth."""
    predictions: NDArray[np.intp]
    """``[K]`` index of the prediction."""
    ious: NDArray[np.float64]
    """``[K]``"""


def candidate_pairs(
    truth: NDArray[np.object_],
    truth_labels: Labels,
    predictions: NDArray[np.object_],
    labels: Labels,
    *,
    boxes: bool = False,
) -> Pairs:
    """Find the pairs that could match, through a spatial index: never all T x P.

    Args:
        truth: ``[T]`` valid shapely polygons in a planar frame.
        truth_labels: ``[T]``
        predictions: ``[P]`` valid shapely polygons in the same frame.
        labels: ``[P]``
        boxes: compare the envelopes instead of the polygons.
    """
    ious = _envelope_ious if boxes else _polygon_ious
    tree = shapely.STRtree(truth)
    parts = [Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))]
    for start in range(0, len(predictions), _CHUNK):
        p, t = tree.query(predictions[start : start + _CHUNK])
        p = p + start
        same = truth_labels[t] == labels[p]
        t, p = t[same], p[same]
        values = ious(truth[t], predictions[p])
        near = values >= _LEAST_IOU
        parts.append(Pairs(t[near], p[near], values[near]))
    return Pairs(
        np.concatenate([part.truths for part in parts]),
        np.concatenate([part.predictions for part in parts]),
        np.concatenate([part.ious for part in parts]),
    )


def match(
    pairs: Pairs,
    truth_ignored: NDArray[np.bool_],
    scores: NDArray[np.float64],
    predictions_ignored: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Give each prediction, by falling score, the best free truth; once per IoU threshold.

    pycocotools' rule: a truth that counts is preferred to an ignored one, then the higher IoU, then
    the later truth; equal scores keep their order. A prediction that finds an ignored truth is
    ignored, and so is one that finds nothing and is itself ignored.

    Args:
        pairs: candidates, each truth and prediction by index.
        truth_ignored: ``[T]``
        scores: ``[P]``
        predictions_ignored: ``[P]``

    Returns:
        found and ignored, both ``[10, P]``: the truth the prediction took, -1 for none; it is neither right nor wrong.
    """
    rank = np.empty(len(scores), np.intp)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    order = np.lexsort((-pairs.truths, -pairs.ious, truth_ignored[pairs.truths], rank[pairs.predictions]))
    truths, predictions, ious = pairs.truths[order], pairs.predictions[order], pairs.ious[order]
    found = np.full((len(IOU_THRESHOLDS), len(scores)), -1, np.int32)
    for row, threshold in enumerate(IOU_THRESHOLDS):
        enough = ious >= threshold
        _take_free(truths[enough], predictions[enough], len(truth_ignored), found[row])
    on_ignored = np.append(truth_ignored, False)[found]  # the last row stands for -1
    return found, on_ignored | (predictions_ignored & (found < 0))


def _take_free(truths: NDArray[np.intp], predictions: NDArray[np.intp], count: int, found: NDArray[np.int32]) -> None:
    """Walk pairs in order of preference; enter into ``found [P]`` the one of ``count`` truths each prediction takes."""
    # Where neither of a pair has another choice there is nothing to decide, and that is most of them.
    alone = (np.bincount(truths, minlength=count)[truths] == 1) & (np.bincount(predictions)[predictions] == 1)
    found[predictions[alone]] = truths[alone]
    taken: set[int] = set()
    choice: dict[int, int] = {}
    for truth, prediction in zip(truths[~alone].tolist(), predictions[~alone].tolist(), strict=True):
        if prediction not in choice and truth not in taken:
            choice[prediction] = truth
            taken.add(truth)
    found[list(choice)] = list(choice.values())


def _polygon_ious(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    areas = shapely.area(first), shapely.area(second)
    # No intersection exceeds that of the envelopes, or either area: most pairs need no overlay.
    bound = np.minimum(_envelope_overlaps(first, second), np.minimum(*areas))
    possible = bound >= _LEAST_IOU * (1 - 1e-9) * (areas[0] + areas[1] - bound)
    overlaps = np.zeros(len(first))
    overlaps[possible] = shapely.area(shapely.intersection(first[possible], second[possible]))
    return _ratio(overlaps, *areas)


def _envelope_ious(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    areas = [np.prod(bounds[:, 2:] - bounds[:, :2], axis=1) for bounds in map(shapely.bounds, (first, second))]
    return _ratio(_envelope_overlaps(first, second), *areas)


def _envelope_overlaps(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    a, b = shapely.bounds(first), shapely.bounds(second)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    overlaps: NDArray[np.float64] = np.prod(np.maximum(sides, 0.0), axis=1)
    return overlaps


def _ratio(
    overlaps: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    unions = first + second - overlaps
    return np.divide(overlaps, unions, out=np.zeros_like(overlaps), where=unions > 0)
