"""How each result of a COCO evaluation was judged, over all areas and at the largest cap.

hotcoco hands out its matches as nested lists that take longer to make than the whole evaluation, so the matching is
done once more here, by the same rule; the tests hold both against each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.box_match import Groups, free_best, free_best_of, grouped, overlapping, sides
from d2det_geo.metrics.coco_index import CocoIndex
from d2det_geo.metrics.curves import scores_of
from d2det_geo.runs import Spans, overlaps


def judge(
    truth: Annotations,
    predictions: Annotations,
    index: CocoIndex,
    images: NDArray[np.bool_],
    cap: int,
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Match results with the truth.

    Args:
        truth: as indexed.
        predictions: as indexed.
        index: of both.
        images: ``[M]`` which take part.
        cap: results kept per image and class.
        thresholds: ``[K]`` of IoU.

    Returns:
        found and ignored ``[K, P]`` as in ``Verdicts``, and capped ``[P]``.
    """
    classes = max(len(truth.classes), 1)
    truth_keys = truth.image[index.truth_rows] * classes + index.truth_labels
    keys = np.where(images[predictions.image], predictions.image * classes + predictions.labels, -1)
    crowds, scores = truth.ignored[index.truth_rows], scores_of(predictions)
    count = len(truth.images) * classes
    capped = _beyond(grouped(truth_keys, crowds, keys, scores, count), keys, cap)
    groups = grouped(truth_keys, crowds, np.where(capped, -1, keys), scores, count)
    if index.truth_spans is not None and index.spans is not None:
        found = _match_masks(groups, index.truth_rows, (index.truth_spans, index.spans), crowds, thresholds)
    else:
        found = free_best(groups, sides(truth)[index.truth_rows], crowds, sides(predictions), thresholds)
    ignored = np.append(crowds, False)[found] | capped | (keys < 0)
    return np.append(index.truth_rows, -1)[found].astype(np.int32), ignored, capped


def _beyond(groups: Groups, keys: NDArray[np.int64], cap: int) -> NDArray[np.bool_]:
    """Say ``[P]`` which results are not among the first ``cap`` of their group."""
    order = groups.predictions
    beyond = np.zeros(len(keys), bool)
    beyond[order] = np.arange(len(order)) - groups.ends[keys[order]] >= cap
    return beyond & (keys >= 0)


def _match_masks(
    groups: Groups,
    rows: NDArray[np.intp],
    masks: tuple[Spans, Spans],
    crowds: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> NDArray[np.int32]:
    truth, found = masks
    pairs = overlapping(groups, _sides(truth.boxes[rows]), _sides(found.boxes))
    shared = overlaps(truth, found, (rows[pairs[0]], pairs[1]))
    areas = found.areas[pairs[1]]
    union = np.where(crowds[pairs[0]], areas, areas + truth.areas[rows[pairs[0]]] - shared)
    near = shared >= 0.49 * union  # the pairs no threshold admits are most of them
    near &= union > 0
    return free_best_of(groups, crowds, (pairs[0][near], pairs[1][near]), shared[near] / union[near], thresholds)


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
