"""Seams: what an oracle detector sees in windows becomes whole, how fast, and beside SAHI.

``python tests/bench/seams.py [--objects N] [--sahi PYTHON]``, where PYTHON is one that has SAHI installed. A limit
that is missed ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]  # the checkout's, wherever this starts

from d2det_geo.detections import Detections  # noqa: E402
from d2det_geo.seams.merger import merge_seams  # noqa: E402
from d2det_geo.vector.polygons import mask_polygons  # noqa: E402
from d2det_geo.vector.readers import read_objects  # noqa: E402
from tests.bench.seam_oracle import Oracle, coverage, crowded_scene  # noqa: E402

DATA = Path(os.environ.get("D2DET_SHARED", ROOT.parent / "shared")) / "data"
LEAST_IOU = 0.99
SHARE = 0.15  # of what SAHI's default loses, and of the extras that its NMS leaves, that we may have
SIZES = (10_000, 100_000, 1_000_000)
MILLION_S, MILLION_MB, EXPONENT = 5.5, 900, 1.2  # CPU seconds: 0.22 of the 25 s of SAHI's GreedyNMM
RIVALS = (("GreedyNMM", "IOS"), ("NMM", "IOS"), ("NMS", "IOU"))  # the first is SAHI's default
failures: list[str] = []


def check(holds: bool, what: str) -> str:
    """Remember a limit that is missed; the word for the table."""
    if not holds:
        failures.append(what)
    return "ok" if holds else "MISSED"


def sahi(
    python: str, boxes: NDArray[np.float64], scores: NDArray[np.float32], rival: tuple[str, str]
) -> tuple[NDArray[np.float64], float, float]:
    """Merge as SAHI does; the boxes, CPU seconds of the merge, and of making its objects."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, boxes=boxes, scores=scores, labels=np.zeros(len(boxes), np.int64))
        command = [python, ROOT / "tests/bench/sahi_merge.py", source, *rival, out]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run(command, check=True, env=environment)
        found = np.load(out)
        return found["boxes"].reshape(-1, 4), float(found["seconds"]), float(found["build"])


