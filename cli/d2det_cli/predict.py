"""`d2det predict`: scenes in, vector objects out."""

from __future__ import annotations

import sys
from typing import Any

import typer

from d2det_cli import options, texts
from d2det_cli.failures import GO_ON
from d2det_cli.options import OnError
from d2det_cli.progress import ProgressMode
from d2det_geo.errors import UsageError


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
    from d2det_cli.predictions import Talk, predict_into
    from d2det_cli.sets import check_format, is_set, predict_images

    check_format(format)
    if out != "-":
        ctx.meta[GO_ON] = f"go on with: {texts.resuming(sys.argv)}"
    what: dict[str, Any] = {"score": score, "classes": texts.parse_names(classes), "min_area": min_area, "aoi": aoi}
    what |= {"gsd": texts.parse_gsd(gsd), "bands": texts.parse_bands(bands), "nodata": nodata, "oblique": allow_oblique}
    what |= {"chip_size": chip_size, "overlap": overlap, "batch_size": batch_size, "device": device}
    what |= {"simplify": simplify, "regularize": regularize, "max_memory": texts.parse_size(max_memory)}
    what |= {"bbox": texts.parse_bbox(bbox), **texts.parse_tta(tta)}
    where = {"format": format, "crs": crs, "overwrite": overwrite, "resume": resume}
    talk, about = Talk(show, verbose, quiet, as_json), {"images": images, "class_map": texts.parse_class_map(class_map)}
    if is_set(scenes, format, out, as_set):
        predict_images(scenes, out, out_dir, model, talk, where, about | {"on_error": str(on_error)}, what)
    elif any(about.values()):
        raise UsageError("--images and --class-map belong to an image set; give a COCO JSON file, or --as-set")
    else:
        predict_into(scenes, out, out_dir, model, on_error, talk, where, what)
