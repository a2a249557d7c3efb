"""Precision read at given recalls, for curves that are drawn and averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.metrics.curves import RECALLS_101


def sampled(hits: NDArray[np.bool_], truths: int) -> NDArray[np.float64]:
    """Read the best precision at each of 101 recalls or more, as COCO does.

    Args:
        hits: ``[P]`` right or wrong, by falling score, ignored predictions left out.
        truths: number of objects to find.

    Returns:
        ``[101]``: 0 where no score reaches a recall, NaN without truths.
    """
    if truths == 0:
        return np.full(len(RECALLS_101), np.nan)
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    values: NDArray[np.float64] = envelope[np.searchsorted(found / truths, RECALLS_101, side="left")]
    return values
