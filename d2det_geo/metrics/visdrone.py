"""VisDrone."""

from __future__ import annotations

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.outcome import Iou, Outcome


def score_visdrone(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError
