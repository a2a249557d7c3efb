"""The scores of an evaluation: columns that line up in a log, a table on a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from d2det_cli.tables import SCORES, number, table

if TYPE_CHECKING:
    from d2det_geo.pipeline.evaluation import Report

_COUNTS = ("truths", "predictions")
_ENDLESS = 10_000  # columns of text


def print_scores(report: Report) -> None:
    """Print an evaluation on standard output, as a table for eyes where that is a terminal wide enough."""
    if not (sys.stdout.isatty() and _drawn(report)):
        typer.echo(scores_text(report))


def _drawn(report: Report) -> bool:
    """Draw a table if it fits on the terminal; tell whether it did."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table

    console, (head, *rows) = Console(), _rows(report)
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(head):
        shown.add_column(name, justify="right" if index else "left", no_wrap=True)
    for index, row in enumerate(rows):
        shown.add_row(escape(row[0]), *row[1:], style="bold" if index == 0 else None)
    room = Console(width=_ENDLESS)
    if Measurement.get(room, room.options, shown).maximum > console.width:
        return False
    console.print(shown)
    console.print(_caption(report), highlight=False, style="dim")
    return True


def scores_text(report: Report) -> str:
    """Lay out an evaluation: one row for everything, one for each class if there are several."""
    return f"{table(_rows(report), right=1)}\n{_caption(report)}"


def _rows(report: Report) -> list[list[str]]:
    names = _columns(report)
    rows = [["", *names, "truth", "found"], _row("all", names, {**report.metrics, **report.counts})]
    if len(report.per_class) > 1:
        rows += [_row(name, names, values) for name, values in report.per_class.items()]
    if report.intervals is not None:
        rows[2:2] = _interval_rows(names, report.intervals)
    return rows


def _columns(report: Report) -> list[str]:
    sizes = [f"ap_{name}" for name in report.settings.get("area_ranges", {})]
    names = [*SCORES[:3], "ap_percent", *sizes, *SCORES[3:]]
    return [name for name in names if name in report.metrics]


def _row(title: str, names: list[str], values: Mapping[str, float]) -> list[str]:
    counts = (f"{values.get(key, math.nan):.0f}".replace("nan", "-") for key in _COUNTS)
    return [title, *(number(values.get(name, math.nan)) for name in names), *counts]


def _interval_rows(names: list[str], intervals: Mapping[str, Any]) -> list[list[str]]:
    ends, level = intervals["metrics"], f"{intervals['level']:g} %"
    return [
        [f"{level} {word}", *(number(ends[name][end]) if name in ends else "" for name in names), "", ""]
        for end, word in enumerate(("from", "to"))
    ]


def _caption(report: Report) -> str:
    iou = report.settings.get("operating_iou", 0.5)
    threshold = number(report.metrics["score_threshold"])
    shown = {*_columns(report), "score_threshold"}
    others = [f"{name} {number(value)}" for name, value in report.metrics.items() if name not in shown]
    also = f"\nalso: {', '.join(others)}" if others else ""
    return f"protocol {report.protocol}; precision, recall and f1 at IoU {iou:g} and score {threshold}{also}"
