"""What `d2det predict` may cost: memory on a vast empty scene, time outside the network, the start of the command.

Run by `make real`. Each limit prints RUN with what was measured, or SKIPPED with the reason; one that is exceeded
ends it with exit code 1.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from d2det_geo.town import make_town

SIDE = 30_000  # px of the vast scene
GSD_M = 0.15
PEAK_GB = 1.5
OUTSIDE_SHARE = 0.10  # of the wall time that the network may not have
HELP_S = 0.5
ROOT = Path(__file__).parents[2]
REAL_SCENE = Path(os.environ.get("D2DET_SHARED", ROOT.parent / "shared")) / "data/buildings/scene.tif"


def d2det(*arguments: str | Path) -> str:
    """Run the command line and return its standard output."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
    command = [sys.executable, "-m", "d2det_cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def predict(scene: Path, folder: Path) -> dict[str, Any]:
    """Predict a scene on the CPU; the report of ``--json``."""
    out = folder / f"{scene.stem}.geojson"
    report: dict[str, Any] = json.loads(d2det("predict", scene, "-o", out, "--device", "cpu", "--quiet", "--json"))
    return report


def write_vast_scene(path: Path) -> None:
    """Write a scene whose blocks are absent from the file, all but those of one town in the middle."""
    place = {"crs": "EPSG:32645", "transform": Affine(GSD_M, 0, 334_000, 0, -GSD_M, 3_065_000)}
    layout = {"tiled": True, "compress": "deflate", "photometric": "rgb", "SPARSE_OK": True}
    shape = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", "nodata": 0}
    town = make_town(3, 512, GSD_M).image
    with rasterio.open(path, "w", driver="GTiff", **place, **layout, **shape) as dataset:
        dataset.write(np.maximum(town, 1), window=Window(SIDE // 2, SIDE // 2, 512, 512))


def check(name: str, value: float, limit: float | None, unit: str) -> bool:
    """Say what was measured; return whether it is within the limit."""
    bound = "no limit here" if limit is None else f"at most {limit:g} {unit}"
    print(f"RUN {name}: {value:.3g} {unit} ({bound})", flush=True)
    return limit is None or value <= limit


def limits(folder: Path) -> Iterator[bool]:
    """Measure one limit after the other; the vast scene first, since the peak is that of every child so far."""
    vast = folder / "vast.tif"
    write_vast_scene(vast)
    started = perf_counter()
    report = predict(vast, folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # Linux counts KiB
    yield check(f"peak memory of {SIDE} x {SIDE} px in {perf_counter() - started:.0f} s", peak, PEAK_GB, "GB")
    yield report["chips"] > 0 and report["objects"] > 0

    demo = ROOT / "demo" / "scene.tif"
    if REAL_SCENE.is_file():
        scene, limit = REAL_SCENE, OUTSIDE_SHARE
    else:
        print(f"SKIPPED the limit outside the network: no {REAL_SCENE}; D2DET_SHARED says where it is")
        if not demo.is_file():
            d2det("demo", "--out", folder / "demo", "--size", "1000", "--quiet")
            demo = folder / "demo" / "scene.tif"
        scene, limit = demo, None
    seconds = predict(scene, folder)["seconds"]
    total = seconds["all"]
    outside = 1 - seconds["network"] / total
    yield check(
        f"share of the wall time outside the network, in {total:.0f} s of {scene}",
        outside,
        limit,
        "of 1",
    )

    times = []
    for _ in range(5):
        started = perf_counter()
        d2det("--help")
        times.append(perf_counter() - started)
    yield check("d2det --help, best of five", min(times), HELP_S, "s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        kept = list(limits(Path(temporary)))
    sys.exit(0 if all(kept) else 1)
