"""Outputs that would take the place of what they are made of, or of other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from d2det_geo.annotations import Annotations
from d2det_geo.errors import InputError, UsageError

# Control characters, which XML and lines of text cannot hold, and halves of characters, which UTF-8 cannot.
_UNWRITABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff\\ufffe\\uffff]")


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
    """Refuse names that lead out of a folder they are written to, that name no file, or that no text file can hold."""
    for name in annotations.images.names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{source}: image name {name!r:.80} leads out of its folder; rename the image")
        if not path.name or name.endswith("/") or _UNWRITABLE.search(name):
            raise InputError(f"{source}: image name {name!r:.80} is no name of a file; rename the image")
    for name in annotations.classes:
        if _UNWRITABLE.search(name):
            raise InputError(f"{source}: class {name!r:.80} holds what no text file can hold; rename the class")
