"""What every protocol says besides its own average precision: counts, and one point of the curve per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.metrics.curves import (
    average_precision,
    best_threshold,
    operating_point,
    ranking,
    scores_of,
)
from d2det_geo.metrics.outcome import Integral, Verdicts


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Truth, predictions and how they were judged; what follows from these is computed here and nowhere else."""

    truth: Annotations
    predictions: Annotations
    verdicts: Verdicts
    capped: NDArray[np.bool_]
    """``[P]`` beyond a cap of the protocol; these are ignored."""
    row: int = 0
    """Threshold of ``verdicts`` at which precision, recall and F1 are taken."""
    order: NDArray[np.intp] = field(init=False)
    """``[P]`` rows of the predictions as ``ranking`` sorts them."""

    def __post_init__(self) -> None:
        """Sort once: every number here walks the predictions in the same order."""
        object.__setattr__(self, "order", ranking(self.predictions))

    def counts(self) -> dict[str, int]:
        """Count truth and predictions; those right or wrong, ignored and capped make up all predictions."""
        regions = self.truth.labels == REGION
        ignored = self.verdicts.ignored[self.row] & ~self.capped
        return {
            "images": len(self.truth.images),
            "truths": int(np.count_nonzero(~self.verdicts.truth_ignored & ~regions)),
            "truths_ignored": int(np.count_nonzero(self.verdicts.truth_ignored & ~regions)),
            "predictions": int(np.count_nonzero(~ignored & ~self.capped)),
            "predictions_ignored": int(np.count_nonzero(ignored)),
            "predictions_capped": int(np.count_nonzero(self.capped)),
            "ignore_regions": int(np.count_nonzero(regions)),
        }

    def truths_of(self, label: int) -> int:
        """Count the objects of a class that are to be found."""
        return int(np.count_nonzero((self.truth.labels == label) & ~self.verdicts.truth_ignored))

    def ranked(self, row: int) -> Iterator[NDArray[np.intp]]:
        """Give for each class the predictions that are right or wrong at a threshold, by falling score."""
        order = self.order[~self.verdicts.ignored[row][self.order]]
        labels = self.predictions.labels[order]
        for label in range(len(self.truth.classes)):
            yield order[labels == label]

    def average_precisions(self, integral: Integral) -> NDArray[np.float64]:
        """Return average precision ``[classes, thresholds]``, each class by itself; NaN for those without truth."""
        truths = [self.truths_of(label) for label in range(len(self.truth.classes))]
        table = np.full((len(truths), len(self.verdicts.thresholds)), np.nan)
        for row in range(table.shape[1]):
            hits = self.verdicts.hits(row)
            for label, rows in enumerate(self.ranked(row)):
                table[label, row] = average_precision(hits[rows], truths[label], integral)
        return table

    def pooled_average_precision(self, integral: Integral, images: NDArray[np.bool_] | None = None) -> float:
        """Return average precision at the first threshold, all classes as one, over all or some (``[M]``) images."""
        order = self.order
        counted, wanted = ~self.verdicts.ignored[0][order], ~self.verdicts.truth_ignored
        if images is not None:
            counted &= images[self.predictions.image[order]]
            wanted = wanted & images[self.truth.image]
        return average_precision(self.verdicts.hits()[order[counted]], int(np.count_nonzero(wanted)), integral)

    def operating(self, score: float | None) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return precision, recall, F1 and their score threshold, of all classes together and of each.

        Predictions of classes without truth are in none of the numbers of all classes: such a class has no recall.

        Args:
            score: threshold; None takes the highest at which F1 of all classes together is best.
        """
        scores, hits = scores_of(self.predictions), self.verdicts.hits(self.row)
        truths = [self.truths_of(label) for label in range(len(self.truth.classes))]
        rows = list(self.ranked(self.row))
        if self.verdicts.pooled:
            together = self.order[~self.verdicts.ignored[self.row][self.order]]
        else:
            present = [rows[label] for label, count in enumerate(truths) if count]
            together = np.concatenate([np.zeros(0, np.intp), *present])
            together = together[np.argsort(-scores[together], kind="stable")]
        values, right = scores[together], hits[together]
        threshold = best_threshold(values, right, sum(truths)) if score is None else float(score)
        numbers = _numbers(operating_point(values, right, sum(truths), threshold), threshold)
        per_class = {
            name: {
                **_numbers(self._of_class(label, rows[label], truths[label], threshold), threshold),
                "truths": truths[label],
                "predictions": len(rows[label]),
            }
            for label, name in enumerate(self.truth.classes)
        }
        return numbers, per_class

    def _of_class(
        self, label: int, rows: NDArray[np.intp], truths: int, threshold: float
    ) -> tuple[float, float, float]:
        scores, hits = scores_of(self.predictions), self.verdicts.hits(self.row)
        if not self.verdicts.pooled:
            return operating_point(scores[rows], hits[rows], truths, threshold)
        # Objects of a class may be found by predictions of another, so only their recall is defined.
        found = self.verdicts.found[self.row][hits & (scores >= threshold)]
        right = np.count_nonzero(self.truth.labels[found] == label)
        return float("nan"), right / truths if truths else float("nan"), float("nan")


def _numbers(point: tuple[float, float, float], threshold: float) -> dict[str, float]:
    return {**dict(zip(("precision", "recall", "f1"), point, strict=True)), "score_threshold": threshold}
