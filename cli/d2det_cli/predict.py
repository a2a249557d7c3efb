"""`d2det predict`: a scene in, vector objects out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from d2det_cli import options
from d2det_cli.options import print_json, say
from d2det_cli.progress import ProgressMode, progress


def predict(
    scene: options.Scene,
    *,
    out: options.OutFile,
    model: options.Model = "buildings",
    score: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="S", help="Least score, 0 to 1.  [default: the model's]")
    ] = None,
    aoi: options.Aoi = None,
    device: options.Device = "auto",
    chip_size: options.ChipSize = None,
    overlap: options.Overlap = None,
    batch_size: options.BatchSize = None,
    gsd: options.Gsd = "bundle",
    bands: options.Bands = None,
    nodata: options.Nodata = None,
    tta: options.Tta = "",
    overwrite: options.Overwrite = False,
    show: options.Progress = ProgressMode.auto,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the objects of a scene and write their outlines.

    Example: d2det predict town.tif -o buildings.gpkg --score 0.4
    """
    source: dict[str, Any] = {"gsd": options.parse_gsd(gsd), "bands": options.parse_bands(bands), "nodata": nodata}
    tiling: dict[str, Any] = {"chip_size": chip_size, "overlap": overlap, "batch_size": batch_size, "device": device}
    views = options.parse_tta(tta)
    from d2det_geo.pipeline.predict import predict_to_file

    with progress(show, "predict", quiet=quiet) as report:
        summary = predict_to_file(
            scene, out, model, overwrite=overwrite, score=score, aoi=aoi, progress=report, **source, **tiling, **views
        )
    if not quiet:
        for notice in summary.notices:
            say(f"notice: {notice}")
        say(f"{out}: {summary.objects} objects from {summary.chips} chips in {sum(summary.seconds.values()):.1f} s")
    if verbose:
        say(", ".join(f"{step} {seconds:.2f} s" for step, seconds in summary.seconds.items()))
    if as_json:
        print_json({"out": str(out), **asdict(summary)})
