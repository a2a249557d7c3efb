"""Resampling that leaves out a value of nodata of which the file itself says nothing, so that GDAL would mix it in."""

from __future__ import annotations

from functools import partial
from math import ceil, floor

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.windows import Window

from d2det_geo.raster.source import read_pixels
from d2det_geo.raster.validity import Validity

_MOST_PX = 2**24  # of the scene that are read at once
_PLACE = Affine.scale(2, -2)  # any: rasterio warns of files that have none


def is_hidden(dataset: rasterio.DatasetReader, bands: tuple[int, ...], nodata: float) -> bool:
    """Tell a value that pixels can have and the file does not call nodata."""
    if all(dataset.nodatavals[band - 1] == nodata for band in bands):
        return False
    kind = np.result_type(*(dataset.dtypes[band - 1] for band in bands))
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        return float(nodata).is_integer() and limits.min <= nodata <= limits.max
    return abs(nodata) <= float(np.finfo(kind).max)


def read_unmixed(
    dataset: rasterio.DatasetReader,
    bands: tuple[int, ...],
    window: Window,
    shape: tuple[int, int],
    validity: Validity,
    nodata: float,
    *,
    resampling: Resampling,
    cache: int | None = None,
) -> NDArray[np.generic]:
    """Read as ``read_pixels`` would, were ``nodata`` the file's own, and from its own pixels, not overviews.

    Returns:
        ``[len(bands), *shape]``; nodata where nothing else is near, and where the file says that nothing is.

    Raises:
        InputError: the file is damaged there.
    """
    step_x, step_y = window.width / shape[1], window.height / shape[0]
    rows = max(1, int(_MOST_PX / (window.width * step_y)))
    parts = []
    for row in range(0, shape[0], rows):
        count = min(rows, shape[0] - row)
        part = Window(window.col_off, window.row_off + row * step_y, window.width, count * step_y)
        around = _around(part, ceil(step_x) + 2, ceil(step_y) + 2, dataset)
        with _without(dataset, bands, around, validity, nodata, cache) as file, file.open() as copy:
            inside = Window(part.col_off - around.col_off, part.row_off - around.row_off, part.width, part.height)
            read = partial(read_pixels, copy, tuple(copy.indexes), inside, (count, shape[1]), cache=cache)
            values = read(resampling=resampling)
            values[:, ~read(masks=True).any(axis=0)] = nodata
            parts.append(values)
    return np.concatenate(parts, axis=1)


def _around(window: Window, x: int, y: int, dataset: rasterio.DatasetReader) -> Window:
    """Give the whole pixels under a window and so many around it."""
    left, top = max(floor(window.col_off) - x, 0), max(floor(window.row_off) - y, 0)
    right = min(ceil(window.col_off + window.width) + x, dataset.width)
    bottom = min(ceil(window.row_off + window.height) + y, dataset.height)
    return Window(left, top, right - left, bottom - top)


def _without(
    dataset: rasterio.DatasetReader,
    bands: tuple[int, ...],
    window: Window,
    validity: Validity,
    nodata: float,
    cache: int | None,
) -> MemoryFile:
    """Copy a window to a file that says what nodata is."""
    shape = (int(window.height), int(window.width))
    values = read_pixels(dataset, bands, window, shape, cache=cache)
    values[:, ~validity.declared(dataset, window, shape, cache)] = nodata
    file = MemoryFile()
    profile = {"count": len(values), "height": shape[0], "width": shape[1], "dtype": values.dtype, "transform": _PLACE}
    with rasterio.Env(), file.open(driver="GTiff", nodata=nodata, **profile) as copy:
        copy.write(values)
    return file
