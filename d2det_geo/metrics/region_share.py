"""How much of a box lies in the union of regions, counted in whole pixels as the VisDrone toolkit does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

_ENDLESS = 2**40  # px; the size of an image whose size is not known


def shares_in_regions(
    boxes: NDArray[np.float64],
    images: NDArray[np.intp],
    regions: NDArray[np.float64],
    region_images: NDArray[np.intp],
    sizes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the share of each box's rounded area in the regions of its image.

    Pixels are numbered from 1. A region covers those from its left to left + width, both included; a box, rounded,
    those after its left up to left + width: so the toolkit's integral image counts them. Exact, without such an image.

    Args:
        boxes: ``[N, 4]`` left, top, width, height.
        images: ``[N]`` row of the image of each.
        regions: ``[R, 4]`` alike.
        region_images: ``[R]``
        sizes: ``[M, 2]`` width and height of the images, px; 0 where unknown.
    """
    canvas = np.where(sizes > 0, sizes, _ENDLESS)
    order = np.argsort(region_images, kind="stable")
    first = np.floor(np.hstack([regions[:, :2], regions[:, :2] + regions[:, 2:]]) + 0.5)[order].astype(np.int64)
    limits = canvas[region_images[order]]
    spans = np.hstack([np.maximum(first[:, :2], 1), np.minimum(first[:, 2:], limits) + 1])
    rounded = np.maximum(np.floor(boxes + 0.5), 1).astype(np.int64)
    start = np.minimum(rounded[:, :2], canvas[images])
    end = np.minimum(start + rounded[:, 2:], canvas[images])
    counts = np.zeros(len(boxes), np.int64)
    _count(
        np.hstack([start + 1, end + 1]),
        spans,
        np.searchsorted(region_images[order], images, side="left"),
        np.searchsorted(region_images[order], images, side="right"),
        counts,
    )
    return counts / (rounded[:, 2] * rounded[:, 3])


@compiled
def _count(
    boxes: NDArray[np.int64],
    regions: NDArray[np.int64],
    starts: NDArray[np.intp],
    ends: NDArray[np.intp],
    counts: NDArray[np.int64],
) -> None:
    """Count the pixels of each box that a region covers; all as half-open x1, y1, x2, y2."""
    for row in range(len(boxes)):
        cut = np.empty((ends[row] - starts[row], 4), np.int64)
        parts = 0
        for r in range(starts[row], ends[row]):
            cut[parts, 0], cut[parts, 1] = max(boxes[row, 0], regions[r, 0]), max(boxes[row, 1], regions[r, 1])
            cut[parts, 2], cut[parts, 3] = min(boxes[row, 2], regions[r, 2]), min(boxes[row, 3], regions[r, 3])
            if cut[parts, 0] < cut[parts, 2] and cut[parts, 1] < cut[parts, 3]:
                parts += 1
        if parts:
            counts[row] = _union(cut[:parts])


@compiled
def _union(parts: NDArray[np.int64]) -> int:
    """Return the area of the union of rectangles, cell by cell of the grid their edges make."""
    xs = np.sort(np.concatenate((parts[:, 0], parts[:, 2])))
    ys = np.sort(np.concatenate((parts[:, 1], parts[:, 3])))
    area = 0
    for i in range(len(xs) - 1):
        for j in range(len(ys) - 1):
            cell = (xs[i + 1] - xs[i]) * (ys[j + 1] - ys[j])
            if cell and _covered(parts, xs[i], ys[j]):
                area += cell
    return area


@compiled
def _covered(parts: NDArray[np.int64], x: int, y: int) -> bool:
    covered = False
    for p in range(len(parts)):
        covered |= parts[p, 0] <= x < parts[p, 2] and parts[p, 1] <= y < parts[p, 3]
    return covered
