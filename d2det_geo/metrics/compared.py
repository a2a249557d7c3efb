"""An outcome with the pairs that explain it: what breakdown, confusion and causes are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.metrics.curves import ranking, scores_of
from d2det_geo.metrics.outcome import Iou, Outcome
from d2det_geo.metrics.overlaps import Overlaps, Shapes, find_overlaps

POOLED = "all classes"
"""Name of the one class of a protocol that pools them."""

_CROWDS = frozenset({"coco", "isaid"})  # protocols whose ignored truths absorb any number of predictions
_POLYGONS = frozenset({"dota-task1", "geo"})  # whose outlines are compared as they are, not as pixels


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """T truths and P predictions, how they were judged, and which lie on one another."""

    truth: Annotations
    predictions: Annotations
    outcome: Outcome
    overlaps: Overlaps
    """Class-agnostic, of rows that take part."""
    classes: tuple[str, ...]
    """``POOLED`` alone where all classes were judged as one."""
    truth_labels: NDArray[np.int64]
    """``[T]`` positions in ``classes``; ``REGION`` of a region."""
    labels: NDArray[np.int64]
    """``[P]`` positions in ``classes``."""
    absorbing: NDArray[np.bool_]
    """``[T]`` ignored truths that take any number of predictions, by the share of each that they cover."""
    order: NDArray[np.intp]
    """``[P]`` predictions by falling score; equal ones by the number of their image, then as they are."""
    dropped: NDArray[np.bool_]
    """``[P]`` predictions beyond a cap or in ignore regions: they take no part."""

    @property
    def counted(self) -> NDArray[np.bool_]:
        """``[T]`` truths that are to be found."""
        return ~self.outcome.verdicts.truth_ignored

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores ``[P]`` of the predictions."""
        return scores_of(self.predictions)

    @property
    def threshold(self) -> float:
        """Score from which predictions enter precision and recall; where there is none, below all: all are errors."""
        value = float(self.outcome.metrics.get("score_threshold", np.nan))
        return -np.inf if np.isnan(value) else value

    @property
    def operating_iou(self) -> float:
        """IoU at which precision and recall are taken."""
        return float(self.outcome.settings["operating_iou"])

    @property
    def operating_row(self) -> int:
        """Row of the verdicts at that IoU."""
        return int(np.argmin(np.abs(np.array(self.outcome.verdicts.thresholds) - self.operating_iou)))


def compare(truth: Annotations, predictions: Annotations, outcome: Outcome, iou: Iou) -> Compared:
    """Find the pairs behind an outcome.

    Args:
        truth: as given to the protocol.
        predictions: as given to the protocol.
        outcome: what it returned.
        iou: what it compared.
    """
    verdicts = outcome.verdicts
    pooled = verdicts.pooled
    crowds = outcome.protocol in _CROWDS
    absorbing = verdicts.truth_ignored & crowds
    dropped: NDArray[np.bool_] = np.asarray((verdicts.ignored & (verdicts.found < 0)).all(axis=0))
    # What regions mean to other protocols has been settled: the predictions in them are dropped.
    away = (truth.labels == REGION) & ~absorbing
    overlaps = find_overlaps(truth, predictions, shapes_of(outcome.protocol, iou), absorbing)
    overlaps = overlaps.where(~away[overlaps.truths])
    return Compared(
        truth,
        predictions,
        outcome,
        overlaps,
        (POOLED,) if pooled else truth.classes,
        np.where(truth.labels == REGION, REGION, 0) if pooled else truth.labels,
        np.zeros_like(predictions.labels) if pooled else predictions.labels,
        absorbing,
        ranking(predictions),
        dropped,
    )


def shapes_of(protocol: str, iou: Iou) -> Shapes:
    """Say what a protocol compares."""
    if iou == "bbox":
        return "boxes"
    return "polygons" if protocol in _POLYGONS else "masks"
