"""Which pixels of a raster hold an image: nodata, alpha, mask bands, NaN, and blocks that were never written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.windows import Window

from d2det_geo.raster.sample import sample
from d2det_geo.raster.source import read_pixels

_MOST_BLOCKS = 4096  # looked at under one window: beyond, reading them takes no longer
_IMAGE_LEVELS = 32  # values between none and full that an alpha band of soft edges does not reach ...
_IMAGE_SHARE = 0.25  # ... in so many of its pixels


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """How the validity of a window is found; ``validity_of`` decides once per scene."""

    mask_bands: tuple[int, ...]
    """Bands whose masks are read; none when every pixel of the raster is valid by declaration."""
    nodata: float | None
    """A value the user calls nodata, in addition to what the raster says."""
    floating: bool
    """The values may be NaN."""
    written_bands: tuple[int, ...]
    """Bands of a GeoTIFF that may lack blocks; none where the format writes them all."""

    def declared(
        self, dataset: rasterio.DatasetReader, window: Window, shape: tuple[int, int], cache: int | None = None
    ) -> NDArray[np.bool_]:
        """Read which pixels the raster itself calls valid, in any of the chosen bands.

        Args:
            dataset: the source.
            window: in scene px.
            shape: rows and columns of the result, which may be shared and read-only.
            cache: as for ``read_pixels``.
        """
        if self._blank(dataset, window):
            return np.zeros(shape, np.bool_)
        if not self.mask_bands:
            return all_valid(shape)
        masks = read_pixels(dataset, self.mask_bands, window, shape, masks=True, cache=cache)
        valid: NDArray[np.bool_] = np.count_nonzero(masks, axis=0) > 0
        return valid

    def narrowed(self, valid: NDArray[np.bool_], values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Take out of ``valid [H, W]`` what the values ``[C, H, W]`` themselves rule out."""
        if self.nodata is not None:
            valid = valid & (values != self.nodata).any(axis=0)
        if self.floating:
            valid = valid & np.isfinite(values).all(axis=0)
        return valid

    def _blank(self, dataset: rasterio.DatasetReader, window: Window) -> bool:
        """Say, without reading anything, that no block under a window was ever written."""
        if not self.written_bands:
            return False
        height, width = dataset.block_shapes[0]
        rows = range(int(window.row_off // height), int(np.ceil((window.row_off + window.height) / height)))
        columns = range(int(window.col_off // width), int(np.ceil((window.col_off + window.width) / width)))
        if len(rows) * len(columns) > _MOST_BLOCKS:
            return False
        with rasterio.Env():
            return not any(
                _has_block(dataset, band, row, column)
                for row in rows
                for column in columns
                for band in self.written_bands
            )


@lru_cache(maxsize=8)
def all_valid(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the validity of a chip without a hole, one read-only array for all of them."""
    valid = np.ones(shape, np.bool_)
    valid.setflags(write=False)
    return valid


def validity_of(
    dataset: rasterio.DatasetReader, bands: tuple[int, ...], nodata: float | None
) -> tuple[Validity, tuple[str, ...]]:
    """Look at a raster's flags: a plain one costs no mask reads later.

    Returns:
        How to tell valid pixels, and a notice about an alpha band that is none.
    """
    mask_bands = _mask_bands({band: set(dataset.mask_flag_enums[band - 1]) for band in bands})
    notices: tuple[str, ...] = ()
    alpha = next((i for i, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha), None)
    by_alpha = mask_bands and MaskFlags.alpha in dataset.mask_flag_enums[bands[0] - 1]
    if by_alpha and alpha is not None and _is_image(dataset, bands, alpha):
        mask_bands = ()
        notices = (
            f"band {alpha} is called alpha but looks like image (near infrared?), so it masks nothing;"
            " --bands chooses colours, --nodata names what is no image",
        )
    pixel = dataset.interleaving == Interleaving.pixel
    written = dataset.driver in ("GTiff", "COG")
    validity = Validity(
        mask_bands=mask_bands,
        nodata=nodata,
        floating=any(np.issubdtype(np.dtype(dataset.dtypes[band - 1]), np.floating) for band in bands),
        written_bands=() if not written else (1,) if pixel else tuple(dataset.indexes),
    )
    return validity, notices


def _mask_bands(flags: dict[int, set[MaskFlags]]) -> tuple[int, ...]:
    if any(MaskFlags.all_valid in kinds for kinds in flags.values()):
        return ()  # a pixel is valid when any of its bands is
    if all(MaskFlags.per_dataset in kinds for kinds in flags.values()):
        return (min(flags),)  # one mask, or alpha, serves them all
    return tuple(sorted(flags))


def _is_image(dataset: rasterio.DatasetReader, bands: tuple[int, ...], alpha: int) -> bool:
    """Tell an alpha band that varies as only an image does, where there is colour."""
    dtype = np.dtype(dataset.dtypes[alpha - 1])
    if not np.issubdtype(dtype, np.integer):
        return False
    values = sample(dataset, (alpha, *(band for band in bands if band != alpha)), places=4)
    seen = values[0][values[1:].any(axis=0)]
    between = seen[(seen > 0) & (seen < np.iinfo(dtype).max)]
    return between.size > _IMAGE_SHARE * seen.size and np.unique(between).size > _IMAGE_LEVELS


def _has_block(dataset: rasterio.DatasetReader, band: int, row: int, column: int) -> bool:
    return dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is not None
