"""One dataset handle and what is known of its scene: windows of grid px in, chips out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from d2det_geo.raster.bands import Colours
from d2det_geo.raster.fringes import Fringe
from d2det_geo.raster.lanes import Chip
from d2det_geo.raster.radiometry import Scaling
from d2det_geo.raster.source import read_pixels
from d2det_geo.raster.unmixed import is_hidden, read_unmixed
from d2det_geo.raster.validity import Validity


@dataclass(frozen=True, slots=True, eq=False)
class ChipReader:
    """Reads chips; one thread at a time."""

    dataset: rasterio.DatasetReader
    scale: tuple[float, float]
    """``(x, y)`` scene px per grid px"""
    grid: tuple[int, int]
    """width and height, grid px"""
    colours: Colours
    validity: Validity
    fringe: Fringe | None
    scaling: Scaling | None
    cache: int
    """bytes of blocks that GDAL keeps"""

    def read(self, window: Window) -> Chip:
        """Read one chip.

        Args:
            window: in grid px, inside the grid.

        Returns:
            The chip ``[3, H, W]`` (red, green, blue; invalid pixels are 0), and ``[H, W]`` which pixels are valid;
            that may be shared between chips and read-only.

        Raises:
            InputError: the file is damaged there.
        """
        shape = (int(window.height), int(window.width))
        valid = self.validity.declared(self.dataset, self._scene_window(window), shape, self.cache)
        if not valid.any():
            return np.zeros((3, *shape), np.uint8), valid
        values, fringe = self._values(window)
        valid = self.validity.narrowed(valid, values)
        if fringe is not None:
            valid = valid & ~fringe
        chip, valid = self._coloured(values, valid)
        if not valid.all():
            np.multiply(chip, valid, out=chip)
        return chip, valid

    def _values(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Read a window's own values, and which of its pixels are collar or fringe."""
        if self.fringe is None:
            return self._pixels(window), None
        left, top, right, bottom = self._with_margin(window, self.fringe.margin)
        values = self._pixels(Window(left, top, right - left, bottom - top))
        y, x = int(window.row_off) - top, int(window.col_off) - left
        inside = (slice(y, y + int(window.height)), slice(x, x + int(window.width)))
        return np.ascontiguousarray(values[:, *inside]), self.fringe(values)[inside]

    def _with_margin(self, window: Window, margin: int) -> tuple[int, int, int, int]:
        left, top = int(window.col_off), int(window.row_off)
        right, bottom = left + int(window.width), top + int(window.height)
        width, height = self.grid
        return max(left - margin, 0), max(top - margin, 0), min(right + margin, width), min(bottom + margin, height)

    def _pixels(self, window: Window) -> NDArray[np.generic]:
        shape = (int(window.height), int(window.width))
        source, bands, how = self._scene_window(window), self.colours.bands, self._resampling()
        nodata = self.hidden_nodata()
        if nodata is not None:
            return read_unmixed(
                self.dataset, bands, source, shape, self.validity, nodata, resampling=how, cache=self.cache
            )
        return read_pixels(self.dataset, bands, source, shape, resampling=how, cache=self.cache)

    def hidden_nodata(self) -> float | None:
        """Give the value only the user calls nodata, where resampling would mix it with the image: overviews do."""
        nodata = self.validity.nodata
        if nodata is None or self.colours.palette is not None or self.scale == (1, 1):
            return None
        return nodata if is_hidden(self.dataset, self.colours.bands, nodata) else None

    def _coloured(self, values: NDArray[np.generic], valid: NDArray[np.bool_]) -> Chip:
        if self.colours.palette is not None:
            expanded = self.colours.palette[:, values[0]]
            return expanded[:3], valid & (expanded[3] > 0)
        grey = values.astype(np.uint8, copy=False) if self.scaling is None else self.scaling(values)
        return np.repeat(grey, 3, axis=0) if len(grey) == 1 else grey, valid

    def _scene_window(self, window: Window) -> Window:
        x, y = self.scale
        return Window(window.col_off * x, window.row_off * y, window.width * x, window.height * y)

    def _resampling(self) -> Resampling:
        if self.colours.palette is not None:
            return Resampling.nearest  # indices have no mean
        # Bilinear weights alias when several pixels fall into one.
        return Resampling.average if max(self.scale) > 2 else Resampling.bilinear
