"""What kinds of errors cost: COCO's analysis of false positives, Figure 5 of the D2Det paper.

Seven curves of precision over recall for each class, each forgiving one kind of error more:

======  ==============================================================================================
C75     matched at IoU 0.75
C50     matched at IoU 0.5
Loc     matched at IoU 0.1: places need not be exact; duplicates are still wrong
Sim     a detection on an object of another class of the same supercategory is left out
Oth     a detection on any object of another class is left out
BG      every wrong detection is left out: precision is 1 as far as recall goes
FN      every object is found
======  ==============================================================================================

The matching is that of COCO at every threshold, whatever the protocol: by falling score, each detection takes the
best free object of its class, and from Sim on, where it finds none, a free object of another class, at IoU 0.1, which
is then taken for its class. Areas are means over 101 recalls, so C75 and C50 of the ``coco`` protocol are its ``ap75``
and ``ap50``. Without supercategories Sim equals Loc. Without ignored objects no step is below the one before, at any
recall; with them a step may be, as a detection that was left out on an ignored object may take another's object at a
lower IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION
from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.curves import RECALLS_101, sampled
from d2det_geo.metrics.overlaps import LEAST, Overlaps, take_first

STEPS = ("C75", "C50", "Loc", "Sim", "Oth", "BG", "FN")


@dataclass(frozen=True, slots=True, eq=False)
class Breakdown:
    """Curves of C classes at 101 recalls. Classes without objects are NaN and in no mean."""

    classes: tuple[str, ...]
    precision: NDArray[np.float64]
    """``[C, 7, 101]`` in the order of ``STEPS``."""

    @property
    def areas(self) -> NDArray[np.float64]:
        """``[C, 7]`` area under each curve."""
        areas: NDArray[np.float64] = self.precision.mean(axis=2)
        return areas

    def mean(self) -> NDArray[np.float64]:
        """Average the curves ``[7, 101]`` over the classes that have objects; NaN where none has."""
        known = ~np.isnan(self.precision[:, 0, 0])
        if not known.any():
            return np.full(self.precision.shape[1:], np.nan)
        mean: NDArray[np.float64] = self.precision[known].mean(axis=0)
        return mean


def break_down(compared: Compared, supercategories: Sequence[str] | None = None) -> Breakdown:
    """Forgive one kind of error after the other.

    Args:
        compared: truth and predictions with their pairs.
        supercategories: of each class; None: every class is its own.
    """
    groups = np.arange(len(compared.classes))
    if supercategories is not None:
        groups = np.unique(np.array(supercategories, dtype=str), return_inverse=True)[1]
    own = _with_classes(compared)
    rank = np.empty(len(compared.labels), np.intp)
    rank[compared.order] = np.arange(len(rank))
    judged = [_own(compared, own, rank, least) for least in (0.75, 0.5, LEAST)]
    hits, left_out = judged[-1]
    for others in (groups, np.zeros_like(groups)):
        judged.append((hits, left_out | _confused(compared, hits | left_out, rank, others)))
    judged.append((hits, ~hits))
    return Breakdown(compared.classes, _curves(compared, judged))


def _with_classes(compared: Compared) -> Overlaps:
    """Keep the pairs of one class, and those with regions, which are of every class."""
    pairs = compared.overlaps
    labels = compared.truth_labels[pairs.truths]
    return pairs.where((labels == compared.labels[pairs.predictions]) | (labels == REGION))


def _own(
    compared: Compared, pairs: Overlaps, rank: NDArray[np.intp], least: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match objects of one class at an IoU; return ``[P]`` which predictions are right and which are left out."""
    pairs = pairs.where((pairs.ious >= least) & ~compared.dropped[pairs.predictions])
    ignored = ~compared.counted
    order = np.lexsort((-pairs.truths, -pairs.ious, ignored[pairs.truths], rank[pairs.predictions]))
    pairs = pairs.where(order)
    found = np.full(len(compared.labels), -1, np.int64)
    take_first(pairs.truths, pairs.predictions, compared.absorbing, np.zeros(len(ignored), np.bool_), found)
    matched = found >= 0
    on_ignored = matched & np.append(ignored, False)[found]
    return matched & ~on_ignored, on_ignored | compared.dropped


def _confused(
    compared: Compared, settled: NDArray[np.bool_], rank: NDArray[np.intp], groups: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say ``[P]`` which of the other predictions take an object of another class of their group."""
    pairs = compared.overlaps
    labels, other = compared.labels[pairs.predictions], compared.truth_labels[pairs.truths]
    meant = (other != REGION) & (other != labels) & (groups[labels] == groups[other])
    pairs = pairs.where(meant & ~settled[pairs.predictions])
    pairs = pairs.where(np.lexsort((-pairs.truths, -pairs.ious, rank[pairs.predictions])))
    # Each class has its own copy of the objects of the others: what one takes is free for the rest.
    copies, places = np.unique(
        pairs.truths * len(compared.classes) + compared.labels[pairs.predictions], return_inverse=True
    )
    shared = compared.absorbing[copies // len(compared.classes)]
    found = np.full(len(compared.labels), -1, np.int64)
    take_first(places, pairs.predictions, shared, np.zeros(len(copies), np.bool_), found)
    return found >= 0


def _curves(compared: Compared, judged: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> NDArray[np.float64]:
    order = compared.order
    curves = np.full((len(compared.classes), len(STEPS), len(RECALLS_101)), np.nan)
    for label in range(len(compared.classes)):
        rows = order[compared.labels[order] == label]
        truths = int(np.count_nonzero((compared.truth_labels == label) & compared.counted))
        if truths:
            for step, (hits, left_out) in enumerate(judged):
                curves[label, step] = sampled(hits[rows[~left_out[rows]]], truths)
            curves[label, -1] = 1.0
    return curves
