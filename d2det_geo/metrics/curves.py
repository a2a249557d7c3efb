"""What right and wrong predictions are worth: average precision by three integrals, and one point of the curve.

Undefined numbers are NaN: without truth there is no recall, without predictions no precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.outcome import Integral

RECALLS_101 = np.linspace(0.0, 1.0, 101)
RECALLS_11 = np.arange(0.0, 1.1, 0.1)  # 0.30000000000000004 and the like included: so do the DOTA and VOC scripts


def ranking(predictions: Annotations) -> NDArray[np.intp]:
    """Sort rows by falling score; equal scores keep the order of image ids, then of the file (pycocotools' rule)."""
    order = np.argsort(predictions.images.ids[predictions.image], kind="stable")
    return order[np.argsort(-scores_of(predictions)[order], kind="stable")]


def scores_of(predictions: Annotations) -> NDArray[np.float64]:
    """Return the scores ``[P]``.

    Raises:
        ValueError: these are not predictions.
    """
    if predictions.scores is None:
        raise ValueError("predictions need scores; these annotations are a truth")
    return predictions.scores


def average_precision(hits: NDArray[np.bool_], truths: int, integral: Integral) -> float:
    """Average the precision envelope over recall.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find.
        integral: at 101 recalls (COCO), at 11 (VOC 2007, DOTA) or over all points (VOC 2010, UAVDT, VisDrone).

    Returns:
        A number in ``[0, 1]``, NaN without truths, 0 without predictions.
    """
    if truths == 0:
        return float("nan")
    if integral == "all-point":
        return float(_envelope(np.cumsum(hits, dtype=np.int64))[hits].sum() / truths)
    return float(sampled(hits, truths, RECALLS_101 if integral == "101-point" else RECALLS_11).mean())


def sampled(hits: NDArray[np.bool_], truths: int, recalls: NDArray[np.float64] = RECALLS_101) -> NDArray[np.float64]:
    """Read the best precision at each of ``recalls`` ``[R]`` or more.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find.
        recalls: where.

    Returns:
        ``[R]``: 0 where no score reaches a recall, NaN without truths.
    """
    if truths == 0:
        return np.full(len(recalls), np.nan)
    found = np.cumsum(hits, dtype=np.int64)
    values: NDArray[np.float64] = np.append(_envelope(found), 0.0)[
        np.searchsorted(found / truths, recalls, side="left")
    ]
    return values


def _envelope(found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the best precision of each prediction and those after it; ``found`` counts the right ones up to each."""
    precision = found / np.arange(1, len(found) + 1)
    envelope: NDArray[np.float64] = np.maximum.accumulate(precision[::-1])[::-1]
    return envelope


def operating_point(
    scores: NDArray[np.float64], hits: NDArray[np.bool_], truths: int, threshold: float
) -> tuple[float, float, float]:
    """Return precision, recall and F1 of the predictions with a score of at least ``threshold``.

    Args:
        scores: ``[P]`` of the predictions that are right or wrong.
        hits: ``[P]`` which are right.
        truths: number of objects to find.
        threshold: NaN lets in none.
    """
    if truths == 0:
        return float("nan"), float("nan"), float("nan")
    kept = scores >= threshold
    predictions, right = int(np.count_nonzero(kept)), int(np.count_nonzero(hits & kept))
    precision = right / predictions if predictions else float("nan")
    return precision, right / truths, 2 * right / (predictions + truths)


def best_threshold(scores: NDArray[np.float64], hits: NDArray[np.bool_], truths: int) -> float:
    """Return the highest score at which F1 is best; arguments as in ``operating_point``, by falling score."""
    if truths == 0 or len(scores) == 0:
        return float("nan")
    # A threshold lets in all predictions of its score, so only the last of equal scores is a candidate.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    f1 = 2 * np.cumsum(hits)[last] / (last + 1 + truths)
    return float(scores[last[np.argmax(f1)]])


def mean(values: list[float]) -> float:
    """Average the numbers that are defined; NaN if none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
