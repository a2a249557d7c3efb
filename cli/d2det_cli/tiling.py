"""The options of `d2det tile`, and the two things it does: a scene, or a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from d2det_cli.progress import ProgressMode, progress
from d2det_cli.say import print_json, say
from d2det_cli.texts import parse_names
from d2det_geo.errors import UsageError


class Devkit(StrEnum):
    """Whose tools to follow."""

    isaid = "isaid"
    dota = "dota"


# What only one of the two takes begins with its name.
Source = Annotated[str, typer.Argument(metavar="SCENE|SET", help="A raster of any size; or a data set.")]
ChipSize = Annotated[
    int | None, typer.Option(metavar="PX", help="Side of a chip.  [default: 800; --devkit dota: 1024]")
]
Overlap = Annotated[int | None, typer.Option(metavar="PX", help="Shared by neighbouring chips.  [default: 200]")]
Labels = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="SCENE: vector file of labels, cut along."),
]
Aoi = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="SCENE: only this area: a vector file of polygons."),
]
ClassField = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="SCENE: attribute of the labels that holds the class.  [default: class]"),
]
DevkitOption = Annotated[
    Devkit | None,
    typer.Option(
        metavar="isaid|dota",
        help="SET: a folder of iSAID or DOTA, or one split of it: windows, names and rules of its own tools.",
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="FORMAT", help="SET: truth of this format: coco, dota, uavdt, ..."),
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="SET: folder of the images, for --from.")]
ClassNames = Annotated[
    str,
    typer.Option(metavar="A,B", help="SET: for formats that know numbers only.", show_default=False),
]
DevkitIds = Annotated[
    bool,
    typer.Option(
        "--devkit-ids",
        help="SET: number iSAID's annotations as its devkit does, from 0, which evaluators get wrong.",
    ),
]
Split = Annotated[
    Literal["train", "test"] | None,
    typer.Option(help="SET: part of UAVDT, for --from uavdt where one folder holds both."),
]
Exact = Annotated[bool, typer.Option("--exact", help="SET: masks as they are, for --from isaid-png.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="SET: images cut at once.  [default: the processors]"),
]
Resume = Annotated[bool, typer.Option("--resume", help="SET: go on with an interrupted run.")]


@dataclass(frozen=True, slots=True)
class Printing:
    """How to report."""

    show: ProgressMode
    quiet: bool
    as_json: bool


def refuse(options: Mapping[str, Any], belongs_to: str) -> None:
    """Refuse options that do nothing in this kind of tiling.

    Raises:
        UsageError: names the first that was given.
    """
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} goes with {belongs_to}; leave it out")


def refuse_set(path: Path) -> None:
    """Refuse what is a data set and no scene, as long as nothing says how to read it.

    Raises:
        UsageError: names the options that do.
    """
    if path.is_dir() or path.suffix.lower() in {".json", ".txt", ".xml", ".yaml", ".yml"}:
        raise UsageError(
            f"{path}: is no scene; of a data set, say how to read it: --from FORMAT, or --devkit isaid|dota"
        )


def scene(path: str, out: Path, cut: Mapping[str, Any], how: Printing, *, overwrite: bool) -> None:
    """Cut a single scene; ``cut`` holds its options, None where the default is wanted."""
    from d2det_geo.pipeline.tile import tile_scene

    given = {name: value for name, value in cut.items() if value is not None}
    with progress(how.show, "tile", quiet=how.quiet) as report:
        summary = tile_scene(path, out, **given, overwrite=overwrite, progress=report)
    if how.as_json:
        print_json({**asdict(summary), "out": str(out)})
    if not how.quiet:
        cut_up = "" if summary.objects is None else f", {summary.annotations} annotations of {summary.objects} objects"
        repaired = f", {summary.repaired} repaired" if summary.repaired else ""
        skipped = f", {summary.skipped} outside the area skipped" if summary.skipped else ""
        say(f"{out}: {summary.chips} chips{skipped}{cut_up}{repaired}")


def data_set(
    source: Path,
    out: Path,
    data: dict[str, Any],
    how: Printing,
    *,
    overwrite: bool,
    resume: bool,
    workers: int | None,
) -> None:
    """Cut a data set; ``data`` holds the fields of ``SetToTile``."""
    from d2det_geo.pipeline.tile_set import SetToTile, tile_set

    target = SetToTile(source, **{**data, "class_names": parse_names(data["class_names"])})
    with progress(how.show, "tile", quiet=how.quiet) as report:
        summary = tile_set(target, out, workers=workers, overwrite=overwrite, resume=resume, progress=report)
    if how.as_json:
        print_json({**asdict(summary), "out": str(out)})
    if not how.quiet:
        for notice in summary.notices:
            say(notice)
        lost = ", ".join(f"{count} with {reason}" for reason, count in summary.left_out.items())
        left_out = f" (left out: {lost})" if lost else ""
        say(f"{out}: {summary.chips} chips of {summary.scenes} images, {summary.annotations} annotations{left_out}")
