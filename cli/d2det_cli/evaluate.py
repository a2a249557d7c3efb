"""`d2det evaluate`: how good a result is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from d2det_cli import options, texts
from d2det_cli.gates import check_gates, parse_gates
from d2det_cli.say import print_json, say
from d2det_cli.tables import scores_table


def evaluate(
    *,
    truth: Annotated[Path, typer.Option(metavar="FILE", help="Vector file of polygons, or COCO JSON.")],
    pred: Annotated[Path, typer.Option(metavar="FILE", help="Vector file of predictions, or COCO results.")],
    protocol: Annotated[
        Literal["geo", "coco"], typer.Option(help="Polygons on the ground, or COCO by pycocotools.")
    ] = "geo",
    iou: Annotated[Literal["segm", "bbox"], typer.Option(help="Compare outlines or boxes.")] = "segm",
    aoi: options.Aoi = None,
    class_map: options.ClassMap = "",
    ignore: options.Ignore = "",
    class_field: options.ClassField = "class",
    score: Annotated[
        float | None, typer.Option(metavar="S", help="Of precision, recall, F1.  [default: where F1 is best]")
    ] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="Exit with 6 below this; may be repeated.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Score predictions against truth: AP, precision, recall, F1.

    Example: d2det evaluate --truth roofs.gpkg --pred buildings.gpkg --fail-under f1=0.7
    """
    gates = parse_gates(fail_under or [])
    mapping, ignored = texts.parse_class_map(class_map), texts.parse_names(ignore)
    from d2det_geo.pipeline.evaluate import evaluate_files

    report = evaluate_files(
        truth,
        pred,
        protocol=protocol,
        iou=iou,
        aoi=aoi,
        class_map=mapping,
        ignore=ignored,
        score=score,
        class_field=class_field,
    )
    for notice in report.notices:
        say(f"notice: {notice}")
    print_json(report.to_json()) if as_json else typer.echo(scores_table(report))
    check_gates(report.metrics, gates)
