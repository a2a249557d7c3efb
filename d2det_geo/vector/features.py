"""What a sink is given: the frame of a file before its first object, and objects as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyproj
    from rasterio.crs import CRS


@dataclass(frozen=True, slots=True)
class Layer:
    """What is known of a file before its first object."""

    crs: CRS | pyproj.CRS | None
    """Of ``Features.geometries``; None is pixels."""
    scene: str
    """Name of the scene."""
    width: int
    """Of the scene, px."""
    height: int
    """Of the scene, px."""
    classes: tuple[str, ...]
    """Every class an object may have."""
    columns: dict[str, type]
    """Name and type of each attribute, in order: str, float, int or bool."""
    colours: tuple[str, Mapping[str, tuple[int, int, int]]] | None = None
    """What a GeoPackage is coloured by: an attribute, and red, green and blue, 0 to 255, of each of its values. None
    is the class, in colours of its own choice."""


@dataclass(frozen=True, slots=True)
class Features:
    """N objects."""

    pixels: NDArray[np.object_]
    """``[N]`` Polygons and MultiPolygons, scene px."""
    geometries: NDArray[np.object_]
    """``[N]`` the same in the layer's CRS."""
    columns: dict[str, NDArray[Any]]
    """Name to ``[N]`` values. What is not a number (NaN, None, infinite) is written as no value."""

    def __len__(self) -> int:
        return len(self.geometries)

    def with_constants(self, constants: Mapping[str, str | float]) -> Features:
        """Add columns that have the same value for every object."""
        more = {
            name: np.full(len(self), value, dtype=object if isinstance(value, str) else np.float64)
            for name, value in constants.items()
        }
        return Features(self.pixels, self.geometries, self.columns | more)

    def rows(self, start: int, stop: int) -> Features:
        """Give the objects ``[start, stop)``."""
        part = slice(start, stop)
        columns = {name: values[part] for name, values in self.columns.items()}
        return Features(self.pixels[part], self.geometries[part], columns)

    def chosen(self, which: NDArray[np.bool_]) -> Features:
        """Give the objects that ``which`` ``[N]`` says."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return Features(self.pixels[which], self.geometries[which], columns)

    def pieces(self, size: int) -> Iterator[Features]:
        """Give the objects in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


def joined(parts: list[Features]) -> Features:
    """Put features of the same columns behind each other; there is at least one part."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return Features(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.geometries for part in parts]),
        columns,
    )


class Batches:
    """Cuts what comes in any portions into batches of one size, so that a file does not depend on the portions.

    Outlines in pixels are let go: formats that want them write as they come.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: list[Features] = []
        self._count = 0

    def add(self, features: Features) -> Iterator[Features]:
        """Take features, and give the batches that are full."""
        placed = Features(features.geometries, features.geometries, features.columns)
        for piece in placed.pieces(self._size):
            self._waiting.append(piece)
            self._count += len(piece)
            if self._count >= self._size:
                whole = joined(self._waiting)
                rest = whole.rows(self._size, len(whole))
                self._waiting, self._count = ([rest] if len(rest) else []), len(rest)
                yield whole.rows(0, self._size)

    def rest(self) -> Iterator[Features]:
        """Give the last batch, which may be smaller, if there is one."""
        if self._waiting:
            yield joined(self._waiting)
        self._waiting, self._count = [], 0
