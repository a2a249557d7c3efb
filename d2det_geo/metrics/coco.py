"""The COCO family."""

from __future__ import annotations

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.outcome import Iou, Outcome


def score_coco(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError


def score_isaid(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError


def score_uavdt_coco3(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError


def score_uavdt_coco1(
    truth: Annotations, predictions: Annotations, *, iou: Iou = "bbox", score: float | None = None
) -> Outcome:
    """Score."""
    raise NotImplementedError
