"""How a raster lies in its file, read from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving, MaskFlags

from d2det_geo.raster.source import open_dataset


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What reading a raster will meet."""

    block_width: int
    """px; GDAL decodes whole blocks"""
    block_height: int
    striped: bool
    """blocks are as wide as the raster, so that a chip costs all of a row"""
    compression: str
    """as the file names it; empty without"""
    overviews: tuple[int, ...]
    """decimation factors of the copies that decimated reads use"""
    bytes_per_pixel: int
    """of all bands, decoded"""
    holes: bool
    """Pixels may be invalid: nodata, alpha, a mask, or NaN."""
    written: NDArray[np.bool_] | None
    """``[rows, columns]`` which blocks exist in a sparse GeoTIFF; None where all do."""


def layout_of(path: str | Path) -> Layout:
    """Look at how a raster is stored; no pixel is read.

    Raises:
        InputError: it cannot be opened.
    """
    with open_dataset(path) as dataset, rasterio.Env():
        height, width = dataset.block_shapes[0]
        types = [np.dtype("complex64" if name == "complex_int16" else name) for name in dataset.dtypes]
        return Layout(
            block_width=width,
            block_height=height,
            striped=width >= dataset.width and height < dataset.height,
            compression=dataset.compression.value if dataset.compression else "",
            overviews=tuple(dataset.overviews(1)),
            bytes_per_pixel=sum(kind.itemsize for kind in types),
            holes=any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums)
            or any(np.issubdtype(kind, np.inexact) for kind in types),
            written=_written(dataset),
        )


def _written(dataset: rasterio.DatasetReader) -> NDArray[np.bool_] | None:
    if dataset.driver not in ("GTiff", "COG"):
        return None
    height, width = dataset.block_shapes[0]
    rows, columns = -(-dataset.height // height), -(-dataset.width // width)
    bands = (1,) if dataset.interleaving == Interleaving.pixel else dataset.indexes
    written = np.array(
        [
            any(dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None for band in bands)
            for row in range(rows)
            for column in range(columns)
        ]
    )
    return None if written.all() else written.reshape(rows, columns)
