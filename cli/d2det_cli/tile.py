"""`d2det tile`: a scene cut into chips, with its labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from d2det_cli import options
from d2det_cli.progress import ProgressMode, progress
from d2det_cli.say import print_json, say


def tile(
    scene: options.Scene,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make.")],
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Vector file of labels, cut along.")] = None,
    chip_size: Annotated[int, typer.Option(metavar="PX", help="Side of a chip, px of the scene.")] = 800,
    overlap: Annotated[int, typer.Option(metavar="PX", help="Shared by neighbouring chips, px of the scene.")] = 200,
    aoi: options.Aoi = None,
    class_field: options.ClassField = "class",
    overwrite: options.Overwrite = False,
    show: options.Progress = ProgressMode.auto,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a scene into GeoTIFF chips, its labels into COCO JSON.

    Example: d2det tile town.tif -o chips --labels roofs.gpkg
    """
    from d2det_geo.pipeline.tile import tile_scene

    with progress(show, "tile", quiet=quiet) as report:
        summary = tile_scene(
            scene,
            out,
            labels=labels,
            chip_size=chip_size,
            overlap=overlap,
            aoi=aoi,
            class_field=class_field,
            overwrite=overwrite,
            progress=report,
        )
    if as_json:
        print_json({**asdict(summary), "out": str(out)})
    if not quiet:
        cut = "" if summary.objects is None else f", {summary.annotations} annotations of {summary.objects} objects"
        repaired = f", {summary.repaired} repaired" if summary.repaired else ""
        skipped = f", {summary.skipped} outside the area skipped" if summary.skipped else ""
        say(f"{out}: {summary.chips} chips{skipped}{cut}{repaired}")
