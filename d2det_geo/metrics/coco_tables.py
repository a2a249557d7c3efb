"""The tables of a COCO evaluation, and the numbers they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else float("nan")
