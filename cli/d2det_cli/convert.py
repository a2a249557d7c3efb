"""`d2det convert`: annotations from one format to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from d2det_cli import options, texts
from d2det_cli.say import print_json, say

_FORMATS = "coco, dota, uavdt, visdrone, yolo, voc, vector, isaid ..."


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File or folder of annotations.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to make.")],
    *,
    from_: Annotated[str, typer.Option("--from", metavar="F", help=f"Format of IN: {_FORMATS}")],
    to: Annotated[str, typer.Option(metavar="F", help="Format of OUT.")],
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images, for what IN does not say.")] = None,
    results: Annotated[bool, typer.Option("--results", help="IN holds detections, not truth.")] = False,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Truth the detections belong to.")] = None,
    truth_format: Annotated[str | None, typer.Option(metavar="F", help="Its format.  [default: that of IN]")] = None,
    classes: Annotated[str, typer.Option(metavar="A,B", help="Names of numbered classes.", show_default=False)] = "",
    class_map: options.ClassMap = "",
    class_field: options.ClassField = "class",
    raster: Annotated[Path | None, typer.Option(metavar="FILE", help="The scene of a vector file.")] = None,
    split: Annotated[
        Literal["train", "test"] | None, typer.Option(help="Of UAVDT, where one folder holds both.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="iSAID maps: masks as they are.")] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Convert annotations between formats; say what the other cannot hold.

    Example: d2det convert labelTxt truth.json --from dota --to coco --images images
    """
    from d2det_geo.data.formats.reading import Reading
    from d2det_geo.errors import UsageError
    from d2det_geo.pipeline.convert import TruthFile, convert_file

    if results != (truth is not None):
        raise UsageError("--results and --truth go together: detections belong to the images of a truth")
    summary = convert_file(
        source,
        out,
        formats=(from_, to),
        reading=Reading(images, texts.parse_names(classes), class_field, raster, exact, split),
        truth=None if truth is None else TruthFile(truth, truth_format or from_),
        class_map=texts.parse_class_map(class_map),
        overwrite=overwrite,
    )
    for notice in summary.notices:
        say(f"notice: {notice}")
    if as_json:
        print_json({**asdict(summary), "out": str(out)})
    if not quiet:
        ignored = f" ({summary.ignored} ignored)" if summary.ignored else ""
        found = f"{summary.images} images, {summary.objects} objects{ignored}, {summary.regions} regions to ignore"
        say(f"{out}: {found}, {len(summary.classes)} classes")