def nearest(found: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Give for each box found the object whose sides are nearest, and by how many px the worst side is off."""
    one, other = shapely.STRtree(shapely.box(*truth.T)).query(shapely.box(*found.T))
    off = np.abs(found[one] - truth[other]).max(axis=1)
    order = np.lexsort([off, one])
    one, other, off = one[order], other[order], off[order]
    first = np.flatnonzero(np.diff(one, prepend=-1))
    worst, index = np.full(len(found), np.inf), np.zeros(len(found), np.intp)
    worst[one[first]], index[one[first]] = off[first], other[first]
    return worst, index


def iou(first: NDArray[np.object_], second: NDArray[np.object_]) -> NDArray[np.float64]:
    """Compare outlines row by row."""
    return np.asarray(shapely.area(shapely.intersection(first, second)) / shapely.area(shapely.union(first, second)))


def beyond_jitter(found: NDArray[np.object_], truth: NDArray[np.object_], jitter: float) -> NDArray[np.float64]:
    """Compare outlines row by row where the jitter cannot reach: IoU but for a band of its width along the truth."""
    grown, shrunk = (shapely.buffer(truth, sign * jitter, join_style="mitre") for sign in (1, -1))
    wrong = shapely.area(shapely.difference(found, grown)) + shapely.area(shapely.difference(shrunk, found))
    return np.asarray(1 - wrong / shapely.area(shapely.union(found, truth)))


def right_ones(
    found: NDArray[np.float64], truth: NDArray[np.float64], jitter: float
) -> tuple[NDArray[np.intp], NDArray[np.bool_], str]:
    """Tell which object each box found is, and which are right on every side.

    That is up to the jitter, and the one pixel that the oracle does not see beyond a window's edge.
    """
    worst, index = nearest(found, truth)
    right = worst <= jitter + 1
    hits = len(np.unique(index[right]))
    return index, right, f"recall {hits / len(truth):.5f} precision {hits / len(found):.5f}"


def truth_row(
    name: str, shapes: NDArray[np.object_], tiling: tuple[int, int], jitter: float, masks: bool, python: str | None
) -> None:
    """Show one scene to the oracle, merge what it sees, and compare."""
    boxes = shapely.bounds(shapes)
    width, height = (int(side) + 20 for side in boxes[:, 2:].max(axis=0))
    parts = Oracle(width, height, *tiling, jitter).detect(shapes, masks=masks)
    found = merge_seams(parts, width, height)
    index, right, scores = right_ones(found.boxes, boxes, jitter)
    exact = check(len(found) == len(boxes) == len(np.unique(index[right])), f"{name} {tiling} {jitter} {masks}")
    views = Detections.concatenate([part for part, _ in parts])
    kind = f"{name:14} {tiling[0]}/{tiling[1]} jitter {jitter} {'masks' if masks else 'boxes'}"
    print(f"{kind}: {len(boxes)} objects, {len(views)} views: {scores} {exact}", flush=True)
    if found.pieces is not None:
        joined = np.isin(np.arange(len(found)), found.pieces.owners) & right
        outline_row(found.select(joined), shapes[index[joined]], jitter, kind)
    for rival in RIVALS if python and not masks and jitter else ():
        others, seconds, built = sahi(python, views.boxes, views.scores, rival)
        print(
            f"    SAHI {'/'.join(rival):13} {right_ones(others, boxes, jitter)[2]}, {seconds:.2f} s and {built:.2f} s"
        )


def outline_row(found: Detections, truth: NDArray[np.object_], jitter: float, kind: str) -> None:
    """Compare the outlines of stitched objects with the truth, row by row.

    28 x 28 cells cannot tell the corners of a rotated object, seam or not: where its uncut mask has less than 0.99,
    a stitched one may have 0.01 less than that.
    """
    if len(found) == 0:
        return
    outlines, boxes = mask_polygons(found), shapely.bounds(truth)
    whole = Detections(boxes, found.scores, found.labels, coverage(truth, boxes))
    plain, uncut = iou(outlines, truth), iou(mask_polygons(whole), truth)
    inner = beyond_jitter(outlines, truth, jitter) if jitter else plain
    good = check(bool((inner >= np.minimum(LEAST_IOU, uncut - 0.01)).all()), f"outlines: {kind}")
    print(
        f"    {len(found)} stitched outlines: IoU mean {plain.mean():.4f} least {plain.min():.4f}; beyond jitter mean"
        f" {inner.mean():.4f} least {inner.min():.4f}, {(inner < LEAST_IOU).sum()} under {LEAST_IOU};"
        f" uncut masks mean {uncut.mean():.4f} least {uncut.min():.4f} {good}"
    )


def scenes(count: int) -> dict[str, NDArray[np.object_]]:
    """Give the crowded scene, and what real data is there: outlines in px, 4 px and more."""
    found = {"crowded": crowded_scene(0, count, 12_000)}
    if not DATA.is_dir():
        print(f"SKIPPED real footprints and vehicles: no data at {DATA}")
        return found
    with rasterio.open(DATA / "buildings/scene.tif") as scene:
        back, frame = ~scene.transform, shapely.box(0, 0, scene.width, scene.height)
        objects = read_objects(DATA / "buildings/labels.geojson", crs=scene.crs)
    world = shapely.get_parts(np.asarray(objects.geometry))
    footprints = shapely.transform(world, lambda points: np.column_stack(back * points.T))
    footprints = shapely.intersection(footprints, frame)
    sides = np.diff(shapely.bounds(footprints).reshape(-1, 2, 2), axis=1).min(axis=(1, 2))
    found["footprints"] = footprints[(sides >= 4) & (shapely.get_type_id(footprints) == shapely.GeometryType.POLYGON)]
    truth = json.loads((DATA / "vehicles/train.json").read_text())
    left = {image["id"]: 2000 * number for number, image in enumerate(truth["images"])}  # one beside the other
    boxes = np.array([(left[item["image_id"]], *item["bbox"]) for item in truth["annotations"]])
    x, y = boxes[:, 0] + boxes[:, 1], boxes[:, 2]
    found["vehicles"] = shapely.box(x, y, x + boxes[:, 3], y + boxes[:, 4])
    return found


def speed() -> None:
    """Merge up to a million boxes, each number in a process of its own; at once and streamed."""
    script, seconds = ROOT / "tests/bench/seam_speed.py", {}
    for count in SIZES:
        run = subprocess.run([sys.executable, script, str(count)], check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(run.stdout)
        seconds[count] = row["seconds"]
        print(
            f"merge {row['boxes']:>7} boxes: {row['seconds']:.3f} CPU s, +{row['mb']:.0f} MB; streamed"
            f" {row['streamed_seconds']:.3f} s, at most {row['waiting']} waiting; {row['objects']} objects"
        )
    growth = float(np.log10(seconds[SIZES[-1]] / seconds[SIZES[-2]]))
    good = check(seconds[SIZES[-1]] <= MILLION_S and row["mb"] <= MILLION_MB and growth <= EXPONENT, "speed")
    print(f"limits {MILLION_S} s, {MILLION_MB} MB, growth exponent {growth:.2f} <= {EXPONENT} {good}")


def quality(python: str | None) -> None:
    """Merge 10,000 detections that are off by some 4 % of the object's size, which is more than ``margin`` allows for.

    An object is lost if no box has an IoU of 0.75 with it; a box is extra if it has no object of its own at 0.5.
    """
    rng = np.random.default_rng(0)
    low = rng.uniform(5, 10_700, (5952, 2))
    truth = np.hstack([low, low + rng.uniform(10, 60, low.shape)])
    oracle = Oracle(10_800, 10_800, 1024, 200, 0)
    parts = []
    for part, window in oracle.detect(shapely.box(*truth.T), masks=False):
        frame = np.array([window.col_off, window.row_off] * 2) + np.array([0, 0, window.width, window.height])
        sides = np.tile(part.boxes[:, 2:] - part.boxes[:, :2], 2)
        cut = np.abs(part.boxes - frame) < 1e-9  # there boxes end within a pixel of the edge
        off = np.where(cut, rng.uniform(-1, 1, sides.shape), rng.normal(0, 0.04, sides.shape) * sides)
        inner = np.hstack(
            [
                np.maximum(part.boxes + off, np.tile(frame[:2], 2))[:, :2],
                np.minimum(part.boxes + off, np.tile(frame[2:], 2))[:, 2:],
            ]
        )
        parts.append((replace(part, boxes=inner), window))
    views = Detections.concatenate([part for part, _ in parts])
    lost, extra = lost_and_extra(merge_seams(parts, 10_800, 10_800).boxes, truth)
    print(f"quality: {len(truth)} objects, {len(views)} views: {lost} lost at IoU 0.75, {extra} extra")
    if python is None:
        print("SKIPPED the limits of quality: no SAHI")
        return
    theirs = {rival[0]: lost_and_extra(sahi(python, views.boxes, views.scores, rival)[0], truth) for rival in RIVALS}
    good = check(lost <= SHARE * theirs["GreedyNMM"][0] and extra <= SHARE * theirs["NMS"][1], "quality")
    print(f"    SAHI (lost, extra): {theirs} {good}")


def lost_and_extra(found: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[int, int]:
    """Count objects without a box of IoU 0.75, and boxes without an object of their own at IoU 0.5."""
    boxes, objects = shapely.box(*found.T), shapely.box(*truth.T)
    one, other = shapely.STRtree(objects).query(boxes)
    pair = boxes[one], objects[other]
    overlap = shapely.area(shapely.intersection(*pair)) / shapely.area(shapely.union(*pair))
    lost = len(truth) - len(np.unique(other[overlap >= 0.75]))
    free_boxes, free_objects = np.ones(len(found), dtype=bool), np.ones(len(truth), dtype=bool)
    for index in np.argsort(-overlap):
        if overlap[index] >= 0.5 and free_boxes[one[index]] and free_objects[other[index]]:
            free_boxes[one[index]] = free_objects[other[index]] = False
    return lost, int(free_boxes.sum())


def main() -> None:
    """Print all, and exit with 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=50_000, help="in the crowded scene")
    parser.add_argument("--sahi", metavar="PYTHON", help="a Python that has SAHI, to run beside")
    options = parser.parse_args()
    speed()
    quality(options.sahi)
    for name, shapes in scenes(options.objects).items():
        for tiling in ((512, 128), (800, 200)):
            for jitter, masks in ((0, True), (1, True), (1, False)):
                truth_row(name, shapes, tiling, jitter, masks, options.sahi)
    sys.exit(f"MISSED: {failures}" if failures else 0)


if __name__ == "__main__":
    main()
