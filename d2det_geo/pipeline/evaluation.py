"""What an evaluation yields: the report that is printed, and all that a page of it is drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.outcome import Iou, Outcome

SCHEMA_VERSION = 2

Points: TypeAlias = NDArray[np.float64]
"""``[N, 2]`` x, y."""


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers of an evaluation. Undefined ones are NaN here and null in JSON; ``docs/evaluation.md`` has it all."""

    protocol: str
    iou: Iou
    metrics: Mapping[str, float]
    """``ap``, ``ap50``, ``ap75``, ``precision``, ``recall``, ``f1``, ``score_threshold``; protocols add their own."""
    counts: Mapping[str, int]
    """``truths``, ``truths_ignored``, ``predictions``, ``predictions_ignored``, ``ignore_regions``, ``images``..."""
    per_class: Mapping[str, Mapping[str, float]]
    """The metrics and counts of each class."""
    notices: tuple[str, ...]
    """What a reader of the numbers should know, one sentence each."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What makes the numbers comparable: see ``Outcome.settings``."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """``truth`` and ``predictions``: ``name``, ``format``, ``sha256`` (None of a folder)."""
    intervals: Mapping[str, Any] | None = None
    """``level``, ``unit``, ``metrics`` (name -> lower and upper end) and how they came about; None if not asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps(..., allow_nan=False)`` accepts."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "protocol": self.protocol,
            "iou": self.iou,
            "settings": self.settings,
            "files": self.files,
            "metrics": self.metrics,
            "counts": self.counts,
            "per_class": self.per_class,
            "intervals": self.intervals,
            "notices": self.notices,
        }
        return {name: _plain(value) for name, value in content.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was compared, after class rules, and how each object was judged."""

    truth: Annotations
    """Rows as in ``outcome.verdicts``. Of ``geo``: one image named after the scene or the file of truth; boxes and
    outlines in m of a local equal-area frame, y to the north, or in the pixels of the files where they have no CRS."""
    predictions: Annotations
    """The same images and classes."""
    outcome: Outcome
    images: Path | None = None
    """Folder that the names of images are relative to."""
    scene: Path | None = None
    """Raster behind the objects of ``geo``."""
    to_scene: Callable[[Points], Points] | None = None
    """Of ``geo`` with a scene: from the frame of the objects to px of the scene."""
    places: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=dict)
    """Where errors gather, ``seam`` and ``edge`` -> which truths ``[T]`` and which predictions ``[P]`` lie there, as
    far as the files say how their scene was cut."""
    notices: tuple[str, ...] = ()
    """As in the report."""


def _plain(value: Any) -> Any:  # noqa: PLR0911  (one line per kind of value)
    """Turn numpy's numbers, NaN and tuples into what JSON has."""
    match value:
        case np.generic():
            return _plain(value.item())
        case float() if not math.isfinite(value):
            return None if math.isnan(value) else str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case np.ndarray():
            return _plain(value.tolist())
        case list() | tuple():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return value
