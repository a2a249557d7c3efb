"""How sure the numbers of an evaluation are: intervals by bootstrap over what is drawn as one.

That is a block of ground; of a set, a group of images (frames of a sequence, chips of a scene), which are alike and
show the same objects again; an image where the set has no groups.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.bootstrap import confidence_intervals
from d2det_geo.pipeline.evaluation import Evaluation

_RESAMPLES = 1000
_SEED = 0
_BLOCKS_ACROSS = 10
_FEW = 10  # units below which a bootstrap says little
_PATCH = re.compile(r"(.+)(?:_\d+){4}\.\w+", re.ASCII)  # P0003_0_800_600_1400.png
_LEAST = 2  # below, every draw is the same

Blocks = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Block ``[T]`` of each truth and ``[P]`` of each prediction."""


def intervals_of(
    evaluation: Evaluation, percent: float, *, ground: bool, block: float | None
) -> tuple[dict[str, Any], list[str]]:
    """Compute confidence intervals of the numbers of all classes together.

    Args:
        evaluation: what was compared and how it was judged.
        percent: of the intervals, such as 95.
        ground: the objects are of one scene: blocks of ground are drawn, not images.
        block: side of the blocks, m (px without CRS); None is a tenth of that of a square of the truth's extent.

    Returns:
        ``level``, ``unit`` (``image``, ``group``, ``block``), ``units`` (how many there are to draw from), ``block``,
        ``resamples``, ``seed`` and ``metrics``: name -> lower and upper end; and notices.
    """
    truth, predictions, outcome = evaluation.truth, evaluation.predictions, evaluation.outcome
    side, unit = None, "image" if _names(evaluation) is None else "group"
    if ground:
        unit, side = "block", block or _side(truth.boxes[~outcome.verdicts.truth_ignored])
    blocks, units = _groups(evaluation) if side is None else _blocks(evaluation, side)
    ends = confidence_intervals(
        outcome, truth, predictions, level=percent, resamples=_RESAMPLES, seed=_SEED, blocks=blocks, units=units
    )
    if units < _LEAST:
        ends = dict.fromkeys(ends, (float("nan"), float("nan")))
    content = {
        "level": percent,
        "unit": unit,
        "units": units,
        "block": side,
        "resamples": _RESAMPLES,
        "seed": _SEED,
        "metrics": {name: list(pair) for name, pair in ends.items()},
    }
    if units < _LEAST:
        return content, [f"there are fewer than two {unit}s to draw from: the intervals are undefined"]
    few = f"the intervals are drawn from {units} {unit}s only: they say little" if units < _FEW else None
    return content, [few] if few else []


def _groups(evaluation: Evaluation) -> tuple[Blocks, int]:
    """Number the groups of the images that are judged, or those images, and count them.

    What lies on other images counts nowhere; its number is that of the first.
    """
    truth, predictions = evaluation.truth, evaluation.predictions
    images, judged = truth.images, evaluation.outcome.verdicts.images
    rows = np.arange(len(images)) if judged is None else np.flatnonzero(judged)
    numbers = np.zeros(len(images), np.int64)
    names = _names(evaluation)
    if names is None:
        numbers[rows] = np.arange(len(rows))
        return (numbers[truth.image], numbers[predictions.image]), len(rows)
    groups, numbers[rows] = np.unique(names[rows], return_inverse=True)
    return (numbers[truth.image], numbers[predictions.image]), len(groups)


def _names(evaluation: Evaluation) -> NDArray[np.str_] | None:
    """Name ``[M]`` what images belong to; patches of iSAID's devkit say it in their names only. None: not known."""
    images = evaluation.truth.images
    if images.groups is not None:
        return np.array([str(name) for name in images.groups], np.str_)
    patches = [_PATCH.fullmatch(str(name)) for name in images.names]
    if evaluation.outcome.protocol != "isaid" or not patches or None in patches:
        return None
    return np.array([patch[1] for patch in patches if patch], np.str_)


def _side(boxes: NDArray[np.float64]) -> float:
    if len(boxes) == 0:
        return 1.0
    width, height = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
    return max(float(np.sqrt(width * height)) / _BLOCKS_ACROSS, 1e-6)


def _blocks(evaluation: Evaluation, side: float) -> tuple[Blocks, int]:
    """Number the blocks that hold something, and count them.

    A prediction belongs to that of the truth it found, so that no draw parts the two.
    """
    truth, predictions = evaluation.truth, evaluation.predictions
    cells = np.floor(np.concatenate([_centres(truth), _centres(predictions)]) / side).astype(np.int64)
    numbers = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    of_truth, of_predictions = numbers[: len(truth)], numbers[len(truth) :]
    verdicts = evaluation.outcome.verdicts
    of_predictions = np.where(verdicts.found[0] >= 0, np.append(of_truth, 0)[verdicts.found[0]], of_predictions)
    # What counts nowhere makes no block to draw.
    counts = ~verdicts.truth_ignored, ~verdicts.ignored.all(axis=0)
    kept = np.concatenate([of_truth[counts[0]], of_predictions[counts[1]], [0]])
    of_truth = np.where(counts[0], of_truth, kept[0])
    of_predictions = np.where(counts[1], of_predictions, kept[0])
    held, numbers = np.unique(np.concatenate([of_truth, of_predictions]), return_inverse=True)
    return (numbers[: len(truth)], numbers[len(truth) :]), len(held)


def _centres(objects: Annotations) -> NDArray[np.float64]:
    centres: NDArray[np.float64] = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
    return centres
