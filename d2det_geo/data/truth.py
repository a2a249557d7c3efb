"""The truth of one image, and the names its classes go by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.errors import InputError

IGNORE = -1  # label of a class that marks regions to ignore


def no_geometries() -> NDArray[np.object_]:
    """Make an empty array of geometries."""
    return np.empty(0, dtype=object)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """G objects of one image, and where nothing is known, in one frame of pixels (edges at integers)."""

    boxes: NDArray[np.float64]
    """``[G, 4]`` as ``(x1, y1, x2, y2)``, px."""
    labels: NDArray[np.int64]
    """``[G]`` class indices from 0."""
    polygons: NDArray[np.object_] | None = None
    """``[G]`` shapely (Multi)Polygons, or None where only boxes are known."""
    ignored: NDArray[np.object_] = field(default_factory=no_geometries)
    """Shapely regions in which objects count neither as right nor as wrong."""

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths, naming the one that is off."""
        count = len(self.boxes)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be [G, 4], got {list(self.boxes.shape)}")
        for name in ("labels", "polygons"):
            array = getattr(self, name)
            if array is not None and len(array) != count:
                raise ValueError(f"{name} has {len(array)} rows for {count} boxes")

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.boxes)

    @staticmethod
    def of_polygons(
        polygons: NDArray[np.object_], labels: NDArray[np.int64], ignored: NDArray[np.object_] | None = None
    ) -> Truth:
        """Describe objects by their outlines; the boxes are the outlines' bounds."""
        boxes = np.asarray(shapely.bounds(polygons), np.float64).reshape(-1, 4)
        return Truth(boxes, labels, polygons, no_geometries() if ignored is None else ignored)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """How class names of the data become class indices of the model."""

    classes: tuple[str, ...]
    """The model's classes, in the order of their indices."""
    class_map: dict[str, str] = field(default_factory=dict)
    """Class in the data -> class of the model; an empty name drops the objects."""
    ignore: tuple[str, ...] = ()
    """Classes of the data that mean ignore region."""

    def label(self, name: str, *, source: str = "labels") -> int | None:
        """Look up a class of the data.

        Args:
            name: class in the data.
            source: what the name was read from, for the error message.

        Returns:
            The model's class index; ``IGNORE`` for an ignore region; None for objects to drop.

        Raises:
            InputError: neither ``classes`` nor ``class_map`` nor ``ignore`` knows the name.
        """
        if name in self.ignore:
            return IGNORE
        target = self.class_map.get(name, name)
        if not target:
            return None
        if target in self.classes:
            return self.classes.index(target)
        raise InputError(
            f"{source}: class {target!r} is not one of the model's ({', '.join(self.classes)}); "
            f"map it in class_map ({name!r}: '' drops it) or list it under ignore"
        )
