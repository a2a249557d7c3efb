"""`d2det plan`: what predicting scenes would take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from d2det_cli import options
from d2det_geo.errors import UsageError

_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12}


def plan(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help="Rasters of any size, or URLs.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where predict would write; only looked at.")
    ] = None,
    model: options.Model = "buildings",
    aoi: options.Aoi = None,
    device: options.Device = "auto",
    chip_size: options.ChipSize = None,
    overlap: options.Overlap = None,
    batch_size: options.BatchSize = None,
    max_memory: Annotated[str | None, typer.Option(metavar="4GB", help="Warn if more is expected.")] = None,
    gsd: options.Gsd = "bundle",
    bands: options.Bands = None,
    nodata: options.Nodata = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what predicting scenes would take: chips, coverage, memory, time, and what to look out for.

    Example: d2det plan town.tif --aoi centre.geojson
    """
    source: dict[str, Any] = {"gsd": options.parse_gsd(gsd), "bands": options.parse_bands(bands), "nodata": nodata}
    tiling: dict[str, Any] = {"chip_size": chip_size, "overlap": overlap, "batch_size": batch_size, "device": device}
    most = _bytes(max_memory)
    from d2det_cli.plans import plans_text
    from d2det_geo.pipeline.plan import plan_scenes

    result = plan_scenes(scenes, model, out=out, aoi=aoi, max_memory=most, **source, **tiling)
    options.print_json(result.to_json()) if as_json else typer.echo(plans_text(result), nl=bool(result.plans))
    for scene, error in result.failed[: None if result.plans else -1]:
        options.say(f"error: {error}" if scene in str(error) else f"error: {scene}: {error}")
    result.check()


def _bytes(text: str | None) -> int | None:
    found = re.fullmatch(r"([\d.]+)([MGT])B", text.upper()) if text else None
    if text and found is None:
        raise UsageError(f"--max-memory {text}: give a size such as 4GB or 800MB")
    return int(float(found[1]) * _UNITS[found[2]]) if found else None
