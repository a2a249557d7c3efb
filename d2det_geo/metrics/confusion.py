"""Which class is taken for which, at the operating point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.overlaps import take_first

BACKGROUND = "background"
"""Row of detections where no object is; column of objects without detection."""


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Objects (rows) and detections (columns) of C classes, with ``BACKGROUND`` last."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    """``[C + 1, C + 1]``; the last of the last is 0."""


def confuse(compared: Compared) -> Confusion:
    """Pair detections with objects of any class, and count the classes of each pair.

    By falling score, each detection of the operating score or more takes the free object it overlaps most, of whatever
    class, at the operating IoU. So what is right here may differ a little from what the protocol found, which looks at
    one class at a time. Ignored objects are in no row, and a detection the protocol leaves out is in no column unless
    it takes an object.
    """
    pairs = compared.overlaps
    kept = (compared.scores >= compared.threshold) & ~compared.dropped
    pairs = pairs.where(
        (pairs.ious >= compared.operating_iou) & kept[pairs.predictions] & compared.counted[pairs.truths]
    )
    found = _greedy(compared, pairs.truths, pairs.predictions, pairs.ious)
    ignored = compared.outcome.verdicts.ignored[compared.operating_row]
    alone = kept & (found < 0) & ~ignored
    missed = compared.counted.copy()
    missed[found[found >= 0]] = False
    counts = np.zeros((len(compared.classes) + 1,) * 2, np.int64)
    matched = np.flatnonzero(found >= 0)
    np.add.at(counts, (compared.truth_labels[found[matched]], compared.labels[matched]), 1)
    counts[-1, :-1] = np.bincount(compared.labels[alone], minlength=len(compared.classes))
    counts[:-1, -1] = np.bincount(compared.truth_labels[missed], minlength=len(compared.classes))
    return Confusion((*compared.classes, BACKGROUND), counts)


def _greedy(
    compared: Compared, truths: NDArray[np.intp], predictions: NDArray[np.intp], ious: NDArray[np.float64]
) -> NDArray[np.int64]:
    rank = np.empty(len(compared.labels), np.intp)
    rank[compared.order] = np.arange(len(rank))
    found = np.full(len(rank), -1, np.int64)
    order = np.lexsort((-truths, -ious, rank[predictions]))
    nothing = np.zeros(len(compared.truth), np.bool_)
    take_first(truths[order], predictions[order], nothing, nothing.copy(), found)
    return found
