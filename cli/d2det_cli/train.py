"""`d2det train`: a configuration in, a model bundle out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from d2det_cli import options, texts
from d2det_cli.failures import GO_ON
from d2det_cli.progress import ProgressMode, progress
from d2det_cli.say import say
from d2det_geo.errors import UsageError


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file; the README and configs/ have examples.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Checkpoint, log, bundle.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    max_steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N steps in all.")] = None,
    class_map: options.ClassMap = "",
    ignore: options.Ignore = "",
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print every setting as YAML and stop.")] = False,
    show: options.Progress = ProgressMode.auto,
    quiet: options.Quiet = False,
) -> None:
    """Train a detector on your data; write a model bundle.

    Example, with the file in the README that needs no data: d2det train tiny.yaml --out runs/tiny --max-steps 2
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; give one of them")
    from d2det_geo.config import load_config

    settings = load_config(config).renaming(texts.parse_class_map(class_map), texts.parse_names(ignore))
    if show_config:
        import yaml

        typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
        return
    if out is None:
        raise UsageError("--out DIR is missing: where checkpoint, log and bundle go")
    from d2det_geo.pipeline.train import train as run

    limit = [] if max_steps is None else ["--max-steps", str(max_steps)]
    told = {"--class-map": class_map, "--ignore": ignore, "--device": "" if device == "auto" else device}
    more = [part for name, value in told.items() if value for part in (name, value)]
    command = shlex.join(["d2det", "train", str(config), "--out", str(out), *limit, *more])
    with progress(show, "train", quiet=quiet) as report:

        def stepped(done: int, total: int, note: str) -> None:
            context.meta[GO_ON] = f"go on with: {command} --resume"  # from the first step on there is a checkpoint
            report(done, total, note)

        start: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "max_steps": max_steps, "device": device}
        summary = run(settings, out, **start, progress=stepped, command=command)
    if not quiet:
        for notice in summary.notices:
            say(f"notice: {notice}")
        scores = "".join(f", {name} {value:.3f}" for name, value in summary.scores.items())
        say(f"{summary.bundle}: {summary.steps} steps in {summary.seconds / 60:.1f} min{scores}")
