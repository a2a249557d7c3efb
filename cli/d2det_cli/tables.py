"""Reports as plain text: columns that line up, readable in a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2det_geo.pipeline.demo import DemoReport
    from d2det_geo.pipeline.selftest.errors import Errors
    from d2det_geo.pipeline.selftest.geo import GeoCheck

SCORES = ("ap", "ap50", "ap75", "precision", "recall", "f1")


def table(rows: Sequence[Sequence[str]], right: int | None = None) -> str:
    """Align rows in columns; the columns from ``right`` on hold numbers and end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = len(widths) if right is None else right
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < right else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def number(value: float) -> str:
    """Show a score; one that is not defined is a dash."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def demo_table(demo: DemoReport) -> str:
    """Show what the demo did, how well, how long it took, and where the files are."""
    rows = [
        ("town", f"seed {demo.seed}, {demo.truths} buildings"),
        ("model", f"{demo.model} on {demo.device}"),
        ("found", f"{demo.objects} buildings"),
        *((key, number(demo.metrics[key])) for key in SCORES),
        ("score", f"{number(demo.metrics['score_threshold'])} where f1 is best"),
        ("time", ", ".join(f"{step} {seconds:.1f} s" for step, seconds in demo.seconds.items())),
        *((name, str(path)) for name, path in demo.files.items()),
    ]
    return table(rows)


def geo_table(check: GeoCheck) -> str:
    """Show a check of places: one row for each file and kind of target."""
    head = ["gsd", "file", "where", "targets", "lost", "doubled", "bias x", "bias y", "rms", "max px", "max cm"]
    rows = [head]
    for run in check.runs:
        parts = {"all": run.comparison.all, **run.comparison.by_kind}
        rows += [[run.gsd, run.format[1:], where, *_places_row(errors)] for where, errors in parts.items()]
    place = f"{check.scene}: {check.width} x {check.height} px, {check.crs or 'no CRS'}"
    return f"{table(rows, right=3)}\n{place}; errors in px of the scene"


def _places_row(errors: Errors) -> list[str]:
    numbers = (errors.bias_x_px, errors.bias_y_px, errors.rms_px, errors.max_px)
    centimetres = math.nan if errors.max_cm is None else errors.max_cm
    counts = (errors.targets, errors.lost, errors.doubled)
    return [*map(str, counts), *map(number, numbers), "-" if math.isnan(centimetres) else f"{centimetres:.2f}"]
