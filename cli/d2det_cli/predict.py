"""`d2det predict`: scenes in, vector objects out."""

from __future__ import annotations

import sys

import typer

from d2det_cli import options, predicting, texts
from d2det_cli.failures import GO_ON
from d2det_cli.options import OnError
from d2det_cli.progress import ProgressMode


def predict(
    ctx: typer.Context,
    scenes: options.Scenes,
    *,
    out: options.OutFile = None,
    out_dir: options.OutDir = None,
    format: options.Format = None,
    model: options.Model = "buildings",
    score: options.Score = None,
    classes: options.Classes = "",
    as_set: options.AsSet = False,
    images: options.Images = None,
    class_map: options.ModelClassMap = "",
    aoi: options.Aoi = None,
    bbox: options.BBox = None,
    device: options.Device = "auto",
    chip_size: options.ChipSize = None,
    overlap: options.Overlap = None,
    batch_size: options.BatchSize = None,
    max_memory: options.MaxMemory = None,
    gsd: options.Gsd = "bundle",
    bands: options.Bands = None,
    nodata: options.Nodata = None,
    allow_oblique: options.Oblique = False,
    tta: options.Tta = "",
    crs: options.Crs = None,
    simplify: options.Simplify = None,
    regularize: options.Regularize = False,
    min_area: options.MinArea = 0.0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    on_error: options.OnErrorOption = OnError.fail,
    show: options.Progress = ProgressMode.auto,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the objects of scenes and write their outlines, or those of an image set for a protocol to judge.

    Example: d2det predict town.tif -o buildings.gpkg --score 0.4
    """
    if out != "-":
        ctx.meta[GO_ON] = f"go on with: {texts.resuming(sys.argv)}"
    predicting.run(locals())
