"""Outputs that would take the place of what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from d2det_geo.errors import UsageError


def check_apart(out: Path, inputs: Mapping[str, Path | None]) -> None:
    """Refuse to write over what is read, or over a folder that holds it.

    Args:
        out: what is to be written.
        inputs: what messages call them, and their paths; None is not there.

    Raises:
        UsageError: names the output and the input.
    """
    place = out.resolve()
    for what, path in inputs.items():
        if path is not None and place in (path.resolve(), *path.resolve().parents):
            link = "is" if place == path.resolve() else "holds"
            raise UsageError(f"{out}: {link} the {what}, which would be replaced; give another path for the output")
