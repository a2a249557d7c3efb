"""`d2det demo`: a made-up town with known truth, predicted, scored and drawn."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from d2det_cli import options
from d2det_cli.progress import ProgressMode, progress
from d2det_cli.say import print_json, say
from d2det_cli.tables import demo_table

TRAINED_ON = range(1000, 1012)  # seeds of the towns the packaged model has seen: configs/buildings.yaml


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Which town.")] = 7,
    size: Annotated[int, typer.Option(min=256, max=8192, metavar="PX", help="Side of the scene, at 0.15 m/px.")] = 3000,
    model: options.Model = "buildings",
    device: options.Device = "auto",
    show: options.Progress = ProgressMode.auto,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a town, predict it, score it, draw it.

    Writes scene.tif, truth.geojson, buildings.geojson and preview.png; those of an earlier demo are replaced.
    """
    from d2det_geo.pipeline.demo import run_demo

    with progress(show, "predict", quiet=quiet) as report:
        result = run_demo(out, seed=seed, size=size, model=model, device=device, progress=report)
    if as_json:
        files = {name: str(path) for name, path in result.files.items()}
        print_json({**asdict(result), "files": files})
        return
    if not quiet:
        if seed in TRAINED_ON and result.model == "buildings":
            say(f"notice: the model was trained on town {seed}, so its scores here say little")
        for notice in result.notices:
            say(f"notice: {notice}")
    typer.echo(demo_table(result))
