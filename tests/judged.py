"""Truth and predictions for tests of what is drawn from an outcome, judged by COCO's rule in a few plain lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from d2det_geo.annotations import Annotations, Images
from d2det_geo.metrics.compared import Compared, compare
from d2det_geo.metrics.outcome import Outcome, Verdicts

CLASSES = ("car", "truck", "bus")


def images(count: int = 1, size: tuple[int, int] = (200, 100), **more: Any) -> Images:
    names = np.array([f"frame{number:03}.png" for number in range(count)], dtype=object)
    return Images(names, np.arange(1, count + 1), np.tile(np.array(size, np.int64), (count, 1)), **more)


def objects(of: Images, rows: list[tuple[Any, ...]], *, scored: bool = False, **more: Any) -> Annotations:
    """Each row: image, label, x1, y1, x2, y2, and the score of a prediction or whether a truth is ignored."""
    table = np.array(rows, np.float64).reshape(len(rows), 7)
    return Annotations(
        of,
        CLASSES,
        table[:, 0].astype(np.int64),
        table[:, 2:6],
        table[:, 1].astype(np.int64),
        np.zeros(len(rows), bool) if scored else table[:, 6].astype(bool),
        scores=table[:, 6] if scored else None,
        **more,
    )


def judged(truth: Annotations, predictions: Annotations, *, score: float = 0.0, operating_iou: float = 0.5) -> Outcome:
    """Judge boxes at IoU .5, .75 class by class; ignored truths are matched last, by IoU, once each."""
    thresholds = (0.5, 0.75)
    found = np.full((2, len(predictions)), -1, np.int32)
    assert predictions.scores is not None
    for row, threshold in enumerate(thresholds):
        taken: set[int] = set()
        for p in np.argsort(-predictions.scores, kind="stable").tolist():
            ious = [
                (not truth.ignored[t], box_iou(truth.boxes[t], predictions.boxes[p]), t)
                for t in range(len(truth))
                if t not in taken and (truth.image[t], truth.labels[t]) == (predictions.image[p], predictions.labels[p])
            ]
            enough = [item for item in ious if item[1] >= threshold]
            if enough:
                found[row, p] = max(enough)[2]
                taken.add(int(found[row, p]))
    ignored = (found >= 0) & np.append(truth.ignored, False)[found]
    verdicts = Verdicts(thresholds, found, ignored, truth.ignored, "101-point")
    right = int(np.count_nonzero(verdicts.hits() & (predictions.scores >= score)))
    kept = int(np.count_nonzero(~ignored[0] & (predictions.scores >= score)))
    truths = int(np.count_nonzero(~truth.ignored))
    point = {
        "precision": right / kept if kept else np.nan,
        "recall": right / truths if truths else np.nan,
        "f1": 2 * right / (kept + truths) if kept + truths else np.nan,
        "score_threshold": score,
    }
    per_class = {
        name: {
            "ap": 0.5,
            "ap50": 0.25 + 0.25 * label,
            "truths": int(np.count_nonzero((truth.labels == label) & ~truth.ignored)),
            "predictions": int(np.count_nonzero(predictions.labels == label)),
        }
        for label, name in enumerate(truth.classes)
    }
    counts = {
        "images": len(truth.images),
        "truths": truths,
        "truths_ignored": int(np.count_nonzero(truth.ignored)),
        "predictions": len(predictions),
        "predictions_ignored": 0,
        "predictions_capped": 0,
        "ignore_regions": 0,
    }
    settings = {
        "iou_thresholds": list(thresholds),
        "operating_iou": operating_iou,
        "max_dets": [100],
        "cap_is_per": "image and class",
        "area_ranges": {},
        "matching": "greedy, the best free truth",
        "ignore_rule": "crowds absorb detections",
        "integral": "101-point",
    }
    return Outcome("coco", {"ap": 0.625, "ap50": 0.75, **point}, per_class, counts, settings, verdicts)


def compared(truth: Annotations, predictions: Annotations, **options: Any) -> Compared:
    return compare(truth, predictions, judged(truth, predictions, **options), "bbox")


def box_iou(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def random_set(seed: int, *, count: int = 4, ignored: bool = False) -> tuple[Annotations, Annotations]:
    """Objects, and predictions that are shifted, mistaken, doubled or made up."""
    rng = np.random.default_rng(seed)
    of = images(count)
    truths, predictions = [], []
    for image in range(count):
        for _ in range(int(rng.integers(0, 7))):
            x, y = rng.uniform(0, 160), rng.uniform(0, 70)
            w, h = rng.uniform(8, 30, 2)
            label = int(rng.integers(3))
            truths.append((image, label, x, y, x + w, y + h, ignored and rng.random() < 0.2))
            for _ in range(int(rng.integers(0, 3))):
                dx, dy = rng.normal(0, 5, 2)
                said = label if rng.random() < 0.7 else int(rng.integers(3))
                score = round(rng.random(), 1)
                predictions.append((image, said, x + dx, y + dy, x + dx + w, y + dy + h, score))
        for _ in range(int(rng.integers(0, 3))):
            x, y = rng.uniform(0, 160), rng.uniform(0, 70)
            predictions.append((image, int(rng.integers(3)), x, y, x + 20, y + 20, rng.random()))
    return objects(of, truths), objects(of, predictions, scored=True)
