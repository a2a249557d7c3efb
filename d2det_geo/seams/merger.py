"""Merge what a seam cut, and nothing else.

A window sees of an object the part inside itself. So two detections from windows A and B are the
same object if they agree on what both windows see: their boxes, each clipped to the other's window. This
one comparison covers an object seen whole twice, whole and cut, and cut from two sides by an overlap
narrower than itself, and, from window to window, an object over any number of them. And a window never sees an
object twice, so that neighbours and objects on top of others, which one window tells apart, stay apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d2det_geo.detections import Detections
from d2det_geo.seams.groups import group
from d2det_geo.seams.neighbours import JITTER, find_pairs
from d2det_geo.seams.seen import Seen
from d2det_geo.seams.stitch import stitched

if TYPE_CHECKING:
    from rasterio.windows import Window


class SeamMerger:
    """Make one detection of each object that several overlapping windows saw, while they are being read.

    **Agreement.** Two detections of a class, from different windows, agree when of what both windows see

    1. the boxes' IoU exceeds ``iou``, or every side is where the other's is, within the jitter of both; or else
    2. the boxes overlap and both cross all of it: they reach an edge of either window that the other window
       sees past. So does every object that the windows cut from two sides, and of one that is no upright rectangle,
       such as an L or a ship at an angle, the boxes say little more.

    Of two that cross, if there are masks, more than ``iou`` of the smaller one must also lie in the larger.

    **Groups.** Detections join in groups of at most one per window, surest agreement first: by IoU the pairs of
    which one shows its end of the object, then by shared area those that cross, by 1 before by 2.

    **Shape.** A group gives its best-scored whole detection. If windows cut all of them, it is the largest fragment
    and those that reach beyond its window, stitched: the hull of the boxes, the masks as ``Detections.pieces``.

    **Explaining.** A group without a whole detection is dropped if each of its fragments lies, by 70 % of its area,
    within one of a kept whole or larger group that none of its own windows saw: slivers, that agree with nothing.

    Everything else is left alone. All of this depends on near detections only, and on no order but that of
    scores, boxes and windows. So what lies above all windows still to come is final, and leaves; the result
    is the same, to the last bit, for every order of arrival and every way the stream is cut. Time is linear in the
    detections, memory is that of those which windows still to come may touch.
    """

    def __init__(self, width: int, height: int, *, iou: float = 0.5, margin: float = 1.5) -> None:
        """Start with no detections.

        Args:
            width: of the scene, px.
            height: of the scene, px.
            iou: of clipped boxes; above it two detections are one object.
            margin: by which the side of a box may be off, px; one this close to an inner edge of its window is cut.
        """
        self._scene = (0, 0, width, height)
        self._iou, self._margin = iou, margin
        self._row = -math.inf
        self._parts: list[Detections] = []
        self._frames: list[NDArray[np.float64]] = []  # of each part [V, 4] windows,
        self._windows: list[NDArray[np.intp]] = []  # and which of them each detection was made in

    def add(self, detections: Detections, window: Window) -> None:
        """Take the detections of one window.

        Args:
            detections: in the scene's frame, px (not the window's), and inside the window.
            window: they were made in, px.

        Raises:
            ValueError: the window starts above the row that ``finished`` was promised, or the detections are merged
                ones, with pieces.
        """
        if detections.pieces is not None:
            raise ValueError("detections with pieces have been merged already")
        if window.row_off < self._row:
            raise ValueError(f"a window at row {window.row_off}, after none above {self._row} was to come")
        x, y = window.col_off, window.row_off
        frame = np.array([x, y, x + window.width, y + window.height], dtype=np.float64)
        self._parts.append(detections)
        self._frames.append(frame[None])
        self._windows.append(np.zeros(len(detections), dtype=np.intp))

    def finished(self, row: float) -> Detections:
        """Give up the objects that no window to come can touch, when all of these start at ``row`` px or below.

        Returns:
            By falling score; each object leaves once. Empty (with masks) where nothing was added.
        """
        if not self._parts:
            return Detections.empty(masks=True)
        if row <= self._row:
            return self._parts[0].select(np.zeros(0, dtype=np.intp))  # nothing became final since
        self._row = row
        detections, seen = self._collected()
        groups = group(seen, find_pairs(seen, iou=self._iou, margin=self._margin))
        open_ = np.zeros(len(detections), dtype=bool)
        open_[groups.component[detections.boxes[:, 3] + JITTER * self._margin >= self._row]] = True
        waiting = open_[groups.component]
        used, window = np.unique(seen.windows[waiting], return_inverse=True)
        self._parts, self._frames, self._windows = [detections.select(waiting)], [seen.frames[used]], [window]
        leaving = np.flatnonzero(groups.part & groups.kept[groups.root] & ~waiting)
        leaving = leaving[np.argsort(groups.root[leaving], kind="stable")]
        objects = stitched(detections.select(leaving), groups.root[leaving])
        return objects.select(_best_first(objects))

    @property
    def waiting(self) -> int:
        """Count the detections that have not left, or were not dropped."""
        return sum(len(part) for part in self._parts)

    def flush(self) -> Detections:
        """Give up all objects: no window is still to come."""
        return self.finished(math.inf)

    def _collected(self) -> tuple[Detections, Seen]:
        """Flatten what is there, best first."""
        before = np.cumsum([0, *(len(frames) for frames in self._frames)])
        number = np.concatenate([part + start for part, start in zip(self._windows, before, strict=False)])
        frames, place = np.unique(np.concatenate(self._frames), axis=0, return_inverse=True)
        detections, window = Detections.concatenate(self._parts), place.reshape(-1)[number]
        order = _best_first(detections, window)
        detections, windows = detections.select(order), window[order].astype(np.int32)
        boxes, edges = detections.boxes, frames[windows]
        near = np.hstack([boxes[:, :2] <= edges[:, :2] + self._margin, boxes[:, 2:] >= edges[:, 2:] - self._margin])
        cut = (near & (edges != np.array(self._scene))).any(axis=1)
        masks = np.empty((0, 1, 1), np.float32) if detections.masks is None else detections.masks
        return detections, Seen(boxes, detections.labels, windows, frames, cut, masks)


def merge_seams(
    parts: Sequence[tuple[Detections, Window]], width: int, height: int, *, iou: float = 0.5, margin: float = 1.5
) -> Detections:
    """Make one detection of each object that several overlapping windows saw, all windows being there.

    Args:
        parts: detections in the scene's frame (not the window's), with the window they were made in.
        width: of the scene in that frame, px.
        height: of the scene, px.
        iou: as of ``SeamMerger``, whose rules these are.
        margin: px, likewise.

    Returns:
        Detections by falling score, the same for every order of ``parts``. Empty (with masks) without parts.
    """
    if not parts:
        return Detections.empty(masks=True)
    merger = SeamMerger(width, height, iou=iou, margin=margin)
    objects = []
    for row, band in groupby(sorted(parts, key=_row), key=_row):
        for detections, window in band:
            merger.add(detections, window)
        objects.append(merger.finished(row))  # what has left is in nobody's way: less time and memory
    return best_first([*objects, merger.flush()])


def best_first(parts: Sequence[Detections]) -> Detections:
    """Join what a merger gave, by falling score; ``parts`` must not be empty."""
    objects = Detections.concatenate(parts)
    return objects.select(_best_first(objects))


def _row(part: tuple[Detections, Window]) -> int:
    return int(part[1].row_off)


def _best_first(detections: Detections, window: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Order by falling score; ties by label, box and window, so that the order of arrival never shows."""
    scores = detections.scores
    order: NDArray[np.intp] = np.argsort(-scores, kind="stable")
    alike = scores[order[1:]] == scores[order[:-1]]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= alike
    tied[:-1] |= alike
    few = order[tied]
    ties = [detections.labels[few], *detections.boxes[few].T, *([] if window is None else [window[few]])]
    order[tied] = few[np.lexsort([*reversed(ties), -scores[few]])]
    return order
