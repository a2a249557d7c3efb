"""Values of any real type to the uint8 the model wants, by one scaling for the whole scene.

Scaling per chip would show the network the same roof in two greys, so the range is taken
once, from a sample of the scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

from d2det_geo.raster.sample import sample_windows
from d2det_geo.raster.source import read_pixels
from d2det_geo.raster.validity import Validity

_PLACES = (16, 64, 128)  # per side of a large scene, where its range of values is looked at: more in a sparse one
_ENOUGH_PX = 1000  # to take a range from
PERCENTILES = (2.0, 98.0)
PERCENTILES_NAME = "2nd to 98th percentile"


@dataclass(frozen=True, slots=True)
class Scaling:
    """A linear map of ``[low, high]`` to ``[0, 255]``, the same for the three bands so that colours keep their hue."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Scale, clip and round. Values that are not finite become 0; the validity mask tells them apart."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = values.astype(np.float32)
            scaled -= np.float32(self.low)
            scaled *= np.float32(255 / (self.high - self.low))
            np.clip(scaled, 0, 255, out=scaled)
        np.rint(scaled, out=scaled)
        if np.issubdtype(values.dtype, np.floating):
            scaled[~np.isfinite(values)] = 0
        return scaled.astype(np.uint8)


def scaling_of(
    dataset: rasterio.DatasetReader, bands: tuple[int, ...], validity: Validity
) -> tuple[Scaling | None, tuple[str, ...]]:
    """Take the range of the whole scene.

    Args:
        dataset: the source.
        bands: indices from 1.
        validity: tells which pixels count.

    Returns:
        The scaling of the 2nd to 98th percentile of the valid values; a range of one value is widened by one. Bytes
        stay as they are: None. And notices.

    Raises:
        InputError: the file is damaged.
    """
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if dtypes == {"uint8"}:
        return None, ()
    for places in _PLACES:
        values = np.concatenate(list(_valid_sample(dataset, bands, validity, places)))
        if values.size >= _ENOUGH_PX * len(bands):
            break
    low, high = (float(value) for value in np.percentile(values, PERCENTILES)) if values.size else (0.0, 1.0)
    # One more is no more than a value beyond 2**53.
    scaling = Scaling(low, high if high > low else max(low + 1.0, float(np.nextafter(low, np.inf))))
    notice = f"{'/'.join(sorted(dtypes))} values {scaling.low:.6g} to {scaling.high:.6g} are scaled to 0 to 255"
    return scaling, (notice,)


def _valid_sample(
    dataset: rasterio.DatasetReader, bands: tuple[int, ...], validity: Validity, places: int
) -> Iterator[NDArray[np.float64]]:
    """Read values from all over the scene, without those that stand for no value in their own band."""
    yield np.zeros(0)
    for window, shape in sample_windows(dataset, places):
        valid = validity.declared(dataset, window, shape)
        if valid.any():
            values = read_pixels(dataset, bands, window, shape)
            for band, one in zip(bands, values, strict=True):
                kept = one[valid & np.isfinite(one)]
                for nodata in (dataset.nodatavals[band - 1], validity.nodata):
                    kept = kept if nodata is None else kept[kept != nodata]
                yield kept.astype(np.float64)
