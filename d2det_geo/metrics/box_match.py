"""Which box took which, group by group (image, or image and class), by the two rules in use.

*Free best*: a prediction takes the truth of highest overlap that is still free (UAVDT, VisDrone, COCO). *Arg-max*: a
prediction stands or falls with the truth of highest overlap, taken or not (Pascal VOC, DOTA).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_ops.compiled import compiled

_DECIMALS = 9  # px; gives back the widths a file states from edges that were computed from them

Boxes: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]


def sides(annotations: Annotations) -> Boxes:
    """Return ``[N, 4]`` x, y, width, height."""
    edges = annotations.boxes.reshape(-1, 4)
    return np.hstack([edges[:, :2], np.round(edges[:, 2:] - edges[:, :2], _DECIMALS)])


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows of truth and predictions in G groups: group ``g`` is ``truths[truth_ends[g] : truth_ends[g + 1]]``."""

    truths: Rows
    """Truth that counts first, then what is ignored; each in the order of the file."""
    truth_ends: Rows
    """``[G + 1]``"""
    predictions: Rows
    """By falling score, equal scores in the order of the file."""
    ends: Rows
    """``[G + 1]``"""


def grouped(
    truth_keys: NDArray[np.int64],
    truth_ignored: NDArray[np.bool_],
    keys: NDArray[np.int64],
    scores: NDArray[np.float64],
    count: int,
) -> Groups:
    """Group rows by a number in ``[0, count)``; rows with a negative one are in no group.

    Args:
        truth_keys: ``[T]``
        truth_ignored: ``[T]``
        keys: ``[P]``
        scores: ``[P]``
        count: number of groups.
    """
    truths = np.lexsort((truth_ignored, truth_keys))
    predictions = np.argsort(-scores, kind="stable")
    predictions = predictions[np.argsort(keys[predictions], kind="stable")]
    edges = np.arange(count + 1)
    return Groups(
        truths,
        np.searchsorted(truth_keys[truths], edges),
        predictions,
        np.searchsorted(keys[predictions], edges),
    )


def free_best(
    groups: Groups, truth: Boxes, truth_ignored: NDArray[np.bool_], predictions: Boxes, thresholds: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Give each prediction the free truth of highest IoU >= threshold; of equals the later.

    A truth that counts is preferred to an ignored one, whose overlap is the intersection over the area of the
    prediction and which any number of predictions may take.

    Args:
        groups: of both.
        truth: ``[T, 4]`` x, y, width, height.
        truth_ignored: ``[T]``
        predictions: ``[P, 4]`` alike.
        thresholds: ``[K]``

    Returns:
        ``[K, P]`` rows of the truth, -1 for none.
    """
    found = np.full((len(thresholds), len(predictions)), -1, np.int32)
    _free_best(
        truth[groups.truths],
        truth_ignored[groups.truths],
        groups.truth_ends,
        predictions[groups.predictions],
        groups.ends,
        thresholds,
        found,
    )
    return _by_row(groups, found)


def free_best_of(
    groups: Groups,
    truth_ignored: NDArray[np.bool_],
    pairs: tuple[Rows, Rows],
    ious: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> NDArray[np.int32]:
    """As ``free_best``, from pairs whose overlap is known.

    Args:
        groups: of truth and predictions.
        truth_ignored: ``[T]``
        pairs: rows of truth and of predictions, ``[K]`` each, as ``overlapping`` gives them.
        ious: ``[K]``
        thresholds: of IoU.
    """
    found = np.full((len(thresholds), len(groups.predictions)), -1, np.int32)
    _free_best_of(*pairs, ious, truth_ignored, thresholds, found)
    return found


def arg_max(groups: Groups, truth: Boxes, predictions: Boxes, plus: float = 0.0) -> tuple[NDArray[np.int32], Boxes]:
    """Give each prediction the truth of highest IoU, the first of equals, whether or not another has it.

    Args:
        groups: of both.
        truth: ``[T, 4]`` x, y, width, height.
        predictions: ``[P, 4]`` alike.
        plus: added to each width and height: 1 for corners that are taken as pixels of their box.

    Returns:
        ``[P]`` rows of the truth, -1 for none, and the IoU ``[P]``.
    """
    found, ious = np.full((1, len(predictions)), -1, np.int32), np.zeros(len(predictions))
    _arg_max(
        truth[groups.truths],
        groups.truth_ends,
        predictions[groups.predictions],
        groups.ends,
        plus,
        found[0],
        ious,
    )
    by_row = np.zeros(len(predictions))
    by_row[groups.predictions] = ious
    return _by_row(groups, found)[0], by_row


def overlapping(groups: Groups, truth: Boxes, predictions: Boxes) -> tuple[Rows, Rows]:
    """Return the pairs of a group whose boxes touch or overlap: rows of truth and of predictions, ``[K]`` each."""
    columns = truth[groups.truths], groups.truth_ends, predictions[groups.predictions], groups.ends
    none = np.zeros(0, np.intp)
    count = _pairs(*columns, none, none)
    rows, found = np.empty(count, np.intp), np.empty(count, np.intp)
    _pairs(*columns, rows, found)
    return groups.truths[rows], groups.predictions[found]


def first_takers(found: NDArray[np.int32], order: Rows) -> NDArray[np.bool_]:
    """Say ``[P]`` which predictions are the first, in ``order``, to take their truth."""
    first = np.zeros(len(found), bool)
    taking = order[found[order] >= 0]
    first[taking[np.unique(found[taking], return_index=True)[1]]] = True
    return first


def strictly_inside(predictions: Boxes, images: Rows, regions: Boxes, region_images: Rows) -> NDArray[np.bool_]:
    """Say ``[P]`` which boxes lie inside one region of their image without touching an edge of it.

    Args:
        predictions: ``[P, 4]`` x, y, width, height.
        images: ``[P]``
        regions: ``[R, 4]`` alike.
        region_images: ``[R]``
    """
    order = np.argsort(region_images, kind="stable")
    starts = np.searchsorted(region_images[order], images, side="left")
    ends = np.searchsorted(region_images[order], images, side="right")
    inside = np.zeros(len(predictions), bool)
    _strictly_inside(predictions, regions[order], starts, ends, inside)
    return inside


def _by_row(groups: Groups, found: NDArray[np.int32]) -> NDArray[np.int32]:
    """Turn places in the groups into rows, on both sides."""
    rows = np.full_like(found, -1)
    rows[:, groups.predictions] = np.append(groups.truths, -1)[found]
    return rows


@compiled(inlined=True)
def _intersection(a: Boxes, b: Boxes, plus: float) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + plus
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + plus
    return float(max(width, 0.0) * max(height, 0.0))


@compiled
def _overlap(a: Boxes, b: Boxes, plus: float, over_first: bool) -> float:
    """Return the IoU, or the intersection over the area of ``a``."""
    shared = _intersection(a, b, plus)
    if shared == 0:
        return 0.0
    area = (a[2] + plus) * (a[3] + plus)
    if over_first:
        return float(shared / area)
    return float(shared / (area + (b[2] + plus) * (b[3] + plus) - shared))


@compiled
def _free_best(
    truth: Boxes,
    ignored: NDArray[np.bool_],
    truth_ends: Rows,
    predictions: Boxes,
    ends: Rows,
    thresholds: NDArray[np.float64],
    found: NDArray[np.int32],
) -> None:
    free = np.empty(len(truth), np.bool_)
    for row in range(len(thresholds)):
        free[:] = True
        for group in range(len(ends) - 1):
            for p in range(ends[group], ends[group + 1]):
                best = thresholds[row]
                for t in range(truth_ends[group], truth_ends[group + 1]):
                    if ignored[t] and found[row, p] >= 0 and not ignored[found[row, p]]:
                        break  # those that count come first
                    if free[t] or ignored[t]:
                        overlap = _overlap(predictions[p], truth[t], 0.0, ignored[t])
                        if overlap >= best:
                            best = overlap
                            found[row, p] = t
                if found[row, p] >= 0:
                    free[found[row, p]] = False


@compiled
def _free_best_of(
    truths: Rows,
    predictions: Rows,
    ious: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    found: NDArray[np.int32],
) -> None:
    free = np.empty(len(ignored), np.bool_)
    for row in range(len(thresholds)):
        free[:] = True
        best = thresholds[row]
        for k in range(len(truths)):
            t, p = truths[k], predictions[k]
            if k == 0 or p != predictions[k - 1]:
                best = thresholds[row]
            settled = found[row, p] >= 0 and not ignored[found[row, p]]
            if ious[k] >= best and (free[t] or ignored[t]) and not (settled and ignored[t]):
                best = ious[k]
                found[row, p] = t
            if found[row, p] >= 0 and (k + 1 == len(truths) or predictions[k + 1] != p):
                free[found[row, p]] = False


@compiled
def _arg_max(
    truth: Boxes,
    truth_ends: Rows,
    predictions: Boxes,
    ends: Rows,
    plus: float,
    found: NDArray[np.int32],
    ious: Boxes,
) -> None:
    for group in range(len(ends) - 1):
        for p in range(ends[group], ends[group + 1]):
            for t in range(truth_ends[group], truth_ends[group + 1]):
                overlap = _overlap(predictions[p], truth[t], plus, False)
                if overlap > ious[p]:
                    ious[p] = overlap
                    found[p] = t


@compiled
def _pairs(truth: Boxes, truth_ends: Rows, predictions: Boxes, ends: Rows, rows: Rows, found: Rows) -> int:
    """Write the pairs that overlap where there is room for them; return how many there are."""
    count = 0
    for group in range(len(ends) - 1):
        for p in range(ends[group], ends[group + 1]):
            for t in range(truth_ends[group], truth_ends[group + 1]):
                if _intersection(predictions[p], truth[t], 1.0) > 0:
                    if count < len(rows):
                        rows[count], found[count] = t, p
                    count += 1
    return count


@compiled
def _strictly_inside(predictions: Boxes, regions: Boxes, starts: Rows, ends: Rows, inside: NDArray[np.bool_]) -> None:
    for p in range(len(predictions)):
        x, y, right, bottom = predictions[p]
        right, bottom = x + right, y + bottom
        for r in range(starts[p], ends[p]):
            left, top, width, height = regions[r]
            if x > left and y > top and right < left + width and bottom < top + height:
                inside[p] = True
                break
