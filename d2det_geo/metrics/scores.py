"""What a set of matches is worth: COCO average precision, and precision, recall and F1 at one score.

Undefined numbers are NaN, never zero: a class (or a scene) without truth has no recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_AP75 = 5
_RECALLS = np.linspace(0.0, 1.0, 101)

Labels: TypeAlias = NDArray[Any]
"""One class per object, as index or as name; truth and predictions use the same kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """T truths and P predictions of one frame (image, scene) after matching at 10 IoU thresholds."""

    truth_labels: Labels
    """``[T]``"""
    truth_ignored: NDArray[np.bool_]
    """``[T]`` truths that are neither to be found nor wrong to find."""
    labels: Labels
    """``[P]``"""
    scores: NDArray[np.float64]
    """``[P]``"""
    hits: NDArray[np.bool_]
    """``[10, P]`` the prediction found a truth that counts."""
    ignored: NDArray[np.bool_]
    """``[10, P]`` the prediction is neither right nor wrong."""

    def of(self, labels: Labels) -> Matches:
        """Keep the truths and predictions of some classes."""
        truths, predictions = np.isin(self.truth_labels, labels), np.isin(self.labels, labels)
        return Matches(
            self.truth_labels[truths],
            self.truth_ignored[truths],
            self.labels[predictions],
            self.scores[predictions],
            self.hits[:, predictions],
            self.ignored[:, predictions],
        )

    @property
    def truths(self) -> int:
        """Count the truths that are to be found."""
        return int(np.count_nonzero(~self.truth_ignored))


@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers of one evaluation, or of one class in it. NaN where there is no truth to judge by."""

    ap: float
    """Mean of the average precision over IoU 0.50:0.05:0.95 (101 recall points, all scores)."""
    ap50: float
    ap75: float
    precision: float
    """At IoU 0.5 and ``score_threshold``; NaN also when no prediction reaches the threshold."""
    recall: float
    f1: float
    score_threshold: float
    """Predictions with this score or more enter precision, recall and F1."""
    counts: dict[str, int]
    """``truths``, ``truths_ignored``, ``predictions``, ``predictions_ignored`` (at IoU 0.5, any score)."""
    per_class: dict[str, Scores] = field(default_factory=dict)
    """The same for each class of the truth or the predictions, at the same ``score_threshold``."""

    METRICS = ("ap", "ap50", "ap75", "precision", "recall", "f1", "score_threshold")

    def metrics(self) -> dict[str, float]:
        """Return the numbers of ``METRICS`` by name, NaN included."""
        return {name: getattr(self, name) for name in self.METRICS}


def summarise(parts: Sequence[Matches], score: float | None = None) -> Scores:
    """Turn the matches of one or more frames into numbers.

    ``ap``, ``ap50`` and ``ap75`` are means over the classes that have truth. Precision, recall
    and F1 pool the objects of those classes at one score, so that F1 is the harmonic mean of the
    other two. Predictions of a class without truth are wrong, but only in ``per_class``: there is
    nothing to average them with. Equal scores keep the order of ``parts`` and of the predictions.

    Args:
        parts: one ``Matches`` per frame, at least one.
        score: threshold for precision, recall and F1; None takes the score where pooled F1 is
            best (the highest such score).
    """
    matches = _by_score(parts)
    present = np.unique(matches.truth_labels[~matches.truth_ignored])
    pooled = matches.of(present)
    threshold = _best_threshold(pooled) if score is None else score
    names = np.unique(np.concatenate([matches.truth_labels, matches.labels]))
    per_class = {str(name): _score(matches.of(names[i : i + 1]), threshold) for i, name in enumerate(names)}
    classes = [per_class[str(name)] for name in present]
    precision, recall, f1 = _operating_point(pooled, threshold)
    return Scores(
        ap=_mean([item.ap for item in classes]),
        ap50=_mean([item.ap50 for item in classes]),
        ap75=_mean([item.ap75 for item in classes]),
        precision=precision,
        recall=recall,
        f1=f1,
        score_threshold=threshold,
        counts=_counts(matches),
        per_class=per_class,
    )


def average_precision(hits: NDArray[np.bool_], truths: int) -> float:
    """Average the precision envelope at 101 recalls, as COCO does.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find.

    Returns:
        A number in ``[0, 1]``, NaN without truths.
    """
    if truths == 0:
        return float("nan")
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / truths, _RECALLS, side="left")
    return float(np.append(envelope, 0.0)[reached].mean())


def _by_score(parts: Sequence[Matches]) -> Matches:
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    return Matches(
        np.concatenate([part.truth_labels for part in parts]),
        np.concatenate([part.truth_ignored for part in parts]),
        np.concatenate([part.labels for part in parts])[order],
        scores[order],
        np.concatenate([part.hits for part in parts], axis=1)[:, order],
        np.concatenate([part.ignored for part in parts], axis=1)[:, order],
    )


def _score(matches: Matches, threshold: float) -> Scores:
    pairs = zip(matches.hits, ~matches.ignored, strict=True)
    aps = [average_precision(hits[counted], matches.truths) for hits, counted in pairs]
    precision, recall, f1 = _operating_point(matches, threshold)
    return Scores(
        ap=_mean(aps),
        ap50=aps[0],
        ap75=aps[_AP75],
        precision=precision,
        recall=recall,
        f1=f1,
        score_threshold=threshold,
        counts=_counts(matches),
    )


def _operating_point(matches: Matches, threshold: float) -> tuple[float, float, float]:
    """Return precision, recall and F1 at IoU 0.5."""
    if matches.truths == 0:
        return float("nan"), float("nan"), float("nan")
    kept = ~matches.ignored[0] & (matches.scores >= threshold)
    predictions, right = int(np.count_nonzero(kept)), int(np.count_nonzero(matches.hits[0] & kept))
    precision = right / predictions if predictions else float("nan")
    return precision, right / matches.truths, 2 * right / (predictions + matches.truths)


def _best_threshold(matches: Matches) -> float:
    counted = ~matches.ignored[0]
    scores, hits = matches.scores[counted], matches.hits[0][counted]
    if matches.truths == 0 or len(scores) == 0:
        return float("nan")
    # A threshold lets in all predictions of its score, so only the last of equal scores is a candidate.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    f1 = 2 * np.cumsum(hits)[last] / (last + 1 + matches.truths)
    return float(scores[last[np.argmax(f1)]])


def _counts(matches: Matches) -> dict[str, int]:
    ignored = int(np.count_nonzero(matches.ignored[0]))
    return {
        "truths": matches.truths,
        "truths_ignored": len(matches.truth_ignored) - matches.truths,
        "predictions": len(matches.scores) - ignored,
        "predictions_ignored": ignored,
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
