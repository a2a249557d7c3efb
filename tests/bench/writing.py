"""Time, memory and bytes of writing a million outlines, beside geopandas, in one run.

    python tests/bench/writing.py [COUNT [ROUNDS [FILE ...]]]

Each case runs in a process of its own, the cases in turn, ROUNDS times; the least CPU and wall times are given.
Outlines are building-like, 12 corners each, in UTM; attributes are class, score and area_m2. geopandas has all of
them in a frame, and writes GeoJSON in its default way, in metres (RFC7946=YES is shown, too). Ours gets 4,096 at
a time, as a prediction would write them, and reprojects them to WGS84 for GeoJSON.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.vector.features import Features, Layer  # noqa: E402
from d2det_geo.vector.sinks import open_sink  # noqa: E402

CRS = "EPSG:32633"
PORTION = 4096
COLUMNS = {"class": str, "score": float, "area_m2": float}
BARS = {"out.geojson": (0.35, 0.65), "out.gpkg": (0.8, None)}  # shares of geopandas' time and bytes
CASES = {
    "out.geojson": ("geopandas", "geopandas RFC7946", "d2det"),
    "out.geojsonl": ("geopandas", "d2det"),
    "out.gpkg": ("geopandas", "d2det"),
    "out.fgb": ("geopandas", "d2det"),
    "out.parquet": ("geopandas", "d2det"),
    "out.shp": ("geopandas", "d2det"),
    "out.coco.json": ("d2det",),
}


def portions(count: int) -> Iterator[Features]:
    """Make outlines: rectangles turned about, with wings, on a grid of 40 m."""
    side = int(np.ceil(np.sqrt(count)))
    corners = np.array([(0, 0), (9, 0), (9, 4), (14, 4), (14, 0), (20, 0), (20, 9), (15, 9), (15, 12), (6, 12), (6, 9)])
    corners = np.concatenate([corners, [(0, 9), (0, 0)]]) - [10, 6]
    for start in range(0, count, PORTION):
        numbers = np.arange(start, min(start + PORTION, count))
        rng = np.random.default_rng(start)
        angles, sizes = rng.uniform(0, 2 * np.pi, len(numbers)), rng.uniform(0.4, 1.2, len(numbers))
        turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], 1).reshape(-1, 2, 2)
        places = np.stack([numbers % side, numbers // side], 1) * 40.0
        local = np.einsum("nij,pj->npi", turns * sizes[:, None, None], corners) + places[:, None]
        world = shapely.polygons(local * [1, -1] + [500_000, 5_300_000 + 40 * side])
        columns = {
            "class": np.full(len(numbers), "building", dtype=object),
            "score": np.round(rng.random(len(numbers)), 4),
            "area_m2": np.round(shapely.area(world), 2),
        }
        yield Features(shapely.polygons(local), world, columns)


def memory_mb(name: str) -> float:
    """Read what this process has resident now, ``VmRSS``, or at most since that was reset, ``VmHWM``; MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


def reset_peak() -> float:
    """Start measuring the peak of memory; returns what is resident."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


def with_geopandas(path: Path, count: int, rfc7946: bool) -> dict[str, float]:
    """Measure writing a frame that is there."""
    parts = list(portions(count))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in COLUMNS}
    frame = gpd.GeoDataFrame(columns, geometry=np.concatenate([part.geometries for part in parts]), crs=CRS)
    del parts
    before, cpu, wall = reset_peak(), time.process_time(), time.perf_counter()
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif rfc7946:
        frame.to_file(path, engine="pyogrio", RFC7946="YES")
    else:
        frame.to_file(path, engine="pyogrio")
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "mb": memory_mb("VmHWM") - before,
    }


def with_sink(path: Path, count: int) -> dict[str, float]:
    """Measure the memory of writing portions as they are made, and then the time of writing those that are there."""
    side = 40 * int(np.ceil(np.sqrt(count)))
    layer = Layer(pyproj.CRS(CRS), "scene.tif", side, side, ("building",), COLUMNS)
    with open_sink(path.with_name(f"warm-{path.name}"), layer) as sink:  # compiles, or reads what was compiled
        sink.write(next(portions(PORTION)))
    before = reset_peak()
    with open_sink(path, layer) as sink:
        for part in portions(count):
            sink.write(part)
    added, parts = memory_mb("VmHWM") - before, list(portions(count))
    cpu, wall = time.process_time(), time.perf_counter()
    with open_sink(path, layer, overwrite=True) as sink:
        for part in parts:
            sink.write(part)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "mb": added}


def measure(who: str, name: str, count: int) -> None:
    """Run one case in this process, and print what it took."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        report = with_sink(path, count) if who == "d2det" else with_geopandas(path, count, "RFC7946" in who)
        report["bytes"] = sum(part.stat().st_size for part in path.parent.glob("out.*")) / 1e6
    print(json.dumps(report))


def main(count: int = 1_000_000, rounds: int = 2, *files: str) -> int:
    """Measure all cases and print a table; the exit code tells whether a bar was missed."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for _ in range(rounds):
        for name in files or CASES:
            for who in CASES[name]:
                command = [sys.executable, __file__, "--one", who, name, str(count)]
                result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                known = found.setdefault((name, who), result)
                found[name, who] = {key: min(value, known[key]) for key, value in result.items()}
    print(f"{count:,} outlines of 13 points, best of {rounds}; pyogrio {pyogrio.__version__}, GDAL", end=" ")
    print(".".join(map(str, pyogrio.__gdal_version__)))
    print(
        f"{'file':14} {'writer':18} {'CPU s':>7} {'wall s':>7} {'MB file':>8} {'MB added':>9}  ratio: CPU, wall, bytes"
    )
    missed = 0
    for (name, who), row in found.items():
        print(f"{name:14} {who:18} {row['cpu']:7.2f} {row['wall']:7.2f} {row['bytes']:8.1f} {row['mb']:9.0f}", end="  ")
        if who != "geopandas" and (name, "geopandas") in found:
            ratios = {key: row[key] / found[name, "geopandas"][key] for key in ("cpu", "wall", "bytes")}
            print(*(f"{ratio:.2f}" for ratio in ratios.values()), end="")
            if who == "d2det" and name in BARS:
                time_bar, bytes_bar = BARS[name]
                bad = ratios["wall"] > time_bar or (bytes_bar is not None and ratios["bytes"] > bytes_bar)
                missed += bad
                print(f"  bar {time_bar}, {bytes_bar}: {'MISSED' if bad else 'ok'}", end="")
        print()
    return int(missed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(main(*map(int, sys.argv[1:3]), *sys.argv[3:]))
