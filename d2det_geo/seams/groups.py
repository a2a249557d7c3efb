"""Which detections are one object, which of them its shape is made of, and which fragments others explain."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2det_geo.boxes import area
from d2det_geo.seams.seen import Pairs, Seen
from d2det_ops.compiled import compiled


class Groups(NamedTuple):
    """D detections in groups, one for each object or fragment of one."""

    root: NDArray[np.int32]
    """``[D]`` the best detection of the group of each: the group's name."""
    part: NDArray[np.bool_]
    """``[D]`` whether it is a part of its group's shape: one whole detection, or the fragments of the object."""
    kept: NDArray[np.bool_]
    """``[D]`` at roots: whether the group is an object, and not a fragment of another."""
    component: NDArray[np.int32]
    """``[D]`` detections that may depend on each other have the same number."""


def group(seen: Seen, pairs: Pairs) -> Groups:
    """Join pairs into groups of at most one detection of each window, best agreement first, and judge the groups.

    Args:
        seen: D detections, best first.
        pairs: of them, by falling agreement.
    """
    boxes, windows, frames = seen.boxes, seen.windows, seen.frames
    root, ring = _joined(pairs, windows, len(frames))
    part, whole, hulls = _shapes(root, area(boxes), seen)
    rank = np.empty(len(boxes), dtype=np.int32)
    rank[np.lexsort([-area(hulls), ~whole])] = np.arange(len(boxes), dtype=np.int32)
    inner, outer = pairs.covered & 1 > 0, pairs.covered & 2 > 0
    piece = np.concatenate([pairs.first[inner], pairs.second[outer]])
    cover = np.concatenate([pairs.second[inner], pairs.first[outer]])
    relevant = part[piece] & part[cover] & ~whole[root[piece]] & (rank[root[cover]] < rank[root[piece]])
    piece, cover = piece[relevant], cover[relevant]
    order = np.lexsort([piece, rank[root[piece]]])
    kept = _unexplained(piece[order], cover[order], root, ring, part, windows, len(frames))
    return Groups(root, part, kept, _components(pairs, len(boxes)))


@compiled
def _find(root: Any, index: int) -> int:
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index


@compiled
def _seen_by_both(ring: Any, windows: Any, one: int, other: int, stamps: Any, stamp: int) -> bool:
    """Tell whether one window made detections of two groups; ``ring`` leads from member to member."""
    member = one
    while True:
        stamps[windows[member]] = stamp
        member = ring[member]
        if member == one:
            break
    member = other
    while stamps[windows[member]] != stamp:
        member = ring[member]
        if member == other:
            return False
    return True


@compiled
def _joined(pairs: Any, windows: Any, window_count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Join what agrees, in order; ``root`` ``[D]`` is the least of each group, ``ring`` ``[D]`` its next member."""
    root, ring = np.arange(len(windows), dtype=np.int32), np.arange(len(windows), dtype=np.int32)
    stamps = np.full(window_count, -1, dtype=np.int64)
    for pair in range(len(pairs.first)):
        if not pairs.agree[pair]:
            continue
        one, other = _find(root, pairs.first[pair]), _find(root, pairs.second[pair])
        if one == other or _seen_by_both(ring, windows, one, other, stamps, pair):
            continue  # joined already, or one window tells them apart
        root[max(one, other)] = min(one, other)
        ring[one], ring[other] = ring[other], ring[one]
    for index in range(len(root)):
        root[index] = _find(root, index)
    return root, ring


@compiled
def _chosen(root: Any, areas: Any, cut: Any) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Choose of each group the best whole detection, or else the largest; at roots, which, and whether it is whole."""
    chosen, whole = np.full(len(root), -1, dtype=np.int32), np.zeros(len(root), dtype=np.bool_)
    for index in range(len(root)):
        group = root[index]
        if whole[group]:
            continue
        if not cut[index]:
            chosen[group], whole[group] = index, True
        elif chosen[group] < 0 or areas[index] > areas[chosen[group]]:
            chosen[group] = index
    return chosen, whole


@compiled
def _shapes(root: Any, areas: Any, seen: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Choose the parts of each group's shape; at roots, whether it is whole, and the hull of the parts.

    A whole detection is the shape. Without one, it is the largest fragment and those that reach beyond
    its window: the others that window has seen itself.
    """
    boxes, (chosen, whole) = seen.boxes, _chosen(root, areas, seen.cut)
    part, hulls = np.zeros(len(root), dtype=np.bool_), boxes.copy()
    for group in range(len(root)):
        if root[group] == group:
            part[chosen[group]] = True
            hulls[group] = boxes[chosen[group]]
    for index in range(len(root)):
        group, box = root[index], boxes[index]
        frame = seen.frames[seen.windows[chosen[group]]]
        beyond = box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]
        if beyond and not whole[group]:
            part[index] = True
            hulls[group, :2] = np.minimum(hulls[group, :2], box[:2])
            hulls[group, 2:] = np.maximum(hulls[group, 2:], box[2:])
    return part, whole, hulls


@compiled
def _unexplained(
    piece: Any, cover: Any, root: Any, ring: Any, part: Any, windows: Any, window_count: int
) -> NDArray[np.bool_]:
    """Drop, whole and large groups first, those of which each part lies in a kept group that other windows saw.

    ``piece`` ``[P]`` lies in ``cover`` ``[P]``; they are sorted by the rank of the piece's group, then by piece.
    """
    parts, explained = np.zeros(len(root), dtype=np.int32), np.zeros(len(root), dtype=np.int32)
    for index in range(len(root)):
        parts[root[index]] += part[index]
    kept, stamps = np.ones(len(root), dtype=np.bool_), np.full(window_count, -1, dtype=np.int64)
    last = -1
    for pair in range(len(piece)):
        one, other = root[piece[pair]], root[cover[pair]]
        if piece[pair] == last or not kept[other]:
            continue
        if not _seen_by_both(ring, windows, one, other, stamps, pair):
            last = piece[pair]
            explained[one] += 1
            kept[one] = explained[one] < parts[one]
    return kept


@compiled
def _components(pairs: Any, count: int) -> NDArray[np.int32]:
    """Number the components ``[D]`` of the graph of pairs."""
    root = np.arange(count, dtype=np.int32)
    for pair in range(len(pairs.first)):
        one, other = _find(root, pairs.first[pair]), _find(root, pairs.second[pair])
        root[max(one, other)] = min(one, other)
    for index in range(count):
        root[index] = _find(root, index)
    return root
