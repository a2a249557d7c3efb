"""A scene: one raster of any size and kind, read as RGB chips at the ground sample distance a model wants.

Two frames of pixels meet here and nowhere else. *Scene px* are the raster's own; *grid px*
are those of the scene resampled to the wanted GSD, where windows and chips live. They differ
by ``Scene.scale`` alone, so ``scene = grid * scale``; world coordinates come from scene px
through the full affine.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from d2det_geo.errors import UsageError
from d2det_geo.raster.bands import choose_bands
from d2det_geo.raster.blocks import blocks_of, cache_bytes
from d2det_geo.raster.fringes import fringe_of
from d2det_geo.raster.georeference import georeference_of, placed
from d2det_geo.raster.lane_plan import MOST_CACHE, LanePlan, plan_lanes
from d2det_geo.raster.lanes import Chip, OpenReader, Read, read_in_lanes
from d2det_geo.raster.radiometry import PERCENTILES_NAME, scaling_of
from d2det_geo.raster.reader import ChipReader
from d2det_geo.raster.source import kept_blocks, open_dataset, understanding
from d2det_geo.raster.validity import validity_of

_NATIVE_TOLERANCE = 0.01  # a GSD this close is the scene's own: resampling would only blur


@dataclass(slots=True, eq=False)
class Scene:
    """An open raster. Use it as a context manager; one thread uses it at a time."""

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
    axis_gsd_m: tuple[float, float] | None
    """The same along a row and along a column."""
    uncertainty_m: float | None
    """How far off its place may be where that is known approximately, as of a raw drone frame."""
    grid_width: int
    """Of the scene resampled to the wanted GSD, grid px."""
    grid_height: int
    notices: tuple[str, ...]
    """What the user should know about how the raster was understood."""
    _reader: ChipReader
    _cache_limit: int = field(default=MOST_CACHE, init=False)

    @property
    def scale(self) -> tuple[float, float]:
        """``(x, y)`` scene px per grid px."""
        return self.width / self.grid_width, self.height / self.grid_height

    @property
    def scaling(self) -> dict[str, float | str] | None:
        """How values become grey levels, for the manifest: ``low``, ``high``, ``from``; None for bytes as they are."""
        if self._reader.scaling is None:
            return None
        return {**asdict(self._reader.scaling), "from": PERCENTILES_NAME}

    def read(self, window: Window) -> Chip:
        """Read one chip.

        Args:
            window: in grid px, inside the grid.

        Returns:
            The chip ``[3, H, W]`` (red, green, blue; invalid pixels are 0), and ``[H, W]`` which pixels are valid;
            that may be shared between chips and read-only.

        Raises:
            InputError: the file is damaged there.
        """
        return self._reader.read(window)

    def read_all(self, windows: Sequence[Window], *, ahead_bytes: int) -> Generator[tuple[Window, Chip]]:
        """Read many chips, ahead of who takes them, on threads with dataset handles of their own.

        Args:
            windows: in grid px, row by row.
            ahead_bytes: of chips read and not yet taken, in all; 4 bytes per px of a row of chips keep every lane
                busy, and each lane may hold one chip in any case.

        Yields:
            Windows and chips in the order given. An error is raised where its chip would have come. Closed early,
            it waits for no more than the windows being read.

        Raises:
            InputError: the file is damaged there.
        """
        if not windows:
            return
        plan = self._plan(max(window.width for window in windows), max(window.height for window in windows))
        lanes, opened = plan.assign(windows), self._open_reader(plan.cache)
        with kept_blocks(plan.cache), closing(read_in_lanes(opened, windows, lanes, ahead_bytes)) as chips:
            yield from chips

    def cache_wanted(self, chip_width: int, chip_height: int) -> int:
        """Bytes of blocks that GDAL keeps while ``read_all`` reads chips of a size, so that each is decoded once.

        It is never more than ``limit_cache`` said; fewer lanes, or blocks decoded again, are the price.
        """
        return self._plan(chip_width, chip_height).cache

    def limit_cache(self, limit: int) -> None:
        """Let ``read_all`` keep at most so many bytes of decoded blocks; 1 GiB unless told."""
        self._cache_limit = limit

    def close(self) -> None:
        """Let go of the file."""
        self._reader.dataset.close()

    def __enter__(self) -> Self:
        """Use the scene."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _open_reader(self, cache: int) -> OpenReader:
        @contextmanager
        def reader() -> Iterator[Read]:
            with _open(self.path) as dataset:
                yield replace(self._reader, dataset=dataset, cache=cache).read

        return reader

    def _plan(self, chip_width: int, chip_height: int) -> LanePlan:
        reader = self._reader
        scale = min(self.scale) if reader.hidden_nodata() is None else 1.0
        with understanding(self.path):
            blocks = blocks_of(reader.dataset, reader.colours.bands, scale)
        return plan_lanes(blocks, reader.grid, (chip_width, chip_height), self._cache_limit)


