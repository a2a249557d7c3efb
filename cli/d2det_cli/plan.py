"""`d2det plan`: what predicting scenes would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from d2det_cli import options, texts
from d2det_cli.say import print_json, say


def plan(
    scenes: options.Scenes,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where predict would write; only looked at.")
    ] = None,
    model: options.Model = "buildings",
    aoi: options.Aoi = None,
    bbox: options.BBox = None,
    device: options.Device = "auto",
    chip_size: options.ChipSize = None,
    overlap: options.Overlap = None,
    batch_size: options.BatchSize = None,
    max_memory: Annotated[str | None, typer.Option(metavar="4GB", help="Warn if more is expected.")] = None,
    gsd: options.Gsd = "bundle",
    bands: options.Bands = None,
    nodata: options.Nodata = None,
    allow_oblique: options.Oblique = False,
    tta: options.Tta = "",
    as_json: options.AsJson = False,
) -> None:
    """Say what predicting scenes would take: chips, coverage, memory, time, and what to look out for.

    Example: d2det plan town.tif --aoi centre.geojson
    """
    source: dict[str, Any] = {"gsd": texts.parse_gsd(gsd), "bands": texts.parse_bands(bands), "nodata": nodata}
    tiling: dict[str, Any] = {"chip_size": chip_size, "overlap": overlap, "batch_size": batch_size, "device": device}
    most = texts.parse_size(max_memory)
    source |= {"oblique": allow_oblique, "bbox": texts.parse_bbox(bbox), **texts.parse_tta(tta)}
    from d2det_cli.plans import plans_text
    from d2det_geo.pipeline.inputs import expand_scenes
    from d2det_geo.pipeline.plan import plan_scenes

    result = plan_scenes(expand_scenes(scenes), model, out=out, aoi=aoi, max_memory=most, **source, **tiling)
    print_json(result.to_json()) if as_json else typer.echo(plans_text(result), nl=bool(result.plans))
    for scene, error in result.failed[: None if result.plans else -1]:
        say(f"error: {error}" if scene in str(error) else f"error: {scene}: {error}")
    result.check()
