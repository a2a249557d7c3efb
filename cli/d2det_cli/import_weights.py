"""`d2det import-weights`: a checkpoint of the D2Det authors in, a model bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from d2det_cli import options
from d2det_cli.say import print_json, say


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(metavar="OFFICIAL.pth", help="A checkpoint of the authors' code.")],
    *,
    arch: Annotated[
        Literal["r50", "r101", "r101-dcn", "r101-inst"],
        typer.Option(help="The authors' configuration: detection (with deformable stages), or instances."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="BUNDLE", help="Bundle to write: .safetensors.")],
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn a COCO checkpoint of the D2Det authors into a bundle.

    The bundle gives the authors' results, with their thresholds and their way of counting pixels. Nothing in the
    checkpoint is run. Example: d2det import-weights D2Det_r50.pth --arch r50 -o coco_r50.safetensors
    """
    from d2det_geo.pipeline.import_weights import import_weights as run

    summary = run(checkpoint, arch, out, overwrite=overwrite)
    if not quiet:
        say(f"{out}: {summary.tensors} tensors of D2Det {arch}")
    if as_json:
        print_json({"out": str(out), "arch": summary.arch, "tensors": summary.tensors})
