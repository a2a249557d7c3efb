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


def print_scores(report: Report) -> None:
    """Print an evaluation on standard output, as a table for eyes where that is a terminal."""
    if not sys.stdout.isatty():
        typer.echo(scores_text(report))
        return
    from rich.console import Console
    from rich.table import Table

    rows = _rows(report)
    title = f"{report.protocol} ({report.iou})"
    shown = Table(*rows[0], title=title, caption=_caption(report), title_justify="left", caption_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows[1:]:
        shown.add_row(*row, end_section=row is rows[1] and len(rows) > 2)
    Console().print(shown)


def scores_text(report: Report) -> str:
    """Lay out an evaluation: one row for everything, one for each class if there are several."""
    return f"{table(_rows(report), right=1)}\n{_caption(report)}"


def _rows(report: Report) -> list[list[str]]:
    more = [name for name in report.metrics if name.startswith("ap") and name not in SCORES]
    names = [*SCORES[:3], *more, *SCORES[3:]]
    names = [name for name in names if name in report.metrics]
    rows = [["", *names, "truth", "found"], _row("all", names, {**report.metrics, **report.counts})]
    if len(report.per_class) > 1:
        rows += [_row(name, names, values) for name, values in report.per_class.items()]
    if report.intervals is not None:
        rows.insert(2, _interval_row(names, report.intervals))
    return rows


def _row(title: str, names: list[str], values: Mapping[str, float]) -> list[str]:
    counts = (f"{values.get(key, math.nan):.0f}".replace("nan", "-") for key in _COUNTS)
    return [title, *(number(values.get(name, math.nan)) for name in names), *counts]


def _interval_row(names: list[str], intervals: Mapping[str, Any]) -> list[str]:
    ends = intervals["metrics"]
    cells = (f"{number(ends[name][0])}..{number(ends[name][1])}" if name in ends else "" for name in names)
    return [f"{intervals['level']:g} %", *cells, "", ""]


def _caption(report: Report) -> str:
    iou = report.settings.get("operating_iou", 0.5)
    threshold = number(report.metrics["score_threshold"])
    return f"protocol {report.protocol}; precision, recall and f1 at IoU {iou:g} and score {threshold}"
