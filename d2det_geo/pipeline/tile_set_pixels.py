"""Images of a set as chips are cut from them: opened, read once from top to bottom, written as PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from d2det_geo.errors import D2DetError, InputError
from d2det_geo.raster.source import read_pixels

_STEP = 256  # rows read at once
_LEAST_CACHE = 2**22  # bytes
# Runs of equal filtered bytes: half the time of deflate's search on photographs, and smaller.
PHOTOGRAPH = (cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
MAP = (cv2.IMWRITE_PNG_COMPRESSION, 6)


class Scroll:
    """Rows of a raster read from top to bottom, what the next chips need again kept: a PNG cannot seek."""

    def __init__(self, dataset: rasterio.DatasetReader, *, rgb: bool) -> None:
        """Look at what the raster holds.

        Args:
            dataset: stays open as long as this is used.
            rgb: give red, green and blue whatever it holds, as iSAID and DOTA do; otherwise its own 1, 3 or 4 bands.

        Raises:
            InputError: it is not 8-bit where ``rgb`` wants it, or holds what a PNG cannot.
        """
        self._dataset = dataset
        self._table = _palette(dataset)
        self._indexes = dataset.indexes
        self._grey = False
        if rgb and self._table is None:
            self._indexes = dataset.indexes[:3] if dataset.count >= 3 else dataset.indexes[:1]
            self._grey = len(self._indexes) == 1
        kinds = {dataset.dtypes[index - 1] for index in self._indexes}
        if (kinds != {"uint8"} and (rgb or kinds != {"uint16"})) or len(self._indexes) not in {1, 3, 4}:
            raise InputError(
                f"{dataset.name}: {dataset.count} band(s) of {dataset.dtypes[0]} do not fit into PNG chips;"
                f" convert it to {'8-bit RGB' if rgb else '8 or 16 bits of 1, 3 or 4 bands'}"
            )
        self._kept = np.zeros((len(self._indexes), 0, dataset.width), kinds.pop())
        self._top = 0

    def rows(self, top: int, height: int) -> NDArray[np.generic]:
        """Read ``[C, height, W]``; ``top`` must not go back, nor skip rows.

        Raises:
            InputError: the file is damaged there.
        """
        kept = self._kept[:, top - self._top :]
        rows = np.empty((len(self._indexes), height, self._dataset.width), kept.dtype)
        rows[:, : kept.shape[1]] = kept
        cache = 2 * self._dataset.count * self._dataset.width * _STEP * kept.itemsize + _LEAST_CACHE
        for start in range(kept.shape[1], height, _STEP):
            count = min(_STEP, height - start)
            window = Window(0, top + start, self._dataset.width, count)
            shape = (count, self._dataset.width)
            rows[:, start : start + count] = read_pixels(
                self._dataset, tuple(self._indexes), window, shape, cache=cache
            )
        self._kept, self._top = rows, top
        return rows

    def coloured(self, chip: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn part of ``rows`` into what is written: a palette into its colours, one band into three for ``rgb``."""
        if self._table is not None:
            return self._table[:, chip[0]]
        return np.repeat(chip, 3, axis=0) if self._grey else chip


def write_png(path: Path, pixels: NDArray[np.generic], how: tuple[int, ...]) -> None:
    """Write ``[C, H, W]`` of 1, 3 (RGB) or 4 (RGBA) bands.

    Raises:
        D2DetError: the disk is full, or it cannot be written.
    """
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[len(pixels)]
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels[order].transpose(1, 2, 0)), how)
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise D2DetError(f"{path.name}: cannot be written ({error.strerror}); check the disk") from error


def _palette(dataset: rasterio.DatasetReader) -> NDArray[np.uint8] | None:
    if dataset.colorinterp[0] is not ColorInterp.palette:
        return None
    colours = dataset.colormap(1)
    return np.array([colours.get(value, (0, 0, 0))[:3] for value in range(256)], np.uint8).T
