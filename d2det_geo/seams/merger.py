"""Merge what a seam cut, and nothing else.

A window sees of an object the part inside itself. So two detections from windows A and B are the
same object if they agree on what both windows see: their boxes, each clipped to the other's window. This
one comparison covers an object seen whole twice, whole and cut, and cut from two sides by an overlap
narrower than itself; and a window never sees an object twice, so that neighbours and objects on top of
others, which one window tells apart, stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.boxes import area, intersection, paired_iou
from d2det_geo.detections import Detections
from d2det_geo.seams.stitch import stitched

if TYPE_CHECKING:
    from rasterio.windows import Window

EXPLAINED = 0.7  # share of a fragment inside a whole object that makes it a part of that object


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """D detections in a scene, and what the windows say about them."""

    detections: Detections
    windows: list[frozenset[int]]
    """``[D]`` numbers of the windows each was made in."""
    frames: NDArray[np.float64]
    """``[D, 4]`` hull of those windows, px."""
    cut: NDArray[np.bool_]
    """``[D]`` whether every window cut it, as far as can be seen."""


def merge_seams(
    parts: Sequence[tuple[Detections, Window]], width: int, height: int, *, iou: float = 0.5, margin: float = 1.5
) -> Detections:
    """Make one detection of each object that several overlapping windows saw.

    Detections of a class agree when the IoU of what both windows see exceeds ``iou``; best agreement first,
    they join in groups of at most one per window. A group gives its best-scored whole detection, or, all
    being cut, their hull and the union of their masks. Cut ones that agree with nothing, such as slivers, are
    dropped where a detection of another window covers them. Nothing within a window is suppressed.

    Args:
        parts: detections in the scene's frame (not the window's), with the window they were made in.
        width: of the scene in that frame, px.
        height: of the scene, px.
        iou: of clipped boxes; above it two detections are one object.
        margin: a box this close to an inner edge of its window counts as cut, px.

    Returns:
        Detections by falling score, the same for every order of ``parts``. Empty (with masks) without parts.
    """
    if not parts:
        return Detections.empty(masks=True)
    seen = _collect(parts, width, height, margin)
    merged = _one_each(seen, _groups(seen, iou))
    detections = merged.detections.select(_unexplained(merged, 2 * margin))
    return detections.select(_best_first(detections))


def _collect(parts: Sequence[tuple[Detections, Window]], width: int, height: int, margin: float) -> _Objects:
    """Flatten the parts, best first, in an order that does not depend on theirs."""
    corners = np.array(
        [(w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for _, w in parts], dtype=np.float64
    )
    distinct, number = np.unique(corners, axis=0, return_inverse=True)
    detections = Detections.concatenate([part for part, _ in parts])
    window = np.repeat(number.reshape(-1), [len(part) for part, _ in parts])
    order = _best_first(detections, window)
    detections, window = detections.select(order), window[order]
    frames, boxes = distinct[window], detections.boxes
    scene = np.array([0, 0, width, height])
    near = np.hstack([boxes[:, :2] <= frames[:, :2] + margin, boxes[:, 2:] >= frames[:, 2:] - margin])
    sets = [frozenset([index]) for index in range(len(distinct))]
    return _Objects(detections, [sets[index] for index in window], frames, (near & (frames != scene)).any(axis=1))


def _best_first(detections: Detections, window: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Order by falling score; ties by label, box and window, so that the order of arrival never shows."""
    ties = [detections.labels, *detections.boxes.T] + ([] if window is None else [window])
    order: NDArray[np.intp] = np.lexsort([*reversed(ties), -detections.scores])
    return order


def _pairs(boxes: NDArray[np.float64], labels: NDArray[np.int64], reach: float) -> tuple[NDArray[np.intp], ...]:
    """Find the pairs ``(first, second)``, both ways round, of boxes of one class within ``reach`` px of each other."""
    low, high = boxes[:, :2], boxes[:, 2:]
    tree = shapely.STRtree(shapely.box(*low.T, *high.T))
    first, second = tree.query(shapely.box(*(low - reach).T, *(high + reach).T))
    chosen = (first != second) & (labels[first] == labels[second])
    return first[chosen], second[chosen]