def open_scene(
    path: str | Path,
    *,
    gsd_m: float | None = None,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    oblique: bool = False,
) -> Scene:
    """Open a raster as a scene on the grid of ``gsd_m``.

    Args:
        path: anything GDAL opens; http(s), s3 and /vsi addresses are followed.
        gsd_m: metres per pixel of the grid; None keeps the raster's own pixels, as does a scene without georeference.
        bands: which bands are red, green and blue, from 1; None lets the raster say.
        nodata: value of pixels without image, in addition to the raster's own.
        oblique: place raw drone frames on the ground that look far away from straight down, too.

    Raises:
        InputError: the file is no raster of real values, or damaged, or an oblique frame.
        UsageError: ``bands`` or ``gsd_m`` make no sense.
    """
    if gsd_m is not None and not 0 < gsd_m < np.inf:
        raise UsageError(f"the GSD must be a positive number of metres per pixel, got {gsd_m}")
    dataset = _open(path)
    try:
        with understanding(dataset.name):
            return _understand(dataset, gsd_m, bands, nodata, oblique=oblique)
    except BaseException:
        dataset.close()
        raise


def _open(path: str | Path) -> rasterio.DatasetReader:
    """Open the raster as each lane reads it."""
    return placed(open_dataset(path))


def _understand(
    dataset: rasterio.DatasetReader,
    gsd_m: float | None,
    bands: Sequence[int] | None,
    nodata: float | None,
    *,
    oblique: bool,
) -> Scene:
    colours = choose_bands(dataset, bands)
    validity, mask_notices = validity_of(dataset, colours.bands, nodata)
    scaling, scaling_notices = (
        (None, ()) if colours.palette is not None else scaling_of(dataset, colours.bands, validity)
    )
    place = georeference_of(dataset, oblique=oblique)
    native = place.axes_m and float(np.sqrt(place.axes_m[0] * place.axes_m[1]))
    grid_width, grid_height = _grid(dataset, place.axes_m, gsd_m)
    scale = (dataset.width / grid_width, dataset.height / grid_height)
    reader = ChipReader(
        dataset=dataset,
        scale=scale,
        grid=(grid_width, grid_height),
        colours=colours,
        validity=validity,
        fringe=None if colours.palette is not None else fringe_of(dataset, nodata, min(scale)),
        scaling=scaling,
        cache=cache_bytes(dataset),
    )
    return Scene(
        path=dataset.name,
        width=dataset.width,
        height=dataset.height,
        crs=place.crs,
        transform=place.transform,
        gsd_m=native,
        axis_gsd_m=place.axes_m,
        uncertainty_m=place.uncertainty_m,
        grid_width=grid_width,
        grid_height=grid_height,
        notices=(
            *place.notices,
            *colours.notices,
            *mask_notices,
            *scaling_notices,
            *_gsd_notices(native, gsd_m),
        ),
        _reader=reader,
    )


def _grid(dataset: rasterio.DatasetReader, axes: tuple[float, float] | None, gsd_m: float | None) -> tuple[int, int]:
    if axes is None or gsd_m is None or all(abs(axis / gsd_m - 1) <= _NATIVE_TOLERANCE for axis in axes):
        return dataset.width, dataset.height
    # Each axis by its own length on the ground: lat/lon pixels become square for the network.
    return max(1, round(dataset.width * axes[0] / gsd_m)), max(1, round(dataset.height * axes[1] / gsd_m))


def _gsd_notices(native: float | None, wanted: float | None) -> tuple[str, ...]:
    if native is None or wanted is None or 0.5 <= native / wanted <= 2:
        return ()
    return (f"the scene has {native:.3g} m per pixel and the model wants {wanted:.3g}: expect poor results",)
