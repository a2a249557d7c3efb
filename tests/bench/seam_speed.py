"""Time and memory of merging a number of boxes, in a process of its own; run by ``seams.py``, prints JSON."""

from __future__ import annotations

import ctypes
import json
import sys
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import shapely
from rasterio.windows import Window

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.detections import Detections  # noqa: E402
from d2det_geo.seams.merger import SeamMerger, merge_seams  # noqa: E402
from tests.bench.seam_oracle import Oracle  # noqa: E402

VIEWS = 1.68  # detections of an object, with windows of 1024 px that share 200, as in design/peer-speed.md
DENSITY = 50e-6  # objects per square pixel, likewise


def million(count: int) -> tuple[list[tuple[Detections, Window]], int]:
    """Make about ``count`` detections of objects of 10 to 60 px anywhere in a square scene; and its side, px."""
    rng = np.random.default_rng(0)
    side = int((count / VIEWS / DENSITY) ** 0.5)
    low = rng.uniform(5, side - 70, (int(count / VIEWS), 2))
    high = low + rng.uniform(10, 60, low.shape)
    return Oracle(side, side, 1024, 200, 1).detect(shapely.box(*low.T, *high.T), masks=False), side


def memory_mb(name: str) -> float:
    """Read what this process has resident now, ``VmRSS``, or at most since that was reset, ``VmHWM``; MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


def main(count: int) -> None:
    """Measure both ways."""
    parts, side = million(count)
    merge_seams(parts[:50], side, side)  # compiles
    ctypes.CDLL(None).malloc_trim(0)  # what making the boxes left behind would be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory_mb("VmRSS")
    started = process_time()
    found = merge_seams(parts, side, side)
    seconds, peak = process_time() - started, memory_mb("VmHWM")
    merger, objects, waiting = SeamMerger(side, side), 0, 0
    started = process_time()
    for (part, window), (_, following) in pairwise([*parts, (None, Window(0, side, 1, 1))]):
        merger.add(part, window)
        if following.row_off > window.row_off:
            objects += len(merger.finished(following.row_off))
            waiting = max(waiting, merger.waiting)
    objects += len(merger.flush())
    report = {
        "boxes": sum(len(part) for part, _ in parts),
        "objects": len(found),
        "seconds": seconds,
        "mb": peak - before,
        "streamed_seconds": process_time() - started,
        "waiting": waiting,
    }
    assert objects == len(found)
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]))
