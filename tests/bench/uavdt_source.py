"""How long UAVDT's training set takes to open as a source of chips, and how much memory, at its real size.

Files are made for it: the benchmark's training sequences with their lengths, 18 objects and 2 ignore regions a frame.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.config import Config  # noqa: E402
from d2det_geo.data.formats.uavdt_sequences import TRAIN  # noqa: E402
from d2det_geo.pipeline.sources import training_chips  # noqa: E402

OBJECTS, REGIONS = 18, 2


def make(folder: Path) -> None:
    """Write the set; all frames are one file on the disk."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (540, 1024, 3), np.uint8)).save(folder / "frame.jpg")
    (folder / "GT").mkdir()
    for name, frames in TRAIN.items():
        place = folder / "UAV-benchmark-M" / name
        place.mkdir(parents=True)
        for frame in range(1, frames + 1):
            os.link(folder / "frame.jpg", place / f"img{frame:06d}.jpg")
        for ending, count, rest in (("whole", OBJECTS, (1, 1, 1)), ("ignore", REGIONS, (1, -1, -1))):
            rows = np.empty((frames * count, 9), np.int64)
            rows[:, 0] = np.repeat(np.arange(1, frames + 1), count)
            rows[:, 1] = np.tile(np.arange(1, count + 1), frames)
            rows[:, 2:4] = rng.integers(0, (960, 500), (len(rows), 2))
            rows[:, 4:6] = rng.integers(10, 40, (len(rows), 2))
            rows[:, 6:] = rest
            np.savetxt(folder / f"GT/{name}_gt_{ending}.txt", rows, "%d", ",")


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        source = {"kind": "dataset", "format": "uavdt", "path": folder / "GT", "images": folder / "UAV-benchmark-M"}
        for how in ("none", "mask-loss", "blackout"):
            data = {"train": [source], "class_map": dict.fromkeys(("car", "truck", "bus"), "vehicle")}
            config = Config.model_validate(
                {
                    "classes": ["vehicle"],
                    "bundle": {"name": "x"},
                    "model": {"masks": False},
                    "data": data | {"ignore_regions": how},
                    "run": {"steps": 1},
                }
            )
            before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            chips = training_chips(config)
            opened = time.process_time() - started
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            started = time.process_time()
            for index in range(50):
                chips.draw(0, 0, index)
            drawn = (time.process_time() - started) / 50
            print(f"{how}: {opened:.1f} CPU s, {(after - before) / 1e3:.0f} MB more, {1e3 * drawn:.0f} CPU ms a chip")


if __name__ == "__main__":
    main()
