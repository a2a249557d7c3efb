"""What a ledger costs, and 20 kills: seconds and MB for 130,000 detections, and whether any recorded batch was lost.

    OMP_NUM_THREADS=1 python -m tests.bench.ledger

Masks are smooth ramps and blobs rounded to float16, as a network's are.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from d2det_geo.detections import Detections
from d2det_geo.pipeline.ledger import Batch, Ledger
from tests.ledgers import KEY
from tests.test_ledger import kill_and_judge

DETECTIONS, PER_BATCH, KILLS = 130_000, 50, 20


def blobs(count: int) -> Detections:
    """Make detections whose masks are blobs with soft edges and some noise."""
    random = np.random.default_rng(1)
    cells = (np.arange(28) - 13.5) / 14
    half_sides = random.uniform(0.5, 0.95, (count, 2, 1))
    inside = (half_sides - np.abs(cells + random.normal(0, 0.05, (count, 2, 1)))) * 8
    logits = np.minimum(inside[:, 0, :, None], inside[:, 1, None, :]) + random.normal(0, 0.4, (count, 28, 28))
    return Detections(
        boxes=random.random((count, 4)) * 4e4,
        scores=random.random(count, np.float32),
        labels=random.integers(0, 15, count),
        masks=(1 / (1 + np.exp(-logits))).astype(np.float16).astype(np.float32),
        mask_scores=random.random(count, np.float32),
    )


def timed(name: str, work: Callable[[], None]) -> None:
    """Print the wall and CPU seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    print(f"{name:32}{time.perf_counter() - wall:8.2f} s wall{time.process_time() - cpu:8.2f} s CPU", flush=True)


def cost(folder: Path) -> None:
    """Record and replay; every batch holds the same detections, which nothing here makes use of."""
    path, found = folder / "cost.ledger", blobs(PER_BATCH)

    def record() -> None:
        with Ledger.start(path, KEY) as ledger:
            for first in range(DETECTIONS // PER_BATCH):
                ledger.record(Batch(first, first + 1, [(found, Window(0, 0, 640, 640))], {"chips": 1}))

    def replay() -> None:
        with Ledger.resume(path, KEY) as ledger:
            assert sum(len(part) for batch in ledger.replay() for part, _ in batch.parts) == DETECTIONS

    print(f"{DETECTIONS:,} detections with masks in batches of {PER_BATCH}; load {os.getloadavg()[0]:.1f}")
    timed("record", record)
    timed("replay", replay)
    print(f"{'size':32}{path.stat().st_size / DETECTIONS / 1e3:8.2f} MB per 1,000 detections")


def kills(folder: Path) -> None:
    """Kill a run at random moments, each time going on where the last one ended."""
    path, moments, done = folder / "kills.ledger", np.random.default_rng(2), 0
    for _ in range(KILLS):
        before, done = done, kill_and_judge(path, 10**9, moments.random())
        assert done >= before
    print(f"{KILLS} kills: {done:,} windows, all as recorded, in order")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        cost(Path(temporary))
        kills(Path(temporary))
