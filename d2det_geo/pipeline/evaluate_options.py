"""What an evaluation can be told, in one place: the options of ``d2det evaluate`` and of ``evaluate_files``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from d2det_geo.data.formats.registry import check_merging
from d2det_geo.errors import UsageError
from d2det_geo.metrics.dota import Version
from d2det_geo.metrics.outcome import Iou
from d2det_geo.metrics.protocols import PROTOCOLS

GEO = "geo"
FORMATS_OF = {
    "coco": ("coco", "coco"),
    "dota-task1": ("dota", "dota-task1"),
    "dota-task2": ("dota", "dota-task2"),
    "geo": ("vector", "vector"),
    "isaid": ("isaid", "isaid"),
    "uavdt": ("uavdt", "uavdt"),
    "uavdt-coco1": ("uavdt", "uavdt"),
    "uavdt-coco3": ("uavdt", "uavdt"),
    "uavdt-voc07": ("uavdt", "uavdt"),
    "visdrone": ("visdrone", "visdrone"),
    "voc": ("voc", "coco"),
}
"""Protocol -> formats of truth and predictions unless told."""
IOUS_OF: Mapping[str, tuple[Iou, ...]] = {GEO: ("segm", "bbox"), **{name: p.ious for name, p in PROTOCOLS.items()}}
"""Protocol -> what its objects can be compared by; the first is the default."""
_READ_BY = {
    "class_names": frozenset({"dota", "vector", "voc", "yolo"}),
    "class_field": frozenset({"vector"}),
    "scene": frozenset({"vector"}),
    "split": frozenset({"uavdt"}),
}
"""Option -> formats that read it; any other format would ignore it."""
_GROUND = ("aoi", "ignore_area", "sizes", "block", "errors")
_SETS = ("images", "split", "class_names")
_OPTIONS = {"sizes": "--size-bins", "max_dets": "--max-dets", "version": "--dota-version"}  # the others are as fields


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Options of an evaluation."""

    protocol: str = GEO
    """How the two are compared."""
    iou: Iou | None = None
    """``segm`` compares outlines or masks, ``bbox`` boxes (``geo``: north-up boxes on the ground); None is what the
    protocol compares first."""
    score: float | None = None
    """Threshold for precision, recall and F1; None takes the score of the best F1."""
    class_map: Mapping[str, str] = field(default_factory=dict)
    """Class in the data -> class of the evaluation; an empty name drops the objects."""
    ignore: Sequence[str] = ()
    """Classes of the data that mark ignore regions."""
    truth_format: str | None = None
    pred_format: str | None = None
    images: Path | None = None
    """Folder of the images, for formats that lack their names or sizes."""
    class_names: Sequence[str] = ()
    """Names of the classes, for formats that number them."""
    split: Literal["train", "test"] | None = None
    """Of UAVDT, where one folder holds both; None is all there is."""
    merge_patches: bool = False
    """Detections of DOTA's patches: bring them to the whole images, and merge what overlaps there."""
    max_dets: Sequence[int] = ()
    """Caps of detections, ascending; none means the protocol's own."""
    dota_version: str | None = None
    """Of the DOTA scripts, 1.0, 1.5 or 2.0: from 1.5 on they count difficult objects."""
    ci: float | None = None
    """Percent of confidence intervals by bootstrap; None computes none."""
    class_field: str = "class"
    """Attribute of a vector file that holds the class. Predictions without it use ``class``."""
    pred_class_field: str | None = None
    """That of the predictions, where it has another name."""
    aoi: Path | None = None
    """Vector file; objects with less than half their area inside are ignored. ``geo`` only, as are all below."""
    ignore_area: Path | None = None
    """Vector file; objects with half their area or more inside are ignored."""
    scene: Path | None = None
    """Raster; objects with less than half their area on its image are ignored."""
    sizes: Sequence[float] = ()
    """Bounds of size bins, m2, ascending; the last bin has no end."""
    block: float | None = None
    """Side of the square blocks of ground that the bootstrap draws, m; None is a tenth of the extent."""
    errors: Path | None = None
    """GPKG to write of all that was right, wrong, missed and ignored."""
    page: Path | None = None
    """HTML page to write."""
    overwrite: bool = False
    """Replace what is at ``errors`` and ``page``."""

    def __post_init__(self) -> None:
        """Refuse values that make no sense together, naming the option.

        Raises:
            UsageError: such a value.
        """
        if self.protocol not in FORMATS_OF:
            raise UsageError(f"--protocol {self.protocol}: is unknown; choose one of {', '.join(FORMATS_OF)}")
        ious = IOUS_OF[self.protocol]
        if self.iou is not None and self.iou not in ious:
            raise UsageError(f"--iou {self.iou}: protocol {self.protocol} compares by {' or '.join(ious)}")
        if self.score is not None and not math.isfinite(self.score):
            raise UsageError(f"--score {self.score}: give a finite number")
        if self.ci is not None and not 0 < self.ci < 100:
            raise UsageError(f"--ci {self.ci}: give a percentage between 0 and 100, such as 95")
        if self.split not in (None, "train", "test"):
            raise UsageError(f"--split {self.split}: UAVDT has the splits train and test")
        if self.merge_patches:
            check_merging(self.formats[1])
        if self.pred_class_field is not None and self.formats[1] != "vector":
            raise UsageError(
                "--pred-class-field names an attribute of a vector file, which --pred is not; leave it out"
            )
        if self.page is not None and self.page.suffix.lower() not in {".html", ".htm"}:
            raise UsageError(f"--report {self.page}: the page is HTML; call it {self.page.stem}.html")
        self._check_ground()
        self._check_read()
        self._check_caps()

    @classmethod
    def of(cls, options: dict[str, Any]) -> EvaluateOptions:
        """Make options of keywords; those that are None are left to their defaults.

        Raises:
            UsageError: an unknown one, or a value that makes no sense.
        """
        known = [item.name for item in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(f"{name}: no such option of an evaluation; there are {', '.join(known)}")
        return cls(**{name: value for name, value in options.items() if value is not None})

    @property
    def compared_by(self) -> Iou:
        """What objects are compared by."""
        return self.iou or IOUS_OF[self.protocol][0]

    @property
    def formats(self) -> tuple[str, str]:
        """Of truth and of predictions."""
        truth, pred = FORMATS_OF[self.protocol]
        return self.truth_format or truth, self.pred_format or pred

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Size bins by name: ``0-50``, and ``200-`` of the last."""
        ends = [*self.sizes[1:], math.inf]
        return {
            f"{low:g}-" if high == math.inf else f"{low:g}-{high:g}": (low, high)
            for low, high in zip(self.sizes, ends, strict=False)
        }

    @property
    def extra(self) -> dict[str, Any]:
        """Keywords of the protocol."""
        wanted = {"max_dets": tuple(self.max_dets) or None, "version": self.dota_version}
        return {name: value for name, value in wanted.items() if value is not None}

    def _check_ground(self) -> None:
        given = self._given(_GROUND)
        if self.protocol != GEO and given:
            raise UsageError(f"{given[0]} needs protocol geo: the images of a set carry no ground coordinates")
        if self.protocol == GEO and self.formats != FORMATS_OF[GEO]:
            raise UsageError("protocol geo compares vector files; leave out --truth-format and --pred-format")
        low = [*self.sizes]
        if not all(math.isfinite(value) and value >= 0 for value in low) or low != sorted(set(low)):
            raise UsageError(f"--size-bins {','.join(map(str, low))}: give areas in m2 that rise, such as 0,50,200")
        if self.block is not None and not 0 < self.block < math.inf:
            raise UsageError(f"--block {self.block}: give a positive number of metres")

    def _check_read(self) -> None:
        """Refuse what neither the protocol nor the formats read."""
        given = self._given(_SETS)
        if self.protocol == GEO and given:
            raise UsageError(f"{given[0]} is for image sets: protocol geo does not read it; leave it out")
        for name, formats in _READ_BY.items():
            if self.protocol != GEO and self._given((name,)) and not formats & {*self.formats}:
                known, read = ", ".join(sorted(formats)), " and ".join(dict.fromkeys(self.formats))
                raise UsageError(f"{_option(name)} is for files of format {known}, not of {read}; leave it out")

    def _given(self, names: Sequence[str]) -> list[str]:
        """List the options among fields that are not what they are unless told."""
        return [_option(name) for name in names if getattr(self, name) not in (None, (), [], _DEFAULTS.get(name))]

    def _check_caps(self) -> None:
        caps = [*self.max_dets]
        if any(not isinstance(cap, int) or cap < 1 for cap in caps) or caps != sorted(set(caps)):
            raise UsageError(f"--max-dets {','.join(map(str, caps))}: give rising numbers such as 1,10,500")
        known = () if self.protocol == GEO else PROTOCOLS[self.protocol].options
        for name in self.extra:
            if name not in known:
                raise UsageError(f"{_option(name)}: protocol {self.protocol} has no such setting; leave it out")
        if self.dota_version not in (None, *get_args(Version)):
            raise UsageError(f"--dota-version {self.dota_version}: choose one of {', '.join(get_args(Version))}")


def _option(name: str) -> str:
    """Name the option of the command that sets a field."""
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


_DEFAULTS = {item.name: item.default for item in fields(EvaluateOptions)}
