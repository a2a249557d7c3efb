"""The fringe that lossy compression leaves between an image and its collar of nodata.

JPEG smears the edge of the image over the blocks it crosses, so pixels beside a black collar are
1, 2 or 5 and not 0, and count as image: a rim of noise around every scene. They are told by
where they are, not by their value alone, so that dark roofs stay:

- a pixel is *near* when all its bands are within ``TOLERANCE`` of the nodata value;
- the *collar* is where ``2 * SEED + 1`` squared pixels are nodata to within 1, as no roof is;
- the *fringe* is every near pixel within ``REACH`` px of the collar that lies in a square of
  ``2 * GRAIN + 1`` squared near pixels: single dark pixels stay.

All of it is local: a chip read with a margin of ``Fringe.margin`` px decides as its neighbours do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

TOLERANCE = 8  # grey levels
REACH = 16  # scene px: a block of JPEG with subsampled colours
SEED = 4  # px
GRAIN = 1  # px
_LOSSY = ("JPEG", "WEBP")  # as in "YCbCr JPEG"


@dataclass(frozen=True, slots=True)
class Fringe:
    """Finds the fringe around one value of nodata."""

    nodata: float
    reach: int
    """px of what is read"""

    @property
    def margin(self) -> int:
        """How many px around a chip that decide about its pixels."""
        return self.reach + 2 * SEED

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Say which pixels of ``[C, H, W]`` uint8 values are collar or fringe; beyond the array all is nodata."""
        off: NDArray[np.int16] = np.abs(values.astype(np.int16) - np.int16(self.nodata)).max(axis=0)
        seeds: NDArray[np.bool_] = off <= 1
        if not seeds.any():
            return seeds
        collar = _all_within(seeds, SEED)
        reached = _any_within(collar, SEED + self.reach)
        near = off <= TOLERANCE
        fringe: NDArray[np.bool_] = reached & near & _any_within(_all_within(near, GRAIN), GRAIN)
        return fringe


def fringe_of(dataset: rasterio.DatasetReader, nodata: float | None, scale: float) -> Fringe | None:
    """Decide whether a raster has a fringe: one of bytes, compressed with loss, with a value of nodata.

    Args:
        dataset: the source.
        nodata: the value the user names, or None.
        scale: scene px per px of what is read.
    """
    compression: str = dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "")
    value = dataset.nodata if nodata is None else nodata
    lossy = any(name in compression for name in _LOSSY) and set(dataset.dtypes) == {"uint8"}
    if value is None or not lossy or not 0 <= value <= 255:
        return None
    return Fringe(value, max(1, round(REACH / scale)))


def _all_within(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Say where all pixels of a square are set; those beyond the array are."""
    return ~_any_within(~mask, reach)


def _any_within(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Say where any pixel of a square is set."""
    for axis in (0, 1):
        count = np.cumsum(mask, axis=axis, dtype=np.int32)
        length = mask.shape[axis]
        last = np.minimum(np.arange(length) + reach, length - 1)
        before = np.arange(length) - reach - 1
        first = np.take(count, np.maximum(before, 0), axis=axis)
        shape = (-1, 1) if axis == 0 else (1, -1)
        mask = np.take(count, last, axis=axis) > np.where((before >= 0).reshape(shape), first, 0)
    return mask
