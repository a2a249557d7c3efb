"""Batches as a run records them, made from their number alone: a process that is killed and its judge agree on them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from d2det_geo.detections import Detections
from d2det_geo.pipeline.ledger import Batch, Ledger, RunKey

KEY = RunKey(
    scene={"bytes": 1000, "files": 1, "sha256": "a" * 64},
    model={"name": "buildings", "sha256": "b" * 64},
    settings={"--score": 0.3, "--gsd": "bundle", "--bands": [4, 3, 2], "--aoi": None},
    version="0.1.0",
)


def detections(count: int, seed: int, *, half: bool = True) -> Detections:
    random = np.random.default_rng(seed)
    masks = random.random((count, 28, 28), np.float32)
    return Detections(
        boxes=random.random((count, 4)) * 1e4,
        scores=random.random(count, np.float32),
        labels=random.integers(0, 15, count),
        masks=masks.astype(np.float16).astype(np.float32) if half else masks,
        mask_scores=random.random(count, np.float32),
        capped=bool(seed % 2),
    )


def batch(first: int, size: int = 3, count: int = 20) -> Batch:
    """Give the batch that follows window ``first``: the parts of all its windows but the last, which is skipped."""
    parts = [
        (detections(count, 1000 * first + number), Window(100 * (first + number), 7, 640, 480))
        for number in range(size - 1)
    ]
    return Batch(first, first + size, parts, {"skipped": 1, "capped": first % 5})


def content(value: Batch) -> tuple[object, ...]:
    """Reduce a batch to what can be compared, to the last bit."""
    parts = []
    for found, window in value.parts:
        arrays = (found.boxes, found.scores, found.labels, found.masks, found.mask_scores)
        parts.append(
            (window, found.capped, [array if array is None else (array.dtype, array.tobytes()) for array in arrays])
        )
    return value.first, value.last, parts, value.counts


def record_until(path: Path, windows: int, pause_s: float) -> None:
    """Go on with the ledger until so many windows are done, as a run does; tell each batch on standard output."""
    with Ledger.resume(path, KEY) as ledger:
        while ledger.next_window < windows:
            ledger.record(batch(ledger.next_window))
            print(ledger.next_window, flush=True)  # noqa: T201 - its protocol
            time.sleep(pause_s)


if __name__ == "__main__":
    record_until(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
