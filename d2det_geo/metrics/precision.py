"""Precision over recall of predictions in order of their score, and what it adds up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.metrics.outcome import Integral

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision."""

_RECALLS = {"101-point": RECALLS, "11-point": np.linspace(0.0, 1.0, 11)}


def curve(hits: NDArray[np.bool_], truths: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall ``[P]`` and the envelope of precision ``[P]``: the best at this recall or a higher one.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find, at least one.
    """
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    return found / truths, np.maximum.accumulate(precision[::-1])[::-1]


def sampled(hits: NDArray[np.bool_], truths: int, recalls: NDArray[np.float64] = RECALLS) -> NDArray[np.float64]:
    """Read the envelope of precision at given recalls: 0 where no score reaches them, NaN without truths."""
    if truths == 0:
        return np.full(len(recalls), np.nan)
    recall, envelope = curve(hits, truths)
    values: NDArray[np.float64] = np.append(envelope, 0.0)[np.searchsorted(recall, recalls, side="left")]
    return values


def average_precision(hits: NDArray[np.bool_], truths: int, integral: Integral) -> float:
    """Add up precision over recall; NaN without truths.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find.
        integral: at fixed recalls, or ``all-point``: the area under the envelope.
    """
    if truths == 0:
        return float("nan")
    if integral in _RECALLS:
        return float(sampled(hits, truths, _RECALLS[integral]).mean())
    recall, envelope = curve(hits, truths)
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
