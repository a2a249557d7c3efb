"""What a set is tiled into: scenes with their chips, and the COCO files they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2det_geo.pipeline.tile_set_book import Book, ChipRow

Cut = Callable[[Path], Iterator[ChipRow]]
"""Writes the chips of a scene into the folder of output, one after the other."""


@dataclass(frozen=True, slots=True)
class SceneJob:
    """A scene to be cut."""

    book: int
    """Position of its COCO file."""
    chips: int
    size: tuple[int, int]
    """Width and height, px."""
    inputs: tuple[Path, ...]
    """Files it is made of."""
    cut: Cut


@dataclass(frozen=True, slots=True)
class Plan:
    """A set to be tiled."""

    scenes: tuple[SceneJob, ...]
    books: tuple[Book, ...]
    folders: tuple[str, ...]
    """To be made in the folder of output."""
    settings: dict[str, Any]
    """What the output depends on beside the files, JSON-able."""
    notices: tuple[str, ...] = ()
