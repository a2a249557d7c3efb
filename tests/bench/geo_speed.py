"""How fast ``geo`` scores 100,000 polygons against 100,000, files included.

Usage: ``python tests/bench/geo_speed.py [COUNT] [gpkg|geojson]``. Buildings of 4 to 12 corners, some with courts, in
blocks; predictions are shifted, reshaped, doubled, missed and invented.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely


def outlines(rng: np.random.Generator, centres: np.ndarray, corners: int) -> np.ndarray:
    """Draw polygons of so many corners around centres, m."""
    turns = np.sort(rng.random((len(centres), corners)) * 2 * np.pi, axis=1)
    radii = rng.uniform(5, 9, (len(centres), corners))
    points = centres[:, None] + radii[..., None] * np.stack([np.cos(turns), np.sin(turns)], 2)
    return shapely.convex_hull(
        shapely.multipoints(points.reshape(-1, 2), indices=np.repeat(range(len(centres)), corners))
    )


def pair(count: int, folder: Path, suffix: str) -> tuple[Path, Path]:
    """Write truth and predictions."""
    rng = np.random.default_rng(6)
    side = int(np.ceil(np.sqrt(count)))
    places = np.stack([np.arange(count) % side, np.arange(count) // side], 1) * 16.0 + [500_000, 5_000_000]
    truth = outlines(rng, places + rng.uniform(-2, 2, (count, 2)), 14)
    courts = shapely.buffer(shapely.centroid(truth[::5]), 1.5, quad_segs=2)
    truth[::5] = shapely.difference(truth[::5], courts)
    moved = rng.choice(count, count * 3 // 4, replace=False)
    shift = rng.normal(0, 0.7, (count, 2))
    found = shapely.transform(truth, lambda points: points)
    owner = np.repeat(np.arange(count), shapely.get_num_coordinates(truth))
    found = shapely.set_coordinates(found, shapely.get_coordinates(truth) + shift[owner])[moved]
    invented = outlines(
        rng, places[rng.integers(0, count, count - len(moved))] + rng.normal(0, 5, (count - len(moved), 2)), 14
    )
    found = np.concatenate([found, invented])
    paths = folder / f"truth{suffix}", folder / f"found{suffix}"
    kinds = np.array(["house", "shed", "hall"])
    frame = gpd.GeoDataFrame({"class": kinds[np.arange(count) % 3]}, geometry=truth, crs="EPSG:32633")
    labels = np.concatenate([np.arange(count)[moved] % 3, rng.integers(0, 3, len(invented))])
    scored = gpd.GeoDataFrame(
        {"class": kinds[labels], "score": rng.random(len(found))}, geometry=found, crs="EPSG:32633"
    )
    for table, path in zip((frame, scored), paths, strict=True):
        (table.to_crs("EPSG:4326") if suffix == ".geojson" else table).to_file(path)
    return paths


def main() -> None:
    """Time the command as a process of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    suffix = f".{sys.argv[2]}" if len(sys.argv) > 2 else ".gpkg"
    with tempfile.TemporaryDirectory() as folder:
        truth, found = pair(count, Path(folder), suffix)
        command = [sys.executable, "-m", "d2det_cli", "evaluate", "--protocol", "geo", "--json", *sys.argv[3:]]
        started = time.perf_counter()
        done = subprocess.run([*command, "--truth", truth, "--pred", found], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
    ap = json.loads(done.stdout)["metrics"]["ap"]
    print(
        f"{count:,} x {count:,} polygons, {suffix}: {seconds:.1f} s ({cpu:.1f} s of CPU), {peak:,.0f} MB, AP {ap:.6f}"
    )


if __name__ == "__main__":
    main()
