"""The command ``d2det``: the list of its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from d2det_cli.convert import convert
from d2det_cli.demo import demo
from d2det_cli.doctor import doctor
from d2det_cli.evaluate import evaluate
from d2det_cli.failures import Commands
from d2det_cli.import_weights import import_weights
from d2det_cli.models import models
from d2det_cli.plan import plan
from d2det_cli.predict import predict
from d2det_cli.selftest import selftest
from d2det_cli.tile import tile
from d2det_cli.train import train

EXIT_CODES = """Exit codes: 0 ok, 1 failure, 2 usage, 3 partial, 4 unreadable input, 5 output exists, 6 gate failed,
7 missing dependency or device, 130 interrupted."""

app = typer.Typer(
    name="d2det",
    cls=Commands,
    help="Objects in aerial imagery: a scene of any size in, GIS-ready vector objects out.",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: quick to load, easy to grep
    pretty_exceptions_enable=False,  # a bug shows Python's own traceback
)
for command in (predict, plan, train, tile, convert, evaluate, models, demo, doctor, import_weights):
    app.command()(command)
app.add_typer(selftest, name="selftest")


def _version(wanted: bool) -> None:
    if wanted:
        from d2det_geo import __version__

        typer.echo(f"d2det {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Objects in aerial imagery: a scene of any size in, GIS-ready vector objects out."""
