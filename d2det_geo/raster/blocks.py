"""How a raster is cut into blocks, and what of it GDAL should keep so that each is decoded once.

Rows of chips overlap, so a block row is met by two of them: it is decoded once when the block
cache holds all blocks under one row of chips.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Interleaving, MaskFlags

from d2det_geo.errors import InputError

MIB = 2**20
LARGEST_BLOCK = 1024 * MIB  # bytes, decoded: GDAL holds a block whole
LONGEST_SIDE = 2**26  # px: around the earth at 0.6 m
LARGEST_AREA = 2**44  # px: a country of 600,000 km2 at 0.2 m
MOST_BANDS = 4096  # ten times those of an imaging spectrometer
# Formats with blocks that are decoded one by one; of the others each handle would decode the whole file.
_RANDOM_ACCESS = {"GTiff", "COG", "VRT", "HFA", "GPKG", "MBTiles", "JP2OpenJPEG", "ENVI", "EHdr"}
_INDEX_BYTES = 4  # at least, of a block's entry in a TIFF, also of one that was never written
_FEW_BLOCKS = 1000
_VRT_BLOCK = 512  # px: a VRT says nothing of the blocks of its sources


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a raster, as it is read at some scale."""

    width: int
    """Of the raster, px at the level of overviews that is read."""
    height: int
    block_width: int
    block_height: int
    bytes_per_px: int
    """What is decoded with one pixel, all bands of its block."""
    random_access: bool
    """A block can be decoded without those before it."""

    @property
    def striped(self) -> bool:
        """Blocks span the raster."""
        return spans(self.block_width, self.width)

    def under_row(self, chip_height: float) -> int:
        """Bytes of all blocks that a row of chips can touch; ``chip_height`` in px of the raster."""
        return self._rows(chip_height) * (ceil(self.width / self.block_width) * self.block_width) * self.bytes_per_px

    def under_chip(self, chip_width: float, chip_height: float) -> int:
        """Bytes of the blocks that one chip can touch."""
        columns = (ceil((chip_width - 1) / self.block_width) + 1) * self.block_width
        return self._rows(chip_height) * columns * self.bytes_per_px

    def _rows(self, chip_height: float) -> int:
        rows = ceil((chip_height - 1) / self.block_height) + 1
        return min(rows, ceil(self.height / self.block_height)) * self.block_height


def blocks_of(dataset: rasterio.DatasetReader, bands: tuple[int, ...], scale: float = 1.0) -> Blocks:
    """Look at how bands are stored.

    Args:
        dataset: the source.
        bands: indices from 1.
        scale: scene px per px of what is read; reads are made from the largest overview within, of 1.0 from none.
    """
    height, width = dataset.block_shapes[bands[0] - 1]
    if dataset.driver == "VRT":
        height, width = max(height, _VRT_BLOCK), max(width, _VRT_BLOCK)
    factor = max([factor for factor in dataset.overviews(bands[0]) if factor <= scale], default=1)
    return Blocks(
        width=ceil(dataset.width / factor),
        height=ceil(dataset.height / factor),
        block_width=width,
        block_height=height,
        bytes_per_px=_bytes_per_px(dataset, bands),
        random_access=dataset.driver in _RANDOM_ACCESS,
    )


def check_size(dataset: rasterio.DatasetReader) -> None:
    """Refuse what no memory holds, before any is taken.

    Raises:
        InputError: the raster has more pixels or bands than any image, or blocks that are too large to be decoded.
    """
    width, height = dataset.width, dataset.height
    if dataset.count > MOST_BANDS:
        raise InputError(f"{dataset.name}: says it has {dataset.count} bands, more than any image; check the file")
    if max(width, height) > LONGEST_SIDE or width * height > LARGEST_AREA:
        raise InputError(f"{dataset.name}: says it has {width} x {height} px, more than any image; check the file")
    together = dataset.interleaving == Interleaving.pixel
    _check_index(dataset, together=together)
    for (rows, columns), name in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        size = rows * columns * bytes_per_value(name) * (dataset.count if together else 1)
        if not 0 < size <= LARGEST_BLOCK:
            raise InputError(
                f"{dataset.name}: is stored in blocks of {columns} x {rows} px, {size / 2**30:.1f} GiB each;"
                " rewrite it in tiles (gdal_translate -co TILED=YES)"
            )


def _check_index(dataset: rasterio.DatasetReader, *, together: bool) -> None:
    """Refuse a TIFF that is smaller than the list of where its blocks are: its header is not its own."""
    path = Path(dataset.name)
    rows, columns = dataset.block_shapes[0] if dataset.count else (0, 0)
    if not is_tiff(dataset) or not rows * columns or not path.is_file():
        return
    blocks = ceil(dataset.height / rows) * ceil(dataset.width / columns) * (1 if together else dataset.count)
    if blocks > _FEW_BLOCKS and path.stat().st_size < _INDEX_BYTES * blocks:
        raise InputError(
            f"{dataset.name}: says it has {dataset.width} x {dataset.height} px in {blocks} blocks and is too small"
            " to say where they are; it is damaged or cut short, fetch it again"
        )


def cache_bytes(dataset: rasterio.DatasetReader) -> int:
    """Size GDAL's block cache for reads in no particular order: a small raster whole, 256 MiB of a large one."""
    values = dataset.width * dataset.height * dataset.count
    return int(np.clip(values * max(bytes_per_value(name) for name in dataset.dtypes), 16 * MIB, 256 * MIB))


def spans(block_width: int, width: int) -> bool:
    """Tell blocks as wide as the raster, strips or one block for all of it: a chip costs all of its rows."""
    return block_width >= width


def is_tiff(dataset: rasterio.DatasetReader) -> bool:
    """Tell a TIFF, which says of each block where it is."""
    return dataset.driver in {"GTiff", "COG"}


def bytes_per_value(dtype: str) -> int:
    """Size a value of a type by rasterio's name for it."""
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize


def _bytes_per_px(dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> int:
    decoded = set(bands) if dataset.interleaving == Interleaving.band else set(dataset.indexes)
    mask = dataset.mask_flag_enums[bands[0] - 1] == [MaskFlags.per_dataset]
    sizes = [bytes_per_value(name) for name in dataset.dtypes]
    return sum(sizes[band - 1] for band in decoded) + int(mask)
