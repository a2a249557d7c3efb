"""`d2det doctor`: what is wrong with this machine, in words."""

from __future__ import annotations

from dataclasses import asdict

import typer

from d2det_cli.options import AsJson
from d2det_cli.say import print_json
from d2det_geo.errors import DependencyError

SIGNS = {"ok": "ok", "warning": "warn", "broken": "BROKEN"}


def doctor(as_json: AsJson = False) -> None:
    """Examine the environment and say what to install or change.

    Exit code 7 when something d2det needs does not work.
    """
    from d2det_geo.pipeline.doctor import run_checks

    checks = run_checks()
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(f"{SIGNS[check.status]:6}  {check.name:{width}}  {check.detail}")
            if check.advice:
                typer.echo(f"{'':6}  {'':{width}}  -> {check.advice}")
    broken = [check.name for check in checks if check.status == "broken"]
    if broken:
        raise DependencyError(f"does not work: {', '.join(broken)}; the advice is in the report")
