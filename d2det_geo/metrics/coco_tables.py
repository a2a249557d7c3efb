"""What is read from a COCO evaluation: its tables, and how each result was judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCOeval
from numpy.typing import NDArray

from d2det_geo.metrics.coco_index import CocoIndex


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Precision and recall for each of T thresholds, K classes, A area ranges and C caps; -1 where undefined."""

    thresholds: tuple[float, ...]
    ranges: tuple[str, ...]
    """Names of the area ranges, ``all`` first."""
    caps: tuple[int, ...]
    precision: NDArray[np.float64]
    """``[T, 101, K, A, C]``"""
    recall: NDArray[np.float64]
    """``[T, K, A, C]``"""

    def metrics(self, label: int | None = None) -> dict[str, float]:
        """Name the numbers of one class, or of all: AP at the last cap, AR at each."""
        kept = slice(None) if label is None else slice(label, label + 1)
        precision, recall = self.precision[:, :, kept], self.recall[:, kept]
        halves = {"ap50": 0.5, "ap75": 0.75}
        return {
            "ap": _mean(precision[:, :, :, 0, -1]),
            **{
                name: _mean(precision[np.isclose(self.thresholds, value), :, :, 0, -1])
                for name, value in halves.items()
            },
            **{f"ap_{name}": _mean(precision[:, :, :, 1 + row, -1]) for row, name in enumerate(self.ranges[1:])},
            **{f"ar_{cap}": _mean(recall[:, :, 0, row]) for row, cap in enumerate(self.caps)},
            **{f"ar_{name}": _mean(recall[:, :, 1 + row, -1]) for row, name in enumerate(self.ranges[1:])},
        }

    def undefined(self) -> dict[str, float]:
        """Name the numbers of a class that was not judged by itself."""
        return dict.fromkeys(self.metrics(), float("nan"))


def read_verdicts(
    evaluation: COCOeval, classes: int, cap: int, index: CocoIndex, predictions: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Match once more, class by class over all areas, and read what each result took.

    hotcoco hands out its matches as Python lists: one class at a time keeps them small.

    Args:
        evaluation: of ``index``, with its images and thresholds set.
        classes: how many.
        cap: results kept per image and class.
        index: truth and predictions.
        predictions: how many.

    Returns:
        found and ignored ``[T, P]`` as in ``Verdicts`` (rows of the indexed truth), and seen ``[P]``: within the cap.
    """
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [[0.0, 1e10]], ["all"]
    evaluation.params.max_dets = [cap]
    thresholds = len(evaluation.params.iou_thrs)
    found = np.full((thresholds, predictions), -1, np.int32)
    ignored = np.ones((thresholds, predictions), bool)
    for label in range(classes):
        evaluation.params.cat_ids = [label + 1]
        evaluation.evaluate()
        for part in evaluation.eval_imgs:
            if part is not None and part["dtIds"]:
                _read(part, index, found, ignored)
    # An undecided row is ignored everywhere and took nothing; so is none that was seen with all areas allowed.
    seen = ~ignored.all(axis=0) | (found >= 0).any(axis=0)
    return found, ignored, np.asarray(seen)


def _read(part: dict[str, Any], index: CocoIndex, found: NDArray[np.int32], ignored: NDArray[np.bool_]) -> None:
    rows = np.array(part["dtIds"]) - 1
    taken = np.where(np.array(part["dtMatched"], bool), np.array(part["dtMatches"], np.int64), 0)
    found[:, rows] = np.append(-1, index.truth_rows)[taken]
    ignored[:, rows] = np.array(part["dtIgnore"], bool)


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else float("nan")
