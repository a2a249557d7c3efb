"""A detector that is right in every window, and scenes to show it: what a seam merger has to make whole again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from d2det_geo.detections import MASK_SIDE, Detections
from d2det_geo.raster.windows import scene_windows

FINE = 8  # samples per side of a mask cell


class Oracle:
    """See of every object what is inside each window, each side of a box off by up to ``jitter`` px."""

    def __init__(self, width: int, height: int, size: int, overlap: int, jitter: float, seed: int = 0) -> None:
        self.windows = list(scene_windows(width, height, size, overlap))
        self._starts = [sorted({(w.col_off, w.row_off)[axis] for w in self.windows}) for axis in (0, 1)]
        self._size, self._jitter, self._rng = size, jitter, np.random.default_rng(seed)

    def views(self, objects: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find which objects ``[N, 4]`` are seen by more than 1 px, in which windows; sorted by window."""
        ranges = []
        for axis, starts in enumerate(np.array(starts) for starts in self._starts):
            first = np.searchsorted(starts + self._size, objects[:, axis] + 1, side="right")
            ranges.append((first, np.searchsorted(starts, objects[:, axis + 2] - 1) - first, len(starts)))
        (column, wide, columns), (row, tall, _) = ranges
        number = np.repeat(np.arange(len(objects)), wide * tall)
        place = np.arange(len(number)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
        window = (row[number] + place // wide[number]) * columns + column[number] + place % wide[number]
        order = np.argsort(window, kind="stable")
        return number[order], window[order]

    def boxes(self, objects: NDArray[np.float64], frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clip an object to each window ``[N, 4]``, jitter it, and keep it inside."""
        seen = np.hstack([np.maximum(objects[:, :2], frames[:, :2]), np.minimum(objects[:, 2:], frames[:, 2:])])
        seen += self._rng.uniform(-self._jitter, self._jitter, seen.shape)
        seen = np.hstack([np.maximum(seen[:, :2], frames[:, :2]), np.minimum(seen[:, 2:], frames[:, 2:])])
        seen[:, 2:] = np.maximum(seen[:, 2:], seen[:, :2] + 0.5)
        return seen

    def detect(self, shapes: NDArray[np.object_], *, masks: bool) -> list[tuple[Detections, Window]]:
        """Give the detections of each window, all of one class, of objects ``[N]``."""
        number, window = self.views(shapely.bounds(shapes))
        frames = np.array([(w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for w in self.windows])
        clipped = shapely.intersection(shapes[number], shapely.box(*frames[window].T))
        seen = shapely.area(clipped) > 0
        window, clipped = window[seen], clipped[seen]
        clear, scores = shapely.bounds(clipped), self._rng.uniform(0.5, 1, len(window)).astype(np.float32)
        crops = coverage(clipped, clear) if masks else None
        boxes = self.boxes(clear, frames[window].astype(np.float64))
        ends = np.searchsorted(window, np.arange(len(self.windows) + 1))
        return [
            (
                Detections(
                    boxes=boxes[a:b],
                    scores=scores[a:b],
                    labels=np.zeros(b - a, np.int64),
                    masks=None if crops is None else crops[a:b],
                    mask_scores=None if crops is None else scores[a:b],
                ),
                self.windows[index],
            )
            for index, (a, b) in enumerate(pairwise(ends))
        ]


def coverage(shapes: NDArray[np.object_], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Measure the share of each cell ``[N, 28, 28]`` of each box that a shape covers."""
    side = MASK_SIDE * FINE
    masks = np.ones((len(shapes), MASK_SIDE, MASK_SIDE), dtype=np.float32)
    rectangular = shapely.area(shapes) > (1 - 1e-9) * shapely.area(shapely.envelope(shapes))
    for index in np.flatnonzero(~rectangular):
        x1, y1, x2, y2 = boxes[index]
        grid = Affine((x2 - x1) / side, 0, x1, 0, (y2 - y1) / side, y1)
        fine = rasterize([shapes[index]], out_shape=(side, side), transform=grid, dtype="uint8")
        masks[index] = fine.reshape(MASK_SIDE, FINE, MASK_SIDE, FINE).mean(axis=(1, 3))
    return masks


def crowded_scene(seed: int, count: int, side: int) -> NDArray[np.object_]:
    """Fill a scene of ``side`` px with ``count`` objects of 4 to 4,000 px, in shelves from top to bottom.

    Shelves of large ones (rectangles, an L, a rotated one; runways) bear small objects of 4 to 24 px on them; the
    others are rows of objects 3 px apart, until there are enough.
    """
    rng = np.random.default_rng(seed)
    shapes: list[shapely.Geometry] = []
    y, large = 5.0, True
    while len(shapes) < count and y < 1e9:
        if large:
            tall = 4 * 10 ** rng.uniform(1.5, 3)
            shapes += _large_shelf(rng, y, tall, side)
        else:
            tall = 4 * 10 ** rng.uniform(0, 1)
            shapes += _row(rng, y, tall, side)
        y += tall + 3
        large = rng.random() < 0.4
    return np.array(shapes[:count], dtype=object)


def _row(rng: np.random.Generator, y: float, tall: float, side: int) -> list[shapely.Geometry]:
    wide = 4 * 10 ** rng.uniform(0, 1, side // 7)
    left = 4 + np.cumsum(wide + 3) - wide
    low = rng.uniform(4, tall, len(wide))
    boxes = shapely.box(left, y, left + wide, y + low)
    return list(boxes[left + wide < side - 4])


def _large_shelf(rng: np.random.Generator, y: float, tall: float, side: int) -> list[shapely.Geometry]:
    shapes, x = [], 5.0
    while x + tall < side:
        wide = min(4 * 10 ** rng.uniform(1.5, 3), side - 5 - x)
        shape = _large(rng, wide, tall)
        shape = shapely.transform(shape, lambda points, x=x: points + np.array([x, y]))
        spots = rng.uniform([x + 30, y + 30], [x + wide - 30, y + tall - 30], (int(max(wide, tall) / 100) + 1, 2))
        kept: list[shapely.Geometry] = []
        for spot in spots:
            small = shapely.box(*spot, *(spot + rng.uniform(4, 24, 2)))
            if shapely.contains(shape, small) and not any(shapely.dwithin(small, other, 3) for other in kept):
                kept.append(small)
        shapes += [shape, *kept]
        x += wide + 8
    return shapes


def _large(rng: np.random.Generator, wide: float, tall: float) -> shapely.Geometry:
    kind = rng.integers(4)
    if kind == 0:
        a, b = rng.uniform(0.3, 0.7, 2) * [wide, tall]
        return shapely.Polygon([(0, 0), (a, 0), (a, b), (wide, b), (wide, tall), (0, tall)])
    if kind == 1:
        half = min(wide, tall) * rng.uniform(0.1, 0.35)
        ends = shapely.LineString([(half, half), (wide - half, tall - half)])
        return shapely.affinity.scale(shapely.buffer(ends, half / 1.4143, cap_style="flat"), 1, rng.choice([-1, 1]))
    return shapely.box(0, 0, wide, tall)
