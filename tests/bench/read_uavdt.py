"""Seconds and memory to read UAVDT's test split at full size: made up files, the benchmark's counts.

Run: python tests/bench/read_uavdt.py [FOLDER]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import row_text
from d2det_geo.data.formats.uavdt import read, read_results
from d2det_geo.data.formats.uavdt_sequences import TEST

OBJECTS, REGIONS, DETECTIONS = 375_884, 40_990, 1_000_000


def main(folder: Path) -> None:
    make(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    truth = read(folder / "GT", Reading())
    middle = time.perf_counter()
    found = read_results(folder / "RES_DET" / "made_up", truth, Reading())
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(truth.images):,} frames, {len(truth):,} objects and regions: {middle - start:.2f} s")
    print(f"{len(found):,} detections: {end - middle:.2f} s; both {time.process_time() - cpu:.2f} s of CPU")
    print(f"peak {peak / 1024:.0f} MB, of which {before / 1024:.0f} MB before reading")


def make(folder: Path) -> None:
    """Write files of the benchmark's size, boxes at random, objects and detections spread evenly over frames."""
    if (folder / "GT").exists():
        return
    random, frames = np.random.default_rng(0), sum(TEST.values())
    (folder / "GT").mkdir(parents=True)
    (folder / "RES_DET" / "made_up").mkdir(parents=True)
    for name, length in TEST.items():
        for kind, total in (("_gt_whole", OBJECTS), ("_gt_ignore", REGIONS), ("", DETECTIONS)):
            count = round(total * length / frames)
            frame = np.sort(random.integers(1, length + 1, count))
            box = [random.integers(0, 900, count), random.integers(0, 400, count), *random.integers(5, 100, (2, count))]
            ones = np.ones(count, dtype=np.int64)
            if kind == "":
                box = [side + random.random(count).round(2) for side in box]
                columns = [frame, -ones, *box, random.random(count).round(6), ones, random.integers(1, 4, count)]
                path = folder / "RES_DET" / "made_up" / f"{name}.txt"
            else:
                columns = [frame, random.integers(1, 99, count), *box, ones, ones, random.integers(1, 4, count)]
                path = folder / "GT" / f"{name}{kind}.txt"
            path.write_text(row_text(columns))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
