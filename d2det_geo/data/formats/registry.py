"""The formats by name: what reads and writes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from d2det_geo.annotations import Annotations
from d2det_geo.errors import UsageError


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader may need beside the path of the labels. Each uses what its format lacks."""

    images: Path | None = None
    """Folder of the images, for their names and sizes."""
    class_names: tuple[str, ...] = ()
    """In the order of the format's numbers, where it holds numbers only."""
    class_field: str = "class"
    """Attribute of a vector file that holds the class."""
    raster: Path | None = None
    """The scene whose pixels a vector file is brought to."""
    exact: bool = False
    """iSAID id maps: masks as they are instead of the devkit's polygons and rules."""


Read: TypeAlias = Callable[[Path, Reading], Annotations]
"""Reads truth."""
ReadResults: TypeAlias = Callable[[Path, Annotations, Reading], Annotations]
"""Reads detections of the images and classes of a truth: the result has the very same ``images`` and ``classes``.
An image or class the truth does not have is an ``InputError`` with file and row."""
Write: TypeAlias = Callable[[Annotations, Path], None]
"""Writes to a path that does not exist; the caller makes it atomic."""


@dataclass(frozen=True, slots=True)
class Format:
    """What can be done with a format."""

    help: str
    read: Read | None = None
    read_results: ReadResults | None = None
    write: Write | None = None
    write_results: Write | None = None


FORMATS: Mapping[str, Format] = {}


def format_named(name: str, ability: Literal["read", "read_results", "write", "write_results"]) -> Format:
    """Look up a format that can do what is asked.

    Raises:
        UsageError: there is none of this name, or it cannot.
    """
    able = [key for key, known in FORMATS.items() if getattr(known, ability) is not None]
    if name not in able:
        doing = {"read": "read as truth", "read_results": "read as detections", "write": "written as truth"}
        what = doing.get(ability, "written as detections")
        raise UsageError(f"format {name!r} cannot be {what}; choose one of {', '.join(able)}")
    return FORMATS[name]
