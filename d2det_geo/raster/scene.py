"""A scene: one raster of any size and kind, read as RGB chips at the ground sample distance a model wants.

Two frames of pixels meet here and nowhere else. *Scene px* are the raster's own; *grid px*
are those of the scene resampled to the wanted GSD, where windows and chips live. They differ
by ``Scene.scale`` alone, so ``scene = grid * scale``; world coordinates come from scene px
through the full affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window

from d2det_geo.errors import InputError, UsageError
from d2det_geo.raster.bands import choose_bands
from d2det_geo.raster.frames import frame_georeference
from d2det_geo.raster.geodesy import axis_gsd_m
from d2det_geo.raster.radiometry import Scaling, scaling_of
from d2det_geo.raster.source import open_dataset, read_pixels
from d2det_geo.raster.validity import Validity, validity_of

_SAMPLE_SIDE = 1000  # px: the decimated read that decides the radiometric range
_NATIVE_TOLERANCE = 0.01  # a GSD this close is the scene's own: resampling would only blur


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An open raster. Use it as a context manager; one thread reads at a time."""

    path: str
    width: int
    """Of the raster, scene px."""
    height: int
    crs: CRS | None
    """None without georeference."""
    transform: Affine
    """Scene px -> world; the identity without georeference."""
    gsd_m: float | None
    """Geodesic metres per scene px at the centre, the geometric mean of both axes."""
    grid_width: int
    """Of the scene resampled to the wanted GSD, grid px."""
    grid_height: int
    notices: tuple[str, ...]
    """What the user should know about how the raster was understood."""
    _dataset: rasterio.DatasetReader
    _bands: tuple[int, int, int]
    _validity: Validity
    _scaling: Scaling | None

    @property
    def scale(self) -> tuple[float, float]:
        """``(x, y)`` scene px per grid px."""
        return self.width / self.grid_width, self.height / self.grid_height

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read one chip.

        Args:
            window: in grid px, inside the grid.

        Returns:
            The chip ``[3, H, W]`` (red, green, blue; invalid pixels are 0), and ``[H, W]`` which pixels are valid.

        Raises:
            InputError: the file is damaged there.
        """
        shape = (int(window.height), int(window.width))
        source = self._scene_window(window)
        valid = self._validity.declared(self._dataset, source, shape)
        if not valid.any():
            return np.zeros((3, *shape), np.uint8), valid
        values = read_pixels(self._dataset, self._bands, source, shape, resampling=self._resampling())
        self._validity.narrow(valid, values)
        chip: NDArray[np.uint8] = (
            values.astype(np.uint8, copy=False) if self._scaling is None else self._scaling(values)
        )
        if not valid.all():
            chip[:, ~valid] = 0
        return chip, valid

    def close(self) -> None:
        """Let go of the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        """Use the scene."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _scene_window(self, window: Window) -> Window:
        x, y = self.scale
        return Window(window.col_off * x, window.row_off * y, window.width * x, window.height * y)

    def _resampling(self) -> Resampling:
        # Bilinear weights alias when several pixels fall into one.
        return Resampling.average if max(self.scale) > 2 else Resampling.bilinear


def open_scene(
    path: str | Path, *, gsd_m: float | None = None, bands: Sequence[int] | None = None, nodata: float | None = None
) -> Scene:
    """Open a raster as a scene on the grid of ``gsd_m``.

    Args:
        path: anything GDAL opens; http(s), s3 and /vsi addresses are followed.
        gsd_m: metres per pixel of the grid; None keeps the raster's own pixels, as does a scene without georeference.
        bands: which bands are red, green and blue, from 1; None lets the raster say.
        nodata: value of pixels without image, in addition to the raster's own.

    Raises:
        InputError: the file is not a raster of three real bands, or is damaged.
        UsageError: ``bands`` or ``gsd_m`` make no sense.
    """
    if gsd_m is not None and not 0 < gsd_m < np.inf:
        raise UsageError(f"the GSD must be a positive number of metres per pixel, got {gsd_m}")
    dataset = open_dataset(path)
    try:
        return _understand(dataset, gsd_m, bands, nodata)
    except BaseException:
        dataset.close()
        raise


def _understand(
    dataset: rasterio.DatasetReader, gsd_m: float | None, bands: Sequence[int] | None, nodata: float | None
) -> Scene:
    chosen, band_notices = choose_bands(dataset, bands)
    validity = validity_of(dataset, chosen, nodata)
    scaling, scaling_notices = _radiometry(dataset, chosen, validity)
    crs, transform, axes, place_notices = _georeference(dataset)
    native = axes and float(np.sqrt(axes[0] * axes[1]))
    grid_width, grid_height = _grid(dataset, axes, gsd_m)
    return Scene(
        path=dataset.name,
        width=dataset.width,
        height=dataset.height,
        crs=crs,
        transform=transform,
        gsd_m=native,
        grid_width=grid_width,
        grid_height=grid_height,
        notices=(*place_notices, *band_notices, *scaling_notices, *_gsd_notices(native, gsd_m)),
        _dataset=dataset,
        _bands=chosen,
        _validity=validity,
        _scaling=scaling,
    )


def _georeference(
    dataset: rasterio.DatasetReader,
) -> tuple[CRS | None, Affine, tuple[float, float] | None, tuple[str, ...]]:
    if dataset.crs and not dataset.transform.is_identity:
        axes = axis_gsd_m(dataset.crs, dataset.transform, dataset.width, dataset.height)
        if axes is None:
            raise InputError(
                f"{dataset.name}: its centre is no place on the earth in {dataset.crs.to_string()[:60]};"
                " correct the georeference (gdal_edit.py -a_srs, -a_ullr)"
            )
        return dataset.crs, dataset.transform, axes, ()
    frame = frame_georeference(dataset)
    if frame is not None:
        return frame.crs, frame.transform, frame.axes_m, frame.notices
    return None, Affine.identity(), None, ("no georeference: coordinates are pixels",)


def _grid(dataset: rasterio.DatasetReader, axes: tuple[float, float] | None, gsd_m: float | None) -> tuple[int, int]:
    if axes is None or gsd_m is None or all(abs(axis / gsd_m - 1) <= _NATIVE_TOLERANCE for axis in axes):
        return dataset.width, dataset.height
    # Each axis by its own length on the ground: lat/lon pixels become square for the network.
    return max(1, round(dataset.width * axes[0] / gsd_m)), max(1, round(dataset.height * axes[1] / gsd_m))


def _gsd_notices(native: float | None, wanted: float | None) -> tuple[str, ...]:
    if native is None or wanted is None or 0.5 <= native / wanted <= 2:
        return ()
    return (f"the scene has {native:.3g} m per pixel and the model wants {wanted:.3g}: expect poor results",)


def _radiometry(
    dataset: rasterio.DatasetReader, bands: tuple[int, int, int], validity: Validity
) -> tuple[Scaling | None, tuple[str, ...]]:
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if any("complex" in dtype for dtype in dtypes):
        raise InputError(f"{dataset.name}: has complex values and the model wants real ones; convert it to amplitude")
    if dtypes == {"uint8"}:
        return None, ()
    whole = Window(0, 0, dataset.width, dataset.height)
    shape = (min(dataset.height, _SAMPLE_SIDE), min(dataset.width, _SAMPLE_SIDE))
    valid = validity.declared(dataset, whole, shape)
    values = read_pixels(dataset, bands, whole, shape)
    validity.narrow(valid, values)
    scaling = scaling_of(values, valid)
    notice = f"{'/'.join(sorted(dtypes))} values {scaling.low:.6g} to {scaling.high:.6g} are scaled to 0 to 255"
    return scaling, (notice,)
