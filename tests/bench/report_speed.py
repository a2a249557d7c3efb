"""Measure what a report page of a set as large as UAVDT's test takes: 16,592 frames, 376 k objects, 1 M detections.

Run it as ``python tests/bench/report_speed.py``.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from d2det_geo.annotations import Annotations, Images
from d2det_geo.metrics.outcome import Outcome, Verdicts
from d2det_geo.metrics.overlaps import find_overlaps
from d2det_geo.pipeline.evaluation import Evaluation, Report
from d2det_geo.pipeline.report import write_report

_FRAMES, _TRUTHS, _PREDICTIONS = 16_592, 376_000, 1_000_000


def _annotations(
    images: Images, boxes: np.ndarray, image: np.ndarray, labels: np.ndarray, scores: object
) -> Annotations:
    return Annotations(images, ("car", "truck", "bus"), image, boxes, labels, np.zeros(len(image), bool), scores)  # type: ignore[arg-type]


def main() -> None:
    """Build a set, find its pairs, write its page."""
    rng = np.random.default_rng(0)
    names = np.array([f"M0203/img{index:06}.jpg" for index in range(_FRAMES)], dtype=object)
    images = Images(
        names, np.arange(1, _FRAMES + 1), np.tile([1024, 540], (_FRAMES, 1)), tags={"night": rng.random(_FRAMES) < 0.3}
    )
    image, labels = np.sort(rng.integers(0, _FRAMES, _TRUTHS)), rng.choice(3, _TRUTHS, p=[0.9, 0.06, 0.04])
    corners = rng.uniform((0, 0), (980, 510), (_TRUTHS, 2))
    truth = _annotations(images, np.hstack([corners, corners + rng.uniform(12, 70, (_TRUTHS, 2))]), image, labels, None)
    source = rng.integers(0, _TRUTHS, _PREDICTIONS)
    boxes = truth.boxes[source] + rng.normal(0, 4, (_PREDICTIONS, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    said = np.where(rng.random(_PREDICTIONS) < 0.9, labels[source], rng.integers(0, 3, _PREDICTIONS))
    predictions = _annotations(images, boxes, image[source], said, rng.random(_PREDICTIONS))
    start = time.perf_counter()
    pairs = find_overlaps(truth, predictions, "boxes")
    print(f"{len(pairs.ious):,} pairs in {time.perf_counter() - start:.1f} s")
    found = np.full((1, _PREDICTIONS), -1, np.int32)
    found[0, np.unique(source, return_index=True)[1]] = np.unique(source)
    verdicts = Verdicts((0.7,), found, np.zeros_like(found, bool), np.zeros(_TRUTHS, bool), "all-point", pooled=True)
    metrics = {"ap": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "score_threshold": 0.5}
    counts = {"images": _FRAMES, "truths": _TRUTHS, "predictions": _PREDICTIONS}
    outcome = Outcome("uavdt", metrics, {"car": {"ap": 0.5}}, counts, {"operating_iou": 0.7}, verdicts)
    report = Report("uavdt", "bbox", metrics, counts, outcome.per_class, (), outcome.settings)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_report(Evaluation(truth, predictions, outcome), report, Path(folder) / "page.html")
        print(
            f"page in {time.perf_counter() - start:.1f} s, {(Path(folder) / 'page.html').stat().st_size / 1e6:.1f} MB"
        )
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
