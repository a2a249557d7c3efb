"""Outputs that would take the place of what they are made of, or of other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from d2det_geo.annotations import Annotations
from d2det_geo.errors import InputError, UsageError


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


def check_names(annotations: Annotations, source: Path) -> None:
    """Refuse names of images that would lead out of a folder they are written to."""
    for name in annotations.images.names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{source}: image name {name!r:.80} leads out of its folder; rename the image")
