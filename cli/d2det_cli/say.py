"""What is said: messages on standard error, reports on standard output."""

from __future__ import annotations

import json
import math
from typing import Any

import typer


def say(text: str) -> None:
    """Print a message for the user on standard error; standard output carries data only."""
    typer.echo(f"d2det: {text}", err=True)


def print_json(document: Any) -> None:
    """Print a report as one JSON document on standard output; NaN, which JSON does not know, becomes null."""
    typer.echo(json.dumps(_without_nan(document), indent=2, ensure_ascii=False, allow_nan=False))


def _without_nan(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_nan(item) for item in value]
        case float() if math.isnan(value):
            return None
    return value
