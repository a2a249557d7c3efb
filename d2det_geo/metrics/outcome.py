"""What a protocol returns: its numbers, what they stand on, and how each object was judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Iou: TypeAlias = Literal["bbox", "segm"]
Integral: TypeAlias = Literal["101-point", "all-point", "11-point"]


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """How T truths and P predictions were judged at K IoU thresholds, row by row of the annotations compared.

    Curves, error breakdowns, confusion and bootstraps are made from this, so they agree with the numbers.
    """

    thresholds: tuple[float, ...]
    """``K`` IoU thresholds."""
    found: NDArray[np.int32]
    """``[K, P]`` row of the truth a prediction took; -1 where it took none. Rows of ``Annotations`` given to the
    protocol, as are all below."""
    ignored: NDArray[np.bool_]
    """``[K, P]`` the prediction is neither right nor wrong."""
    truth_ignored: NDArray[np.bool_]
    """``[T]`` the truth is not to be found."""
    integral: Integral
    """How average precision adds up."""
    pooled: bool = False
    """All classes were judged as one; otherwise numbers are means over classes."""
    demanded: NDArray[np.bool_] | None = None
    """``[T]`` truths in the recall denominator of average precision; None: those not ignored, as everywhere but in
    VisDrone."""

    capped: NDArray[np.bool_] | None = None
    """``[P]`` predictions beyond a cap, which are ``ignored`` too; None: none is."""
    images: NDArray[np.bool_] | None = None
    """``[M]`` images that were judged; None: all."""

    def recall_denominator(self) -> NDArray[np.bool_]:
        """Say ``[T]`` which truths average precision counts as to be found."""
        return ~self.truth_ignored if self.demanded is None else self.demanded

    def hits(self, row: int = 0) -> NDArray[np.bool_]:
        """Say ``[P]`` which predictions are right at a threshold."""
        right: NDArray[np.bool_] = (self.found[row] >= 0) & ~self.ignored[row]
        return right


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of a protocol. Undefined numbers are NaN, never zero."""

    protocol: str
    metrics: Mapping[str, float]
    """Name -> number; average precision as a share of 1. ``ap``, ``ap50`` and the like, and at IoU
    ``operating_iou`` of the settings ``precision``, ``recall``, ``f1`` and their ``score_threshold``."""
    per_class: Mapping[str, Mapping[str, float]]
    """The same for each class, with ``truths`` and ``predictions``."""
    counts: Mapping[str, int]
    """``images``, ``truths``, ``truths_ignored``, ``predictions``, ``predictions_ignored``, ``predictions_capped``,
    ``ignore_regions``."""
    settings: Mapping[str, Any]
    """What makes the numbers comparable: thresholds, caps, area ranges, ignore rule, matching, integral."""
    verdicts: Verdicts
    notices: tuple[str, ...] = field(default=())
    """What a reader of the numbers should know, one sentence each."""
