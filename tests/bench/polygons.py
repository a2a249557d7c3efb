"""Outlines of 10,000 masks: exact area and shape, and how fast beside ``rasterio.features.shapes`` one by one.

``python tests/bench/polygons.py [--count N]``. CPU seconds, one thread, best of three. A limit that is missed ends it
with exit code 1.

The shapes are smooth: ellipses of any direction, every fourth with a hole. A mask is what a network gives of one, in
the shape's own box: the logistic function of the distance to the outline in half cells, at the centre of each of the
28 x 28 cells. Coverage (the share of each cell inside) is shown too: a straight line between two coverages is off by
up to 0.086 cells, so its outlines are a little less exact. SAHI and others outline masks of pixels: rasterio gets each
mask as 28 x 28 cells above 0.5, which is the least work it can have, and as the pixels of its box.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.detections import MASK_SIDE, Detections  # noqa: E402
from d2det_geo.vector.polygons import mask_polygons  # noqa: E402
from tests.bench.seam_oracle import coverage  # noqa: E402

SOFTNESS = 0.5  # cells from the outline where the logit of a mask is 1
FASTER, AREA, IOU = 5, 0.002, 0.997
HOLE = 0.4  # of the size of its ellipse
EDGES = 720  # of an outline taken as exact


def ellipses(count: int) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Make shapes of 16 to 120 px, every fourth with a hole; and centre, radii and angle ``[N, 5]``."""
    rng = np.random.default_rng(0)
    radius = rng.uniform(8, 60, count)
    shape = np.column_stack([rng.uniform(0, 30_000, (count, 2)), radius, radius * rng.uniform(0.5, 1, count)])
    shape = np.column_stack([shape, rng.uniform(0, np.pi, count)])
    turn = np.linspace(0, 2 * np.pi, EDGES, endpoint=False)
    x, y, long, short, angle = (column[:, None] for column in shape.T)
    u, v = long * np.cos(turn), short * np.sin(turn)
    ring = np.stack([u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)], axis=2)
    centre = np.stack([x, y], axis=2)
    found = shapely.polygons(ring + centre)
    holed = np.arange(count) % 4 == 0
    found[holed] = shapely.difference(found[holed], shapely.polygons(HOLE * ring[holed] + centre[holed]))
    return found, shape


def soft_masks(shape: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Give the logistic of the distance to each outline, to first order, at the centres of the cells."""
    ticks = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    sides = boxes[:, 2:] - boxes[:, :2]
    masks = np.empty((len(shape), MASK_SIDE, MASK_SIDE), np.float32)
    for index, ((x, y, long, short, angle), box, side) in enumerate(zip(shape, boxes, sides, strict=True)):
        u, v = box[0] + ticks[None] * side[0] - x, box[1] + ticks[:, None] * side[1] - y
        u, v = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        far = np.hypot(u / long, v / short)
        slope = np.hypot(u / long**2, v / short**2) / far
        inside = (1 - far) / slope
        if index % 4 == 0:
            inside = np.minimum(inside, (far - HOLE) / slope)
        masks[index] = 1 / (1 + np.exp(-inside / (SOFTNESS * np.sqrt(side.prod()) / MASK_SIDE)))
    return masks


def by_rasterio(masks: NDArray[np.float32], boxes: NDArray[np.float64], *, pixels: bool) -> NDArray[np.object_]:
    """Outline masks one by one along cells, or along the pixels of their boxes."""
    found = []
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        rows, columns = (round(y2 - y1), round(x2 - x1)) if pixels else mask.shape
        if pixels:
            row = ((np.arange(rows) + 0.5) / rows * MASK_SIDE).astype(np.intp)
            column = ((np.arange(columns) + 0.5) / columns * MASK_SIDE).astype(np.intp)
            mask = mask[np.ix_(row, column)]  # noqa: PLW2901 (the same mask, larger)
        inside = (mask >= 0.5).astype(np.uint8)
        place = Affine((x2 - x1) / columns, 0, x1, 0, (y2 - y1) / rows, y1)
        parts = [shapely.geometry.shape(part) for part, _ in shapes(inside, mask=inside == 1, transform=place)]
        found.append(parts[0] if len(parts) == 1 else shapely.multipolygons(parts))
    return np.array(found, dtype=object)


def least(work: Callable[[], Any]) -> tuple[Any, float]:
    """Do work three times; what it gives, and the least CPU seconds."""
    seconds = []
    for _ in range(3):
        started = process_time()
        result = work()
        seconds.append(process_time() - started)
    return result, min(seconds)


def judged(name: str, found: NDArray[np.object_], truth: NDArray[np.object_], seconds: float) -> tuple[float, float]:
    """Print a row of the table; the area ratio and the mean IoU."""
    valid = shapely.is_valid(found)
    solid = np.where(valid, found, shapely.make_valid(found))
    shared = shapely.area(shapely.intersection(solid, truth))
    iou = shared / (shapely.area(solid) + shapely.area(truth) - shared)
    area = float(np.mean(shapely.area(solid) / shapely.area(truth)))
    holes = sum(shapely.get_num_interior_rings(shapely.get_parts(found)))
    print(
        f"{name:22} {1e6 * seconds / len(found):7.1f} us each; area {area:.4f}, IoU mean {iou.mean():.4f} least"
        f" {iou.min():.4f}; {(~valid).sum()} invalid, {holes} holes, {shapely.get_num_coordinates(found).mean():.0f}"
        " vertices",
        flush=True,
    )
    return area, float(iou.mean())


def main() -> None:
    """Print the table, and exit with 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    count = parser.parse_args().count
    truth, shape = ellipses(count)
    boxes = shapely.bounds(truth)
    plain = np.ones(count, np.float32), np.zeros(count, np.int64)
    soft, covered = (Detections(boxes, *plain, masks) for masks in (soft_masks(shape, boxes), coverage(truth, boxes)))
    assert soft.masks is not None
    masks = soft.masks
    mask_polygons(soft.select(np.arange(10)))
    found, ours = least(lambda: mask_polygons(soft))
    area, iou = judged("mask_polygons", found, truth, ours)
    others, seconds = least(lambda: mask_polygons(covered))
    judged("  of coverage", others, truth, seconds)
    cells, theirs = least(lambda: by_rasterio(masks, boxes, pixels=False))
    judged("rasterio, cells", cells, truth, theirs)
    wide, slower = least(lambda: by_rasterio(masks, boxes, pixels=True))
    judged("rasterio, pixels", wide, truth, slower)
    holes = int(shapely.get_num_interior_rings(found).sum())
    limits = {
        f"{theirs / ours:.1f} times as fast as rasterio on cells, {slower / ours:.1f} on pixels": theirs
        >= FASTER * ours,
        f"area {area:.4f} within {AREA} of 1": abs(area - 1) <= AREA,
        f"IoU {iou:.4f} at least {IOU}": iou >= IOU,
        "none invalid": bool(shapely.is_valid(found).all()),
        f"{holes} of {-(-count // 4)} holes": holes == -(-count // 4),
    }
    for words, holds in limits.items():
        print(f"{'ok' if holds else 'MISSED'}: {words}")
    sys.exit(0 if all(limits.values()) else 1)


if __name__ == "__main__":
    main()
