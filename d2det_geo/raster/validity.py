"""Which pixels of a raster hold an image: nodata, alpha, mask bands, NaN, and blocks that were never written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving, MaskFlags
from rasterio.windows import Window

from d2det_geo.raster.source import read_pixels


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """How the validity of a window is found; ``validity_of`` decides once per scene."""

    mask_bands: tuple[int, ...]
    """Bands whose masks are read; none when every pixel of the raster is valid by declaration."""
    nodata: float | None
    """A value the user calls nodata, in addition to what the raster says."""
    floating: bool
    """The values may be NaN."""
    written: NDArray[np.bool_] | None
    """``[rows, columns]`` of blocks that exist in a sparse GeoTIFF; None where all do."""

    def declared(self, dataset: rasterio.DatasetReader, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Read which pixels the raster itself calls valid, in any of the chosen bands.

        Args:
            dataset: the source.
            window: in scene px.
            shape: rows and columns of the result.
        """
        if self._blank(dataset, window):
            return np.zeros(shape, np.bool_)
        if not self.mask_bands:
            return np.ones(shape, np.bool_)
        masks = read_pixels(dataset, self.mask_bands, window, shape, masks=True)
        valid: NDArray[np.bool_] = np.count_nonzero(masks, axis=0) > 0
        return valid

    def narrow(self, valid: NDArray[np.bool_], values: NDArray[np.generic]) -> None:
        """Take out of ``valid [H, W]``, in place, what the values ``[3, H, W]`` themselves rule out."""
        if self.nodata is not None:
            valid &= (values != self.nodata).any(axis=0)
        if self.floating:
            valid &= np.isfinite(values).all(axis=0)

    def _blank(self, dataset: rasterio.DatasetReader, window: Window) -> bool:
        """Say, without reading anything, that no block under a window was ever written."""
        if self.written is None:
            return False
        height, width = dataset.block_shapes[0]
        rows = slice(int(window.row_off // height), int(np.ceil((window.row_off + window.height) / height)))
        columns = slice(int(window.col_off // width), int(np.ceil((window.col_off + window.width) / width)))
        return not self.written[rows, columns].any()


def validity_of(dataset: rasterio.DatasetReader, bands: tuple[int, ...], nodata: float | None) -> Validity:
    """Look at a raster's flags: a plain one costs no mask reads later."""
    return Validity(
        mask_bands=_mask_bands({band: set(dataset.mask_flag_enums[band - 1]) for band in bands}),
        nodata=nodata,
        floating=any(np.issubdtype(np.dtype(dataset.dtypes[band - 1]), np.floating) for band in bands),
        written=_written_blocks(dataset),
    )


def _mask_bands(flags: dict[int, set[MaskFlags]]) -> tuple[int, ...]:
    if any(MaskFlags.all_valid in kinds for kinds in flags.values()):
        return ()  # a pixel is valid when any of its bands is
    if all(MaskFlags.per_dataset in kinds for kinds in flags.values()):
        return (min(flags),)  # one mask, or alpha, serves them all
    return tuple(sorted(flags))


def _written_blocks(dataset: rasterio.DatasetReader) -> NDArray[np.bool_] | None:
    if dataset.driver != "GTiff":
        return None
    height, width = dataset.block_shapes[0]
    rows, columns = -(-dataset.height // height), -(-dataset.width // width)
    bands = (1,) if dataset.interleaving == Interleaving.pixel else dataset.indexes
    with rasterio.Env():
        written = np.array(
            [
                [any(_has_block(dataset, band, row, column) for band in bands) for column in range(columns)]
                for row in range(rows)
            ]
        )
    return None if written.all() else written


def _has_block(dataset: rasterio.DatasetReader, band: int, row: int, column: int) -> bool:
    return dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None
