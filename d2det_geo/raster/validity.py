"""Which pixels of a raster hold an image: nodata, alpha, mask bands, NaN, and blocks that were never written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from d2det_geo.raster.sample import sample
from d2det_geo.raster.source import read_pixels
from d2det_geo.raster.written import written_pixels

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
        written = written_pixels(dataset, window, shape)
        if written is not None and not written.any():
            return written
        if not self.mask_bands:
            return all_valid(shape) if written is None else written
        masks = read_pixels(dataset, self.mask_bands, window, shape, masks=True, cache=cache)
        valid: NDArray[np.bool_] = np.count_nonzero(masks, axis=0) > 0
        return valid if written is None else valid & written

    def narrowed(self, valid: NDArray[np.bool_], values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Take out of ``valid [H, W]`` the pixels of which no band of ``[C, H, W]`` holds a value."""
        if self.nodata is None and not self.floating:
            return valid
        holds = np.isfinite(values) if self.floating else np.ones(values.shape, np.bool_)
        if self.nodata is not None:
            holds &= values != self.nodata
        return valid & holds.any(axis=0)


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
    validity = Validity(
        mask_bands=mask_bands,
        nodata=nodata,
        floating=any(np.issubdtype(np.dtype(dataset.dtypes[band - 1]), np.floating) for band in bands),
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
