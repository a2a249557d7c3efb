"""The UAVDT protocol at the size of its test set: 16,592 frames, 376 k objects, 41 k ignore boxes, 1 M detections.

    python tests/bench/uavdt_speed.py

Prints time and peak memory of scoring arrays in a fresh process, without and with what compiling costs once.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.annotations import REGION, Annotations, Images  # noqa: E402
from d2det_geo.metrics.bootstrap import confidence_intervals  # noqa: E402
from d2det_geo.metrics.uavdt import score_uavdt, score_uavdt_voc07  # noqa: E402

FRAMES, OBJECTS, REGIONS, DETECTIONS = 16_592, 375_884, 40_990, 1_000_000
CLASSES = ("car", "truck", "bus")


def make_set() -> tuple[Annotations, Annotations]:
    """Draw a truth, and detections two in three of which lie near an object."""
    rng = np.random.default_rng(0)
    frames = np.arange(FRAMES)
    names = np.array([f"M{frame // 830:04}/img{frame % 830 + 1:06}.jpg" for frame in frames], object)
    images = Images(names, frames + 1, np.tile([1024, 540], (FRAMES, 1)), tags={"night": frames % 4 == 0})
    count = OBJECTS + REGIONS
    size = np.round(np.exp(rng.normal(3.2, 0.5, (count, 2))))
    size[OBJECTS:] = rng.integers(40, 200, (REGIONS, 2))
    corner = np.floor(rng.random((count, 2)) * [1000, 500])
    labels = np.where(np.arange(count) < OBJECTS, rng.integers(0, 3, count), REGION)
    truth = Annotations(
        images, CLASSES, rng.integers(0, FRAMES, count), np.hstack([corner, corner + size]), labels, labels == REGION
    )
    near = rng.integers(0, OBJECTS, DETECTIONS)
    boxes = truth.boxes[near] + rng.normal(0, 1.5, (DETECTIONS, 4)).round(1)
    image = np.where(rng.random(DETECTIONS) < 0.67, truth.image[near], rng.integers(0, FRAMES, DETECTIONS))
    scores = rng.random(DETECTIONS).round(4)
    predictions = Annotations(images, CLASSES, image, boxes, truth.labels[near], np.zeros(DETECTIONS, bool), scores)
    return truth, predictions


def child() -> None:
    """Score once and print."""
    truth, predictions = make_set()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    for score in (score_uavdt, score_uavdt_voc07):
        start = time.perf_counter()
        outcome = score(truth, predictions)
        print(
            f"{outcome.protocol}: {time.perf_counter() - start:.2f} s, AP {outcome.metrics['ap_percent']} %", end="; "
        )
    start = time.perf_counter()
    ends = confidence_intervals(replace(outcome), truth, predictions, resamples=100)["ap"]
    print(
        f"100 resamples of the frames: {time.perf_counter() - start:.2f} s, AP {ends[0]:.4f} to {ends[1]:.4f}", end="; "
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"peak {peak:.0f} MB, of which {held:.0f} MB before scoring")


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        child()
    else:
        for what in ("first run", "second run"):
            print(what, flush=True)
            subprocess.run([sys.executable, __file__, "child"], check=True)
