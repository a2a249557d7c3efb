"""Which blocks of a raster were ever written: a sparse GeoTIFF leaves out those without image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving
from rasterio.windows import Window

from d2det_geo.raster.blocks import is_tiff

_MOST_BLOCKS = 2**20  # looked at under one window: 1.4 s


def written_blocks(dataset: rasterio.DatasetReader, rows: Sequence[int], columns: Sequence[int]) -> NDArray[np.bool_]:
    """Look up, without reading a pixel, which blocks a TIFF has in any of its bands.

    Args:
        dataset: a TIFF, looked at inside a ``rasterio.Env``.
        rows: numbers of rows of blocks.
        columns: numbers of columns of blocks.

    Returns:
        ``[len(rows), len(columns)]``.
    """
    bands = (1,) if dataset.interleaving == Interleaving.pixel else dataset.indexes
    found = [
        any(dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None for band in bands)
        for row in rows
        for column in columns
    ]
    return np.array(found, np.bool_).reshape(len(rows), len(columns))


def written_pixels(dataset: rasterio.DatasetReader, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Say which pixels of a window lie in blocks that were written.

    Args:
        dataset: the source.
        window: in scene px, which need not be whole.
        shape: rows and columns of the result; each pixel is that at its centre.

    Returns:
        ``[*shape]``; None where all of them do, or the window has too many blocks to look at.
    """
    if not is_tiff(dataset):
        return None
    height, width = dataset.block_shapes[0]
    row_of = _blocks_under(window.row_off, window.height, shape[0], height, dataset.height)
    column_of = _blocks_under(window.col_off, window.width, shape[1], width, dataset.width)
    rows, columns = range(row_of[0], row_of[-1] + 1), range(column_of[0], column_of[-1] + 1)
    if len(rows) * len(columns) > _MOST_BLOCKS:
        return None
    with rasterio.Env():
        written = written_blocks(dataset, rows, columns)
    return None if written.all() else written[np.ix_(row_of - rows[0], column_of - columns[0])]


def _blocks_under(start: float, length: float, count: int, block: int, end: int) -> NDArray[np.intp]:
    """Number the block under the centre of each of ``count`` pixels."""
    centres = start + (np.arange(count) + 0.5) * (length / count)
    blocks: NDArray[np.intp] = np.minimum(centres, end - 1).astype(np.intp) // block
    return blocks
