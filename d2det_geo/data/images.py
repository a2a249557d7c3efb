"""One labelled image: its truth and a way to read its pixels, both on the grid the network works at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.data.truth import Truth, no_geometries

Read = Callable[[int, int, int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image with its truth, in grid px: the image resampled to the GSD of the model."""

    name: str
    """What messages call it: a file, or a town's seed."""
    width: int
    """px"""
    height: int
    """px"""
    truth: Truth
    read: Read
    """``read(x, y, width, height)`` -> ``[3, height, width]``. The window must lie inside the
    image. Safe to call from several threads."""
    aoi: shapely.Geometry | None = None
    """The only area that may be used, inside the image; None for all of it."""
    weight: float = 1.0
    """Factor on the share of chips this image gives."""
    hidden: NDArray[np.object_] = field(default_factory=no_geometries)
    """Shapely regions whose pixels are black in the chips."""

    def __post_init__(self) -> None:
        """Refuse an AOI that is empty or leaves the image."""
        if self.aoi is not None and (self.aoi.area <= 0 or not _within(self.aoi.bounds, self.width, self.height)):
            raise ValueError(f"the AOI of {self.name} must be an area inside {self.width} x {self.height} px")

    @property
    def region(self) -> shapely.Geometry:
        """The area that may be used: the AOI, or the whole image."""
        return shapely.box(0, 0, self.width, self.height) if self.aoi is None else self.aoi


def array_reader(image: NDArray[np.uint8]) -> Read:
    """Read windows from an image ``[3, H, W]`` in memory."""

    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return image[:, y : y + height, x : x + width]

    return read


def _within(bounds: tuple[float, float, float, float], width: int, height: int) -> bool:
    return bounds[0] >= 0 and bounds[1] >= 0 and bounds[2] <= width and bounds[3] <= height
