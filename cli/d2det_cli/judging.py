"""The options of ``d2det evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from d2det_cli import texts
from d2det_geo.errors import UsageError
from d2det_geo.metrics.protocol_names import NAMES

Truth = Annotated[Path, typer.Option(metavar="PATH", help="What is there: a file or folder of the protocol's format.")]
Pred = Annotated[Path, typer.Option(metavar="PATH", help="What was found.")]
Protocol = Annotated[str, typer.Option(metavar="NAME", help=f"How they are compared: {', '.join(NAMES)}.")]
Iou = Annotated[
    str | None,
    typer.Option(metavar="segm|bbox", help="Compare outlines or boxes.  [default: what the protocol does]"),
]
TruthFormat = Annotated[
    str | None, typer.Option(metavar="F", help="Format of the truth.  [default: what the protocol is used with]")
]
PredFormat = Annotated[str | None, typer.Option(metavar="F", help="Format of the predictions.")]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="The images, for formats without names or sizes.")]
Split = Annotated[str | None, typer.Option(metavar="train|test", help="Of UAVDT, where one folder holds both.")]
PredClassField = Annotated[
    str | None,
    typer.Option(
        "--pred-class-field", metavar="NAME", help="The same of --pred.  [default: --class-field if it has that]"
    ),
]
Score = Annotated[
    float | None, typer.Option(metavar="S", help="Of precision, recall, F1.  [default: where F1 is best]")
]
MaxDets = Annotated[
    str,
    typer.Option(metavar="N,...", help="Caps of detections, of COCO-like protocols.  [default: the protocol's]"),
]
DotaVersion = Annotated[str | None, typer.Option(metavar="V", help="Rules of DOTA: 1.0, 1.5 or 2.0.  [default: 1.0]")]
Ci = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Confidence intervals by bootstrap, such as 95."),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(metavar="METRIC=VALUE", help="Exit with 6 below this: ap50=0.6, ship.ap=0.5. May be repeated."),
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a page of curves, errors and pictures (HTML).")
]

GROUND = "Protocol geo"
Aoi = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Judge only this area: polygons.", rich_help_panel=GROUND)
]
IgnoreArea = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Judge nothing in these polygons.", rich_help_panel=GROUND),
]
Scene = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Judge nothing where this raster has no image.", rich_help_panel=GROUND),
]
SizeBins = Annotated[
    str, typer.Option(metavar="M2,...", help="AP by area too: 0,50,200.", rich_help_panel=GROUND, show_default=False)
]
Block = Annotated[
    float | None,
    typer.Option(
        metavar="M", help="Side of the blocks of --ci, m.  [default: a tenth of the extent]", rich_help_panel=GROUND
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(metavar="FILE.gpkg", help="Write what was right, wrong and missed, styled.", rich_help_panel=GROUND),
]
Number = TypeVar("Number", int, float)
_OTHERS = {"truth", "pred", "size_bins", "report", "fail_under", "as_json"}


def chosen(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the arguments of the command into those of ``evaluate_files``, beside the two paths."""
    return {
        **{name: value for name, value in arguments.items() if name not in _OTHERS},
        "class_map": texts.parse_class_map(arguments["class_map"]),
        "ignore": texts.parse_names(arguments["ignore"]),
        "class_names": texts.parse_names(arguments["class_names"]),
        "max_dets": _numbers("--max-dets", arguments["max_dets"], int),
        "sizes": _numbers("--size-bins", arguments["size_bins"], float),
        "page": arguments["report"],
    }


def _numbers(option: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(item) for item in text.split(",") if item.strip())
    except ValueError:
        whole = "whole " if kind is int else ""
        raise UsageError(f"{option} {text}: give {whole}numbers with commas between them") from None
