"""What is known of the objects of a set of images, truth or predictions, as a structure of arrays.

Every annotation format is read into this one value and every protocol judges two of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

REGION = -1
"""Label of a region in which objects of every class count neither as right nor as wrong."""


@dataclass(frozen=True, slots=True)
class Runs:
    """A mask as COCO run lengths over a crop of its image, so that no mask is as large as the image."""

    x: int
    """Left edge of the crop, px of the image."""
    y: int
    """Top edge of the crop, px of the image."""
    width: int
    height: int
    counts: bytes
    """COCO's packed run lengths, down the columns of the crop, background first."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The M images of a set, in its order. A scene is a set of one image."""

    names: NDArray[np.object_]
    """``[M]`` file names, unique, with ``/`` where images lie in folders of the set."""
    ids: NDArray[np.int64]
    """``[M]`` unique numbers the format knows them by; 1 to M where it knows none."""
    sizes: NDArray[np.int64]
    """``[M, 2]`` width and height, px; 0 where the format does not say and no image was at hand."""
    groups: NDArray[np.object_] | None = None
    """``[M]`` what they belong to: the sequence of a frame, the scene of a chip."""
    windows: NDArray[np.int64] | None = None
    """``[M, 4]`` x, y, width, height, px of the scene each is a chip of; ``groups`` names the scenes."""
    gsd_m: NDArray[np.float64] | None = None
    """``[M]`` m/px, NaN where unknown."""
    tags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Attributes of images, name -> ``[M]``, such as ``night``."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, naming the one that is off."""
        columns = {name: getattr(self, name) for name in ("ids", "sizes", "groups", "windows", "gsd_m")}
        _check_lengths(len(self.names), {**columns, **self.tags}, "images")

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """N objects and ignore regions of a set of images, in px of their image (edges at integers)."""

    images: Images
    classes: tuple[str, ...]
    """Class names; ``labels`` are positions in it."""
    image: NDArray[np.int64]
    """``[N]`` rows of ``images``, in any order. Rows of one image keep the order of their file."""
    boxes: NDArray[np.float64]
    """``[N, 4]`` as ``(x1, y1, x2, y2)``."""
    labels: NDArray[np.int64]
    """``[N]``, or ``REGION``."""
    ignored: NDArray[np.bool_]
    """``[N]`` neither to be found nor wrong to find: crowds, difficult objects, regions. False in predictions."""
    scores: NDArray[np.float64] | None = None
    """``[N]``; None in truth."""
    outlines: NDArray[np.object_] | None = None
    """``[N]`` each a shapely (Multi)Polygon as the file has it, not repaired; or ``Runs``; or None where only the
    box is known. None: no object has one. The corners of an oriented box are a Polygon."""
    areas: NDArray[np.float64] | None = None
    """``[N]`` area the file states, px; None: what the outline or else the box covers."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else the format says of each object, name -> ``[N]``, such as ``difficult`` or ``occlusion``."""
    class_ids: tuple[int, ...] | None = None
    """Unique numbers the format knows ``classes`` by, such as COCO's category ids; None: 1 to C."""
    supercategories: tuple[str, ...] | None = None
    """What each of ``classes`` is a kind of; None where the format does not say."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, naming the one that is off."""
        names = ("boxes", "labels", "ignored", "scores", "outlines", "areas")
        _check_lengths(len(self.image), {**{n: getattr(self, n) for n in names}, **self.columns}, "objects")
        _check_lengths(
            len(self.classes), {"class_ids": self.class_ids, "supercategories": self.supercategories}, "classes"
        )

    def __len__(self) -> int:
        """Count the objects and regions."""
        return len(self.image)

    def rows(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Annotations:
        """Keep some of the objects: by index, in that order, or by flag."""
        names = ("image", "boxes", "labels", "ignored", "scores", "outlines", "areas")
        taken: dict[str, Any] = {
            name: None if (array := getattr(self, name)) is None else array[rows] for name in names
        }
        taken["columns"] = {name: array[rows] for name, array in self.columns.items()}
        return replace(self, **taken)

    def by_image(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Group the objects.

        Returns:
            order ``[N]`` and ends ``[M + 1]``: ``order[ends[i] : ends[i + 1]]`` are the objects of image ``i``, in
            the order of the file.
        """
        order = np.argsort(self.image, kind="stable")
        return order, np.searchsorted(self.image[order], np.arange(len(self.images) + 1))


def _check_lengths(count: int, columns: Mapping[str, Any], what: str) -> None:
    for name, array in columns.items():
        if array is not None and len(array) != count:
            raise ValueError(f"{name} has {len(array)} rows for {count} {what}")
