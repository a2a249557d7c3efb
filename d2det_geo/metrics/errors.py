"""Right, wrong and missed at the operating point: one cause for each error, and the places errors gather at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.overlaps import Overlaps

WRONG = ("class not in the truth", "duplicate", "other class", "badly placed", "background")
"""Why a detection is wrong, the first that fits: the truth has no object of its class that counts, so that precision of
all classes together leaves it out; its object was found already; it is on an object of another class; it overlaps an
object too little; nothing is there."""

MISSED = (
    "score too low",
    "beyond the cap",
    "in an ignore region",
    "other class",
    "badly placed",
    "nothing there",
)
"""Why an object was missed, the first that fits: it was found below the score threshold; a detection beyond the cap
would have found it; one that is not judged for where it lies, as in an ignore region, would have; a detection of
another class is on it; one overlaps it too little; nothing is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """How T truths and P predictions stand at the IoU and the score that precision and recall are taken at."""

    right: NDArray[np.bool_]
    """``[P]``"""
    wrong: NDArray[np.bool_]
    """``[P]``; those neither right nor wrong are below the score, or ignored. Precision is right / (right + wrong)
    without those of a ``class not in the truth``."""
    found: NDArray[np.bool_]
    """``[T]``"""
    missed: NDArray[np.bool_]
    """``[T]``; those neither found nor missed are ignored."""
    why_wrong: NDArray[np.int64]
    """``[P]`` positions in ``WRONG``; -1 where not wrong."""
    why_missed: NDArray[np.int64]
    """``[T]`` positions in ``MISSED``; -1 where not missed."""

    def per_image(self, truth: Annotations, predictions: Annotations) -> NDArray[np.int64]:
        """Count the errors ``[M]`` of each image."""
        count = len(truth.images)
        wrong = np.bincount(predictions.image[self.wrong], minlength=count)
        missed = np.bincount(truth.image[self.missed], minlength=count)
        errors: NDArray[np.int64] = wrong + missed
        return errors


def errors_of(compared: Compared) -> Errors:
    """Sort truths and predictions at the operating point, and give each error its cause."""
    verdicts, row = compared.outcome.verdicts, compared.operating_row
    kept = compared.scores >= compared.threshold
    hits = verdicts.hits(row)
    right = hits & kept
    wrong = kept & ~hits & ~verdicts.ignored[row]
    found = np.zeros(len(compared.truth), bool)
    found[verdicts.found[row, right]] = True
    missed = compared.counted & ~found
    return Errors(
        right, wrong, found, missed, _why_wrong(compared, wrong), _why_missed(compared, missed, hits & ~kept, kept)
    )


def _why_wrong(compared: Compared, wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    pairs, same = _sorted_pairs(compared)
    near = pairs.ious >= compared.operating_iou
    reasons = [_strangers(compared)] + [
        _marked(pairs.predictions[chosen], wrong.size) for chosen in (near & same, near & ~same, ~near)
    ]
    return np.where(wrong, np.select(reasons, range(4), 4), -1)


def _strangers(compared: Compared) -> NDArray[np.bool_]:
    """Say ``[P]`` which predictions are of a class without truth that counts; none where classes are pooled."""
    if compared.outcome.verdicts.pooled:
        return np.zeros(len(compared.predictions), bool)
    strange: NDArray[np.bool_] = ~np.isin(compared.labels, compared.truth_labels[compared.counted])
    return strange


def _why_missed(
    compared: Compared, missed: NDArray[np.bool_], below: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> NDArray[np.int64]:
    verdicts, row = compared.outcome.verdicts, compared.operating_row
    pairs, same = _sorted_pairs(compared)
    near, kept_pair = pairs.ious >= compared.operating_iou, (kept & ~compared.dropped)[pairs.predictions]
    late = _marked(verdicts.found[row, below], missed.size)
    capped = np.zeros(kept.size, bool) if verdicts.capped is None else verdicts.capped
    lost = near & same & compared.dropped[pairs.predictions]
    cut = capped[pairs.predictions]
    reasons = [late] + [
        _marked(pairs.truths[chosen], missed.size)
        for chosen in (lost & cut, lost & ~cut, near & ~same & kept_pair, ~near & kept_pair)
    ]
    return np.where(missed, np.select(reasons, range(5), 5), -1)


def _sorted_pairs(compared: Compared) -> tuple[Overlaps, NDArray[np.bool_]]:
    """Return the pairs with truths that count, and which are of one class."""
    pairs = compared.overlaps.where(compared.counted[compared.overlaps.truths])
    same: NDArray[np.bool_] = compared.truth_labels[pairs.truths] == compared.labels[pairs.predictions]
    return pairs, same


def _marked(rows: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    marks = np.zeros(count, bool)
    marks[rows] = True
    return marks


@dataclass(frozen=True, slots=True)
class Share:
    """Objects of one kind of place."""

    found: int
    missed: int
    right: int
    wrong: int


def by_place(
    compared: Compared, errors: Errors, places: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]
) -> dict[str, Share]:
    """Count what stands at each kind of place.

    Args:
        compared: truth and predictions.
        errors: of them.
        places: name -> which truths ``[T]`` and which predictions ``[P]`` are there.
    """
    counted = np.count_nonzero
    return {
        name: Share(
            int(counted(errors.found & truths)),
            int(counted(errors.missed & truths)),
            int(counted(errors.right & predictions)),
            int(counted(errors.wrong & predictions)),
        )
        for name, (truths, predictions) in places.items()
    }


def at_borders(objects: Annotations, *, reach: float = 1.0) -> dict[str, NDArray[np.bool_]]:
    """Say which objects touch the border of their image, within ``reach`` px.

    Returns:
        ``chip border`` ``[N]``, where the images are chips of scenes: a border with more of the scene beyond it, as far
        as other chips of the scene show. ``image edge`` ``[N]``: any other. Images of unknown size have neither.
    """
    sizes = objects.images.sizes[objects.image]
    known = np.logical_and.reduce(sizes > 0, axis=1)
    limits = np.column_stack([np.zeros_like(sizes), sizes])
    beyond = np.column_stack([objects.boxes[:, :2] < 0, objects.boxes[:, 2:] > sizes])
    touching = np.logical_or(np.abs(objects.boxes - limits) <= reach, beyond) & known[:, None]
    chip = np.logical_or.reduce(touching & _inner_borders(objects)[objects.image], axis=1)
    return {"chip border": chip, "image edge": np.logical_or.reduce(touching, axis=1) & ~chip}


def _inner_borders(objects: Annotations) -> NDArray[np.bool_]:
    """Say ``[M, 4]`` at which borders of an image its scene goes on: left, top, right, bottom."""
    images = objects.images
    if images.windows is None or len(images) == 0:
        return np.zeros((len(images), 4), bool)
    corners = np.column_stack([images.windows[:, :2], images.windows[:, :2] + images.windows[:, 2:]])
    names = images.groups if images.groups is not None else np.zeros(len(images))
    scenes = np.unique(np.array([str(name) for name in names]), return_inverse=True)[1]
    ends = np.full((scenes.max() + 1, 2), np.iinfo(np.int64).min)
    np.maximum.at(ends, scenes, corners[:, 2:])
    return np.column_stack([corners[:, :2] > 0, corners[:, 2:] < ends[scenes]])
