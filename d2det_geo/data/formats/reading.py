"""What all format modules share: what they are given beside a path, and what they offer.

The formats import this module, the registry imports the formats; so no format may import the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from d2det_geo.annotations import Annotations


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
    split: Literal["train", "test"] | None = None
    """UAVDT: the part of the benchmark to read where one folder holds both; None: all that is there."""
    merge_patches: bool = False
    """DOTA results: detections of patches are brought to the whole images, and merged there."""
    notices: list[str] = field(default_factory=list, compare=False)
    """Filled by the reader: what the user should know about how the file was understood, one sentence each."""


Read: TypeAlias = Callable[[Path, Reading], Annotations]
"""Reads truth."""
ReadResults: TypeAlias = Callable[[Path, Annotations, Reading], Annotations]
"""Reads detections of the images and classes of a truth: the result has the very same ``images`` and ``classes``.
An image or class the truth does not have is an ``InputError`` with file and row."""
Write: TypeAlias = Callable[[Annotations, Path], None]
"""Writes to a path that does not exist; the caller makes it atomic."""

Holdable: TypeAlias = Literal["outlines", "rings", "corners", "ignored", "regions", "flat"]
"""Outlines of any kind; only those of one ring; only those of four corners, others as the least rectangles around them;
ignored objects of a class (crowds, difficult ones); regions ignored for all classes; truth without width or height."""


@dataclass(frozen=True, slots=True)
class Format:
    """What can be done with a format."""

    help: str
    read: Read | None = None
    read_results: ReadResults | None = None
    write: Write | None = None
    write_results: Write | None = None
    holds: frozenset[Holdable] = frozenset()
    """What is still there after writing and reading again, beside images, boxes and classes. What is not held is told
    by who converts: outlines become boxes, what is ignored or flat is left out."""
    columns: frozenset[str] = frozenset()
    """Columns of ``Annotations`` it holds."""
    unsaid: Callable[[Annotations], tuple[str, ...]] | None = None
    """Says what else of a truth its files do not tell, one sentence each."""