def _groups(seen: _Objects, iou: float) -> NDArray[np.intp]:
    """Join detections that agree, best agreement first; give each the number of its group's best detection."""
    boxes, frames = seen.detections.boxes, seen.frames
    first, second = _pairs(boxes, seen.detections.labels, 0)
    apart = (first < second) & (frames[first] != frames[second]).any(axis=1)
    first, second = first[apart], second[apart]
    agreement = paired_iou(intersection(boxes[first], frames[second]), intersection(boxes[second], frames[first]))
    order = np.lexsort([second, first, -agreement])
    order = order[agreement[order] > iou]
    root = np.arange(len(boxes))
    windows = list(seen.windows)

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = int(root[index])
        return index

    for one, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
        low, high = sorted((find(one), find(other)))
        if windows[low].isdisjoint(windows[high]):  # joined already, or one window tells them apart
            root[high] = low
            windows[low] |= windows[high]
    return np.array([find(index) for index in range(len(root))], dtype=np.intp)


def _one_each(seen: _Objects, groups: NDArray[np.intp]) -> _Objects:
    """Make one detection of each group."""
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
    chosen, joins = [], []
    for group in members:
        whole = group[~seen.cut[group]]
        if len(whole) or len(group) == 1:
            chosen.append(whole[0] if len(whole) else group[0])
        else:
            joins.append(_needed(seen, group))
    alone = np.array(chosen, dtype=np.intp)
    parts = [seen.detections.select(alone), *(stitched(seen.detections.select(group)) for group in joins)]
    hulls = [np.hstack([seen.frames[group, :2].min(axis=0), seen.frames[group, 2:].max(axis=0)]) for group in joins]
    return _Objects(
        detections=Detections.concatenate(parts),
        windows=[seen.windows[index] for index in alone]
        + [frozenset().union(*(seen.windows[index] for index in group)) for group in joins],
        frames=np.vstack([seen.frames[alone], *hulls]),
        cut=np.concatenate([seen.cut[alone], np.ones(len(joins), dtype=bool)]),
    )


def _needed(seen: _Objects, group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Keep the largest fragment, and those that reach beyond its window: the others it has seen itself."""
    boxes = seen.detections.boxes[group]
    largest = int(np.argmax(area(boxes)))
    frame = seen.frames[group[largest]]
    beyond = (boxes[:, :2] < frame[:2]).any(axis=1) | (boxes[:, 2:] > frame[2:]).any(axis=1)
    beyond[largest] = True
    needed: NDArray[np.intp] = group[beyond]
    return needed


def _unexplained(objects: _Objects, reach: float) -> NDArray[np.bool_]:
    """Mark what to keep: all but cut objects that lie in a whole or larger one, which other windows saw.

    ``reach`` px around the larger one count as inside, within its window: a sliver is no wider than the jitter
    of the boxes.
    """
    boxes, frames, cut = objects.detections.boxes, objects.frames, objects.cut
    sizes = area(boxes)
    rank = np.empty(len(boxes), dtype=np.intp)
    rank[np.lexsort([-sizes, cut])] = np.arange(len(boxes))
    piece, cover = _pairs(boxes, objects.detections.labels, reach)
    candidates = cut[piece] & (rank[cover] < rank[piece])
    piece, cover = piece[candidates], cover[candidates]
    around = intersection(boxes[cover] + np.array([-reach, -reach, reach, reach]), frames[cover])
    inside = area(intersection(boxes[piece], around)) > EXPLAINED * sizes[piece]
    piece, cover = piece[inside], cover[inside]
    kept = np.ones(len(boxes), dtype=bool)
    for index in np.argsort(rank[piece], kind="stable"):
        one, other = int(piece[index]), int(cover[index])
        if kept[other] and objects.windows[one].isdisjoint(objects.windows[other]):
            kept[one] = False
    return kept
