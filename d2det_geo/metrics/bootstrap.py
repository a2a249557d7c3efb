"""Confidence intervals of a protocol's numbers, by drawing images, or blocks of a scene, with replacement.

A draw is a weight per image; no row is copied and nothing is matched again, since matching never crosses images.
Copies of a prediction follow it directly, so average precision is what it would be on the copied rows.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.bootstrap_loops import average_precisions
from d2det_geo.metrics.curves import RECALLS_11, RECALLS_101, ranking, scores_of
from d2det_geo.metrics.outcome import Integral, Outcome, Verdicts

Blocks = tuple[NDArray[np.generic], NDArray[np.generic]]
"""Piece ``[T]`` of each truth and ``[P]`` of each prediction."""

_AT_ONCE = 64  # draws whose weights are held at a time
_RECALLS: dict[Integral, NDArray[np.float64]] = {
    "101-point": RECALLS_101,
    "11-point": RECALLS_11,
    "all-point": np.zeros(0),
}


def confidence_intervals(
    outcome: Outcome,
    truth: Annotations,
    predictions: Annotations,
    *,
    level: float = 95.0,
    resamples: int = 1000,
    seed: int = 0,
    blocks: Blocks | None = None,
    units: int | None = None,
) -> dict[str, tuple[float, float]]:
    """Bound the numbers of an outcome by the middle ``level`` per cent of what resamples give.

    Each resample draws as many images as there are, with replacement. Classes without truth in a resample are not in
    its mean. The score threshold of precision, recall and F1 stays that of the outcome.

    Args:
        outcome: of a protocol on these.
        truth: as scored.
        predictions: as scored.
        level: per cent, between 0 and 100.
        resamples: how many.
        seed: the same seed gives the same intervals.
        blocks: labels ``[T]`` and ``[P]`` of the pieces to draw instead of images.
        units: how many pieces there are, when ``blocks`` numbers them from 0; None: those that hold something.

    Returns:
        Lower and upper end, by name: ``ap``, and those of ``ap50``, ``ap75``, ``ap_11point``, ``ap_allpoint``,
        ``ap_percent``, ``precision``, ``recall`` and ``f1`` the outcome has. NaN where no resample defines them.
    """
    if not 0 < level < 100:
        raise ValueError(f"level must lie between 0 and 100, got {level}")
    sample = _Sample.of(outcome, truth, predictions, blocks, units)
    draws: dict[str, list[NDArray[np.float64]]] = {}
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        drawn = [rng.integers(sample.units, size=sample.units) for _ in range(count)] if sample.units else []
        weights = np.array([np.bincount(row, minlength=sample.units) for row in drawn], np.int64)
        for name, values in _numbers(outcome, sample, weights.reshape(count, sample.units)).items():
            draws.setdefault(name, []).append(values)
    return {name: _ends(np.concatenate(parts), level, name) for name, parts in draws.items() if name in outcome.metrics}


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """What is drawn: U units (images or blocks), with what each adds to the numbers of C classes (1 if pooled)."""

    units: int
    sequence_units: NDArray[np.int32]
    """Units of the predictions that are right or wrong, by falling score, for each class and each threshold in it."""
    sequence_hits: NDArray[np.bool_]
    ends: NDArray[np.int64]
    """``[C * K + 1]``"""
    demanded: NDArray[np.float64]
    """``[U, C]`` truths in the recall denominator of average precision."""
    class_weights: NDArray[np.float64] | None
    """``[U, C]`` what a class weighs in the mean; None: classes with truth weigh the same."""
    point: NDArray[np.float64]
    """``[3, U, C]`` truths, predictions and right ones at the score threshold."""

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        truth: Annotations,
        predictions: Annotations,
        blocks: Blocks | None,
        count: int | None = None,
    ) -> _Sample:
        """Count what each unit holds."""
        verdicts = outcome.verdicts
        units, truth_units, prediction_units = _units(truth, predictions, blocks, count)
        classes = 1 if verdicts.pooled else max(len(truth.classes), 1)
        shape = (units, classes)
        truth_cells = truth_units * classes + (0 if verdicts.pooled else truth.labels)
        labels = np.zeros(len(predictions), np.int64) if verdicts.pooled else predictions.labels
        cells = prediction_units * classes + labels
        demanded = verdicts.recall_denominator()
        row = _operating_row(outcome)
        counted = ~verdicts.ignored[row] & (scores_of(predictions) >= outcome.metrics["score_threshold"])
        point = [
            _table(truth_cells[~verdicts.truth_ignored], shape),
            _table(cells[counted], shape),
            _table(cells[counted & verdicts.hits(row)], shape),
        ]
        weights = None
        if "class_mean" in outcome.settings:  # VisDrone: by the number of images that contain the class
            weights = _table(truth_cells[_first_of_image_and_class(truth, demanded)], shape)
        return cls(
            units,
            *_sequences(verdicts, predictions, prediction_units.astype(np.int32), labels, classes),
            _table(truth_cells[demanded], shape),
            weights,
            np.array(point),
        )


def _table(cells: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Count rows by unit and class ``[U, C]``."""
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _units(
    truth: Annotations, predictions: Annotations, blocks: Blocks | None, count: int | None
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    if blocks is None:
        return len(truth.images), truth.image, predictions.image
    if count is not None:  # numbered already
        return count, blocks[0].astype(np.int64), blocks[1].astype(np.int64)
    names, units = np.unique(np.concatenate(blocks), return_inverse=True)
    return len(names), units[: len(truth)], units[len(truth) :]


def _first_of_image_and_class(truth: Annotations, demanded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return one row per image and class there is."""
    rows = np.flatnonzero(demanded)
    both = truth.image[rows] * max(len(truth.classes), 1) + truth.labels[rows]
    return rows[np.unique(both, return_index=True)[1]]


def _operating_row(outcome: Outcome) -> int:
    return int(np.argmin(np.abs(np.array(outcome.verdicts.thresholds) - outcome.settings["operating_iou"])))


def _sequences(
    verdicts: Verdicts,
    predictions: Annotations,
    units: NDArray[np.int32],
    labels: NDArray[np.int64],
    classes: int,
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
    order = ranking(predictions)
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[order], np.arange(classes + 1))
    unit_parts, hit_parts = [np.zeros(0, np.int32)], [np.zeros(0, bool)]
    for label in range(classes):
        rows = order[starts[label] : starts[label + 1]]
        for row in range(len(verdicts.thresholds)):
            counted = rows[~verdicts.ignored[row][rows]]
            unit_parts.append(units[counted])
            hit_parts.append(verdicts.found[row][counted] >= 0)
    ends = np.cumsum([len(part) for part in unit_parts])
    return np.concatenate(unit_parts), np.concatenate(hit_parts), ends


def _numbers(outcome: Outcome, sample: _Sample, weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return each number ``[R]`` under R draws of weights ``[R, U]``."""
    verdicts, thresholds = outcome.verdicts, np.array(outcome.verdicts.thresholds)
    truths = weights @ sample.demanded
    means: NDArray[np.float64] = (truths > 0).astype(np.float64)
    if sample.class_weights is not None:
        means = weights @ sample.class_weights
    wanted: dict[str, Integral] = {"ap": verdicts.integral, "ap_11point": "11-point", "ap_allpoint": "all-point"}
    numbers = {}
    for name, integral in wanted.items():
        if name in outcome.metrics:
            table = _precisions(sample, weights, truths, integral, len(thresholds))
            numbers[name] = _mean(table.mean(axis=2), means)
            if name == "ap" and len(thresholds) > 1:
                for part, value in (("ap50", 0.5), ("ap75", 0.75)):
                    numbers[part] = _mean(table[:, :, np.argmin(np.abs(thresholds - value))], means)
    objects, predicted, right = (weights @ part for part in sample.point)
    found = objects > 0
    objects, predicted, right = ((part * found).sum(axis=1) for part in (objects, predicted, right))
    defined = objects > 0
    numbers["ap_percent"] = 100 * numbers["ap"]
    numbers["precision"] = _ratio(right, predicted, defined & (predicted > 0))
    numbers["recall"] = _ratio(right, objects, defined)
    numbers["f1"] = _ratio(2 * right, predicted + objects, defined)
    return numbers


def _precisions(
    sample: _Sample, weights: NDArray[np.int64], truths: NDArray[np.float64], integral: Integral, thresholds: int
) -> NDArray[np.float64]:
    """Return average precision ``[R, C, K]``; 0 where there is no truth."""
    table = np.zeros((len(weights), truths.shape[1], thresholds))
    recalls = _RECALLS[integral]

    threads = min(os.cpu_count() or 1, max(len(weights), 1))

    def work(thread: int) -> None:
        part = slice(thread, None, threads)
        average_precisions(
            sample.sequence_units, sample.sequence_hits, sample.ends, weights[part], truths[part], recalls, table[part]
        )

    with ThreadPoolExecutor(threads) as pool:  # the loops release the GIL
        list(pool.map(work, range(threads)))
    return table


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over classes ``[R, C]``; NaN where none has weight."""
    totals = weights.sum(axis=1)
    return _ratio((values * weights).sum(axis=1), totals, totals > 0)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], defined: NDArray[np.bool_]) -> NDArray[np.float64]:
    result = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=defined)
    return result


def _ends(values: NDArray[np.float64], level: float, name: str) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    lower, upper = np.quantile(defined, [0.5 - level / 200, 0.5 + level / 200]).tolist()
    return (round(lower, 2), round(upper, 2)) if name == "ap_percent" else (lower, upper)
