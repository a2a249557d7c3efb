"""The options several commands share, each defined once, and how their text is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from d2det_cli.progress import ProgressMode
from d2det_geo.errors import UsageError

LEAST_SCALE, MOST_SCALE = 0.1, 8.0  # of --tta

# What a scene is and how it is cut
Scene = Annotated[str, typer.Argument(metavar="SCENE", help="A raster of any size: GeoTIFF, VRT, JPEG, PNG, URL.")]
Bands = Annotated[str | None, typer.Option(metavar="R,G,B", help="Bands to use, from 1.  [default: the scene's RGB]")]
Gsd = Annotated[
    str, typer.Option(metavar="bundle|native|M", help="Resample to the model's GSD, not at all, or to M m/px.")
]
Nodata = Annotated[float | None, typer.Option(metavar="V", help="Value of pixels without image, beside the scene's.")]
Aoi = Annotated[Path | None, typer.Option(metavar="FILE", help="Only this area: a vector file of polygons.")]
ChipSize = Annotated[int | None, typer.Option(metavar="PX", help="Side of a chip.  [default: the model's]")]
Overlap = Annotated[
    int | None, typer.Option(metavar="PX", help="Shared by neighbouring chips.  [default: the model's]")
]

# The network and where it runs
Model = Annotated[str, typer.Option(metavar="NAME|PATH", help="A packaged model, or a bundle you trained.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]", help="auto takes a GPU if there is one.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Chips at once.  [default: 1 on a CPU, 8 on a GPU]")
]
Tta = Annotated[
    str,
    typer.Option(
        metavar="S,...,flip", help="See each chip at these scales, and mirrored, and merge.", show_default=False
    ),
]

# Classes
ClassField = Annotated[str, typer.Option(metavar="NAME", help="Attribute that holds the class.")]
ClassMap = Annotated[
    str,
    typer.Option(metavar="A=B,...", help="Rename classes; an empty name drops: car=vehicle,tree=", show_default=False),
]
Ignore = Annotated[str, typer.Option(metavar="A,B", help="Classes that mean ignore region.", show_default=False)]

# What is written, and what is said
OutFile = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Output: .geojson, .gpkg or .shp.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Progress = Annotated[
    ProgressMode, typer.Option("--progress", metavar="auto|bar|json|none", help="How to show it, on standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say where the time went.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]


def say(text: str) -> None:
    """Print a message for the user on standard error; standard output carries data only."""
    typer.echo(f"d2det: {text}", err=True)


def print_json(document: Any) -> None:
    """Print a report as one JSON document on standard output; NaN, which JSON does not know, becomes null."""
    typer.echo(json.dumps(_without_nan(document), indent=2, ensure_ascii=False, allow_nan=False))


def _without_nan(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_nan(item) for item in value]
        case float() if math.isnan(value):
            return None
    return value


def parse_gsd(text: str) -> float | Literal["bundle", "native"]:
    """Read ``--gsd``."""
    match text:
        case "bundle" | "native":
            return text
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--gsd {text}: give bundle, native or a number of m/px") from None


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Read ``--bands``, such as ``4,3,2``."""
    try:
        return None if text is None else tuple(int(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}: give three numbers, such as 4,3,2") from None


def parse_tta(text: str) -> dict[str, Any]:
    """Read ``--tta``, such as ``0.8,1,1.25,flip``, as the arguments ``scales`` and ``flip`` of a prediction."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        scales = tuple(float(word) for word in words if word != "flip")
    except ValueError:
        scales = (0.0,)
    if not all(LEAST_SCALE <= scale <= MOST_SCALE for scale in scales):
        raise UsageError(
            f"--tta {text}: give scales from {LEAST_SCALE:g} to {MOST_SCALE:g} and flip, such as 0.8,1,1.25,flip"
        )
    return {"scales": scales or (1.0,), "flip": "flip" in words}


def parse_class_map(text: str) -> dict[str, str]:
    """Read ``--class-map`` as class in the data -> class of the model; an empty name drops the class."""
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    for name, equals, _ in pairs:
        if not (name.strip() and equals):
            raise UsageError(f"--class-map {text}: {name!r} is not A=B; example: car=vehicle,tree=")
    return {name.strip(): target.strip() for name, _, target in pairs}


def parse_names(text: str) -> tuple[str, ...]:
    """Read a list such as ``a,b``."""
    return tuple(item.strip() for item in text.split(",") if item.strip())
