"""Time and memory of preparing one large iSAID image: 13,000 x 4,000 px with 7,500 instances.

Run: python tests/bench/isaid_tile.py [WIDTH HEIGHT INSTANCES]
The goal is 60 s and 1 GB, on one image, so one scene at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from d2det_geo.town import make_town
from tests.isaid_files import colour_pixels, id_pixels, scattered, write_rgb

WORK = """
import json, re, sys, time
from pathlib import Path
start = time.perf_counter()
what, source, out = sys.argv[1:]
if what == "tile":
    from d2det_geo.pipeline.tile_set import SetToTile, tile_set
    summary = tile_set(SetToTile(Path(source), devkit="isaid"), Path(out))
    count = summary.annotations
else:
    from d2det_geo.data.formats.isaid_png import read
    from d2det_geo.data.formats.reading import Reading
    count = len(read(Path(source) / "train", Reading(exact=what == "exact")))
# Not ru_maxrss, which begins with what the parent held.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e6
took = {"s": round(time.perf_counter() - start, 1), "cpu_s": round(time.process_time(), 1)}
print(json.dumps({**took, "peak_gb": round(peak, 2), "annotations": count}))
"""


def write_scene(split: Path, width: int, height: int, count: int) -> None:
    """Write one image and its maps, the image a mosaic of a town with the noise of a sensor."""
    town = make_town(seed=3, size=1000, gsd_m=0.15).image.transpose(1, 2, 0)
    rng = np.random.default_rng(0)
    image = np.tile(town, (-(-height // 1000), -(-width // 1000), 1))[:height, :width]
    image = np.clip(image + rng.integers(-3, 4, image.shape, np.int16), 0, 255).astype(np.uint8)
    ids, classes = scattered(height, width, count)
    write_rgb(split / "images" / "P0001.png", image)
    write_rgb(split / "images" / "P0001_instance_id_RGB.png", id_pixels(ids))
    write_rgb(split / "images" / "P0001_instance_color_RGB.png", colour_pixels(ids, classes))


def main(width: int = 13_000, height: int = 4_000, count: int = 7_500) -> None:
    """Measure in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "set" / "train", width, height, count)
        for what in ("tile", "devkit", "exact"):
            command = [sys.executable, "-c", WORK, what, str(folder / "set"), str(folder / "out")]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{width} x {height} px, {count} instances, {what}: {json.loads(result.stdout)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
