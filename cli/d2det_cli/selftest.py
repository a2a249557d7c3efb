"""`d2det selftest`: what is known to be there is put in, and what comes out is compared."""

from __future__ import annotations

from dataclasses import asdict

import typer

from d2det_cli import options
from d2det_cli.progress import ProgressMode, progress
from d2det_cli.say import print_json, say
from d2det_cli.tables import geo_table
from d2det_geo.errors import GateError

selftest = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@selftest.callback()
def about() -> None:
    """Put known objects on your own data, and see whether they come out right."""


@selftest.command()
def geo(
    scene: options.Scene,
    *,
    model: options.Model = "buildings",
    chip_size: options.ChipSize = None,
    overlap: options.Overlap = None,
    show: options.Progress = ProgressMode.auto,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure how far objects come out from where they are, on the grid of your scene.

    Targets go through reading, chips, seams, outlines and writers as in predict; no network runs.
    Exit code 6 when they are shifted by more than 0.05 px at native GSD, lost or doubled.

    Example: d2det selftest geo town.tif
    """
    from d2det_geo.pipeline.selftest.geo import SCHEMA_VERSION, check_geo

    with progress(show, "selftest geo", quiet=quiet) as report:
        check = check_geo(scene, model, chip_size=chip_size, overlap=overlap, progress=report)
    if not quiet:
        for notice in check.notices:
            say(f"notice: {notice}")
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, **asdict(check), "failures": check.failures})
    else:
        typer.echo(geo_table(check))
    if check.failures:
        raise GateError(f"{scene}: {'; '.join(check.failures)}")
