"""Progress on standard error: a bar for people, JSON lines for programs, plain lines for logs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

import typer

JSON_INTERVAL_S = 1.0


class ProgressMode(StrEnum):
    """How to show progress."""

    auto = "auto"
    bar = "bar"
    json = "json"
    none = "none"


class Report(Protocol):
    """What a pipeline calls as it goes: ``done`` of ``total`` units, and a short note."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` units are finished."""


@contextmanager
def progress(mode: ProgressMode, what: str, *, quiet: bool = False) -> Iterator[Report]:
    """Show the progress of ``what`` while the block runs.

    ``auto`` is a bar on a terminal, and a line for every tenth of the way elsewhere. ``quiet`` shows nothing.
    """
    if quiet:
        mode = ProgressMode.none
    if mode is ProgressMode.auto and sys.stderr.isatty():
        mode = ProgressMode.bar
    if mode is ProgressMode.bar:
        with _bar(what) as report:
            yield report
    else:
        yield {ProgressMode.json: _json_lines, ProgressMode.auto: _lines, ProgressMode.none: _silent}[mode](what)


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(what, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            display.update(task, completed=done, total=total, note=note)

        yield report


def _json_lines(what: str) -> Report:
    start = last = time.monotonic()

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < JSON_INTERVAL_S:
            return
        last = now
        line = {"event": "progress", "what": what, "done": done, "total": total, "elapsed_s": round(now - start, 3)}
        typer.echo(json.dumps(line | ({"note": note} if note else {})), err=True)

    return report


def _lines(what: str) -> Report:
    shown, said = -1, ""

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal shown, said
        tenth = 10 * done // max(total, 1)
        if tenth > shown or (done == total and note != said):  # what still goes on at the end is worth a line
            shown, said = tenth, note
            typer.echo(f"d2det: {what} {done}/{total}{'  ' if note else ''}{note}", err=True)

    return report


def _silent(what: str) -> Report:
    def report(done: int, total: int, note: str = "") -> None:
        """Show nothing."""

    return report
