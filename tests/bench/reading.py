"""Reading: chips of a large scene against decoding each of its blocks once with all cores, and beside SAHI.

``python tests/bench/reading.py [--size PX] [--rounds N] [--sahi PYTHON]``, where PYTHON is one that has SAHI
installed. Each measurement is a process of its own; the table shows the least of N. A limit that is missed ends it
with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]  # the checkout's, wherever this starts

from d2det_geo.raster.scene import open_scene  # noqa: E402
from d2det_geo.raster.windows import scene_windows  # noqa: E402
from d2det_geo.town import make_town  # noqa: E402

CHIP, OVERLAP, GSD_M = 1024, 200, 0.15
LAYOUTS: dict[str, dict[str, Any]] = {
    "deflate, tiled": {"compress": "deflate", "tiled": True, "blockxsize": 512, "blockysize": 512},
    "lzw, striped": {"compress": "lzw", "blockysize": 8},
}
MOST_TIME = {"deflate, tiled": 1.3, "lzw, striped": 1.5}  # of the floor
MOST_MB = {20_000: 350, 40_000: 650}  # added, by the side of the scene
SAHI = """
import sys, time, resource
from sahi.slicing import slice_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.perf_counter(), time.process_time()
result = slice_image(sys.argv[1], slice_height=1024, slice_width=1024, overlap_height_ratio=200 / 1024,
                     overlap_width_ratio=200 / 1024, auto_slice_resolution=False)
added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print({"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "mb": added, "n": len(result.images)})
"""
failures: list[str] = []


def write_scene(path: Path, side: int, layout: dict[str, Any]) -> None:
    """Write a town over and over, each time from another corner of it."""
    town, step, rng = make_town(3, 1536, GSD_M).image, 512, np.random.default_rng(1)
    place = {"crs": "EPSG:32645", "transform": Affine(GSD_M, 0, 334_000, 0, -GSD_M, 3_065_000)}
    shape = {"width": side, "height": side, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    options = {"interleave": "pixel", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
    with rasterio.open(path, "w", driver="GTiff", **place, **shape, **options, **layout) as dataset:
        for top in range(0, side, step):
            rows = min(step, side - top)
            band = np.empty((3, rows, side), np.uint8)
            for left in range(0, side, step):
                y, x = rng.integers(0, town.shape[1] - step, 2)
                columns = min(step, side - left)
                band[:, :, left : left + columns] = town[:, y : y + rows, x : x + columns]
            dataset.write(band, window=Window(0, top, side, rows))


def read_floor(path: str) -> int:
    """Decode every block once, with as many handles and threads as there are cores."""
    cores = len(os.sched_getaffinity(0))
    with rasterio.open(path) as dataset:
        height, width = dataset.height, dataset.width
        block_height, block_width = dataset.block_shapes[0]
    rows = max(block_height, 64 // block_height * block_height)
    starts = np.array_split(np.arange(0, height, rows), cores)

    def decode(tops: list[int]) -> None:
        with rasterio.open(path) as dataset:
            for top in tops:
                for left in range(0, width, block_width):
                    window = Window(left, top, min(block_width, width - left), min(rows, height - top))
                    dataset.read(window=window)

    with rasterio.Env(GDAL_CACHEMAX=64 * 2**20):
        threads = [threading.Thread(target=decode, args=(part.tolist(),)) for part in starts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(map(len, starts))


def read_chips(path: str, gsd_m: float | None = None) -> int:
    """Read every chip of a scene and let go of it."""
    with open_scene(path, gsd_m=gsd_m) as scene:
        windows = list(scene_windows(scene.grid_width, scene.grid_height, CHIP, OVERLAP))
        row_bytes = 4 * CHIP * CHIP * sum(window.row_off == 0 for window in windows)
        chips = scene.read_all(windows, ahead_bytes=row_bytes)
        return sum(bool(valid[0, 0]) and pixels.shape[0] == 3 for _, (pixels, valid) in chips)


CASES: dict[str, Callable[[str], int]] = {
    "floor": read_floor,
    "chips": read_chips,
    "chips at 0.2 m": lambda path: read_chips(path, 0.2),
    "chips at 0.4 m": lambda path: read_chips(path, 0.4),
}


def measure(case: str, path: str) -> dict[str, float]:
    """Run a case in this process: wall and CPU seconds, and the most memory it added."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = memory("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    count = CASES[case](path)
    return {
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "mb": memory("VmHWM") - before,
        "n": count,
    }


def memory(field: str) -> float:
    """Read a field of the kernel's account of this process, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def best_of(rounds: int, command: list[str | Path]) -> dict[str, float]:
    """Run a command in fresh processes; the run with the least wall time, with the most memory of all."""
    runs = []
    for _ in range(rounds):
        out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
        runs.append(json.loads(out.strip().splitlines()[-1].replace("'", '"')))
    return min(runs, key=lambda run: run["wall"]) | {"mb": max(run["mb"] for run in runs)}


def compare(path: Path, name: str, side: int, rounds: int, sahi: str | None) -> None:
    """Measure all cases of a scene and print their rows."""
    for _ in range(2):  # the file is in memory
        path.read_bytes()
    rows = {case: best_of(rounds, [sys.executable, __file__, "--case", case, path]) for case in CASES}
    if sahi:
        rows["SAHI slice_image"] = best_of(1, [sahi, "-c", SAHI, path])
    floor = rows["floor"]["wall"]
    for case, row in rows.items():
        verdict = ""
        if case == "chips":
            holds = row["wall"] <= MOST_TIME[name] * floor and row["mb"] <= MOST_MB.get(side, np.inf)
            verdict = "ok" if holds else "MISSED"
            failures.extend([] if holds else [f"{name} {side}"])
        print(
            f"| {side} {name} | {case} | {row['n']:.0f} | {row['wall']:.2f} | {row['cpu']:.2f} |"
            f" {row['wall'] / floor:.2f} | {row['mb']:.0f} | {verdict} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sahi")
    parser.add_argument("--layout", choices=list(LAYOUTS), action="append")
    parser.add_argument("--case", choices=list(CASES), help="one case in this process, its numbers as JSON")
    parser.add_argument("file", nargs="?")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.file)))
        return
    print("| scene | what | n | wall s | CPU s | of the floor | added MB | |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.layout or LAYOUTS:
            path = Path(folder, "scene.tif")
            write_scene(path, options.size, LAYOUTS[name])
            compare(path, name, options.size, options.rounds, options.sahi)
            path.unlink()
    if failures:
        sys.exit(f"missed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
