"""`d2det tile`: a scene, or a whole data set, cut into chips, with its labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from d2det_cli import options, texts, tiling
from d2det_cli.failures import GO_ON
from d2det_cli.progress import ProgressMode


def tile(
    ctx: typer.Context,
    scene: tiling.Source,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make.")],
    chip_size: tiling.ChipSize = None,
    overlap: tiling.Overlap = None,
    labels: tiling.Labels = None,
    aoi: tiling.Aoi = None,
    class_field: tiling.ClassField = None,
    devkit: tiling.DevkitOption = None,
    format: tiling.From = None,
    images: tiling.Images = None,
    class_names: tiling.ClassNames = "",
    devkit_ids: tiling.DevkitIds = False,
    split: tiling.Split = None,
    exact: tiling.Exact = False,
    workers: tiling.Workers = None,
    resume: tiling.Resume = False,
    overwrite: options.Overwrite = False,
    show: options.Progress = ProgressMode.auto,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a scene into GeoTIFF chips, or a data set into PNG chips, and the labels into COCO JSON.

    Examples: d2det tile town.tif -o chips --labels roofs.gpkg;
    d2det tile iSAID -o patches --devkit isaid; d2det tile DOTA -o patches --devkit dota;
    d2det tile gt.json -o chips --from coco --images photos --chip-size 512 --overlap 64
    """
    how = tiling.Printing(show, quiet, as_json)
    if devkit is None and format is None:
        only_sets = {"--images": images, "--class-names": class_names, "--devkit-ids": devkit_ids}
        only_sets |= {"--split": split, "--exact": exact}
        tiling.refuse({**only_sets, "--workers": workers, "--resume": resume}, "--devkit or --from")
        tiling.refuse_set(Path(scene))
        cut = {"labels": labels, "aoi": aoi, "class_field": class_field, "chip_size": chip_size, "overlap": overlap}
        tiling.scene(scene, out, cut, how, overwrite=overwrite)
        return
    tiling.refuse({"--labels": labels, "--aoi": aoi, "--class-field": class_field}, "a single scene")
    ctx.meta[GO_ON] = f"go on with: {texts.resuming(sys.argv)}"
    data = {"format": format, "images": images, "chip_size": chip_size, "overlap": overlap, "devkit_ids": devkit_ids}
    data |= {"devkit": devkit and devkit.value, "class_names": class_names, "split": split, "exact": exact}
    tiling.data_set(Path(scene), out, data, how, overwrite=overwrite, resume=resume, workers=workers)
