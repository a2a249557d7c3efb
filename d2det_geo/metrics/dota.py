"""DOTA."""

from __future__ import annotations

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.outcome import Iou, Outcome


def score_dota_task1(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError


def score_dota_task2(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError
