"""Which box took which, group by group (image, or image and class), by the two rules in use.

*Free best*: a prediction takes the truth of highest overlap that is still free (UAVDT, VisDrone, COCO). *Arg-max*: a
prediction stands or falls with the truth of highest overlap, taken or not (Pascal VOC, DOTA).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics import box_loops
from d2det_geo.metrics.box_loops import Boxes, Rows

_DECIMALS = 9  # px; gives back the widths a file states from edges that were computed from them


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
    box_loops.free_best(
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
    box_loops.free_best_of(*pairs, ious, truth_ignored, thresholds, found)
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
    box_loops.arg_max(
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
    count = box_loops.pairs(*columns, none, none)
    rows, found = np.empty(count, np.intp), np.empty(count, np.intp)
    box_loops.pairs(*columns, rows, found)
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
    box_loops.strictly_inside(predictions, regions[order], starts, ends, inside)
    return inside


def _by_row(groups: Groups, found: NDArray[np.int32]) -> NDArray[np.int32]:
    """Turn places in the groups into rows, on both sides."""
    rows = np.full_like(found, -1)
    rows[:, groups.predictions] = np.append(groups.truths, -1)[found]
    return rows
