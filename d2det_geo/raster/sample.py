"""A look at a scene of any size that decodes little of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.raster.source import read_pixels

WHOLE_PX = 2**24  # of the scene, or of its overviews, that are decoded at most
_DECIMATED_SIDE = 1000  # px
_PLACE_PX = 2**20  # of all places together


def sample(dataset: rasterio.DatasetReader, bands: tuple[int, ...], places: int) -> NDArray[np.generic]:
    """Read pixels from all over the scene, the same ones every time.

    Args:
        dataset: the source.
        bands: indices from 1.
        places: how many windows per side of the scene are read where a decimated read of it all is too long.

    Returns:
        ``[len(bands), n]``.
    """
    return np.concatenate(
        [
            read_pixels(dataset, bands, window, shape).reshape(len(bands), -1)
            for window, shape in sample_windows(dataset, places)
        ],
        axis=1,
    )


def sample_windows(dataset: rasterio.DatasetReader, places: int) -> Iterator[tuple[Window, tuple[int, int]]]:
    """Choose what a sample reads.

    Yields:
        One window and the shape to decimate it to, where overviews or the size of the scene allow, or windows on a
        regular grid of ``places`` by ``places``, as they are.
    """
    width, height = dataset.width, dataset.height
    factor = max(dataset.overviews(1), default=1)
    if width * height <= WHOLE_PX * factor**2:
        yield Window(0, 0, width, height), (min(height, _DECIMATED_SIDE), min(width, _DECIMATED_SIDE))
        return
    side = int(np.sqrt(_PLACE_PX)) // max(places, 16)
    rows, columns = min(side, height), min(side, width)
    for row in np.linspace(0, height - rows, min(places, height // rows)).astype(int).tolist():
        for column in np.linspace(0, width - columns, min(places, width // columns)).astype(int).tolist():
            yield Window(column, row, columns, rows), (rows, columns)
