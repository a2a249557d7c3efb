"""How a raster lies in its file, read from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags

from d2det_geo.raster.blocks import bytes_per_value, is_tiff, spans
from d2det_geo.raster.source import open_dataset
from d2det_geo.raster.written import written_blocks


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
        return Layout(
            block_width=width,
            block_height=height,
            striped=spans(width, dataset.width) and height < dataset.height,
            compression=dataset.compression.value if dataset.compression else "",
            overviews=tuple(dataset.overviews(1)),
            bytes_per_pixel=sum(bytes_per_value(name) for name in dataset.dtypes),
            holes=any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums)
            or any(name.startswith(("float", "complex")) for name in dataset.dtypes),
            written=_written(dataset),
        )


def _written(dataset: rasterio.DatasetReader) -> NDArray[np.bool_] | None:
    if not is_tiff(dataset):
        return None
    height, width = dataset.block_shapes[0]
    written = written_blocks(dataset, range(-(-dataset.height // height)), range(-(-dataset.width // width)))
    return None if written.all() else written
