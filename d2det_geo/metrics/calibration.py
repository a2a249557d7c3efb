"""Whether a score means what it says: the share of right detections among those of a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """B bins of scores of equal width from 0 to 1."""

    edges: NDArray[np.float64]
    """``[B + 1]``"""
    counts: NDArray[np.int64]
    """``[B]`` detections that are right or wrong."""
    scores: NDArray[np.float64]
    """``[B]`` their mean score; NaN where there are none."""
    precision: NDArray[np.float64]
    """``[B]`` share of them that is right; NaN where there are none."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and precision over all detections; NaN without any."""
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.scores[filled] - self.precision[filled])
        return float(np.average(gaps, weights=self.counts[filled]))


def calibrate(scores: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = 10) -> Calibration | None:
    """Sort detections into bins by score; a score on an edge belongs to the bin above, 1 to the last.

    Args:
        scores: ``[P]`` of the detections that are right or wrong at the operating IoU, whatever their score.
        hits: ``[P]`` which are right.
        bins: number of bins.

    Returns:
        None where a score is below 0 or above 1: it is no share of anything.
    """
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        return None
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=bins) / counts for values in (scores, hits)]
    return Calibration(edges, counts, means[0], means[1])
