"""What a prediction can be told, in one place: the options of ``d2det predict`` and of ``predict_scene``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from d2det_geo.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Options of a prediction; one that is None is what the model's bundle or the scene says."""

    score: float | None = None
    """Least score of an object; with masks that is the mask score, on a scale of 0 to 1."""
    classes: Sequence[str] = ()
    """Only objects of these; none means all the model knows."""
    aoi: str | Path | None = None
    """Vector file: only its area is looked at, objects with less than half their area inside are dropped."""
    bbox: tuple[float, float, float, float] | None = None
    """``(xmin, ymin, xmax, ymax)`` in the scene's CRS (px without georeference), as another area of interest."""
    gsd: float | Literal["bundle", "native"] = "bundle"
    """Metres per pixel the network sees: the bundle's, the scene's own, or a number."""
    chip_size: int | None = None
    """Side of what the network sees at once, px at that GSD."""
    overlap: int | None = None
    """Of neighbouring chips, px at that GSD."""
    batch_size: int | None = None
    """Chips at once; None is 1 on a CPU and 8 on a GPU."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a loaded network stays where it is."""
    bands: Sequence[int] | None = None
    """Which bands are red, green and blue, from 1."""
    nodata: float | None = None
    """Value of pixels without image, in addition to the raster's own."""
    oblique: bool = False
    """Place raw drone frames on the ground that look more than 10 degrees away from straight down."""
    scales: Sequence[float] = (1.0,)
    """Test-time augmentation: the network sees each chip enlarged by each of these, and merges."""
    flip: bool = False
    """It sees each of them mirrored too."""
    simplify: float | None = None
    """Outlines may be off by this many metres (px without georeference) to have fewer vertices."""
    regularize: bool = False
    """Outlines become right-angled footprints where that fits."""
    min_area: float = 0.0
    """Least area of an object, m2 (px2 without georeference)."""
    max_memory: int | None = None
    """Bytes the process should not exceed; None reads ahead as is best."""

    def __post_init__(self) -> None:
        """Refuse values that make no sense, naming the option.

        Raises:
            UsageError: such a value.
        """
        _check(self.score is None or 0 <= self.score <= 1, "--score", self.score, "a number from 0 to 1")
        _check(self.batch_size is None or self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        _check(self.min_area >= 0, "--min-area", self.min_area, "an area, 0 or more")
        simple = self.simplify is None or 0 < self.simplify < math.inf
        _check(simple, "--simplify", self.simplify, "a positive number of metres")
        if self.bbox is not None:
            xmin, ymin, xmax, ymax = self.bbox
            sound = all(map(math.isfinite, self.bbox)) and xmin < xmax and ymin < ymax
            _check(sound, "--bbox", ",".join(map(str, self.bbox)), "XMIN,YMIN,XMAX,YMAX with MIN below MAX")

    @classmethod
    def of(cls, options: dict[str, Any]) -> PredictOptions:
        """Make options of keywords.

        Raises:
            UsageError: an unknown one, or a value that makes no sense.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(f"{name}: no such option of a prediction; there are {', '.join(known)}")
        return cls(**options)


def gsd_of(gsd: float | Literal["bundle", "native"], card_gsd_m: float | None) -> float | None:
    """Give the metres per pixel a scene is read at for a model; None means as it is."""
    match gsd:
        case "bundle":
            return card_gsd_m
        case "native":
            return None
    return float(gsd)


def _check(sound: bool, option: str, value: object, wanted: str) -> None:
    if not sound:
        raise UsageError(f"{option} {value}: must be {wanted}")
