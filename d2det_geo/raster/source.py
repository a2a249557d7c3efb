"""Opening and reading any GDAL raster, with failures in words.

Every call into GDAL runs inside ``rasterio.Env``: that turns GDAL's messages into exceptions
on whichever thread reads, and bounds the block cache.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what rasterio forgets to wrap
from rasterio.enums import Resampling
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.blocks import cache_bytes, check_size

_STRICT = {
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,  # or what a truncated JPEG lacks is grey
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",  # or a truncated PNG that is read whole is noise, and nothing is said
}
_ERRORS = (RasterioError, CPLE_BaseError, OSError, UnicodeDecodeError)  # the last of messages that quote the file
_ADDRESS = re.compile(r"^/vsi|^[A-Za-z][A-Za-z0-9+_]+:")  # /vsicurl/..., https://..., NETCDF:file:variable


def open_dataset(path: str | Path) -> rasterio.DatasetReader:
    """Open a raster; the network is touched only when the name itself is an address.

    Raises:
        InputError: missing, a directory, empty, not a raster, damaged, or without bands.
    """
    name = str(path)
    if not is_address(name):
        _check_file(Path(name))
    with understanding(name), warnings.catch_warnings():
        # The scene says so itself, once, as a notice.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(name)
        try:
            _check_dataset(dataset)
        except BaseException:
            dataset.close()
            raise
    return dataset


@contextmanager
def understanding(name: str) -> Iterator[None]:
    """Say in words what GDAL finds wrong with a file while it is opened, or asked what it is.

    Raises:
        InputError: in place of GDAL's own errors.
    """
    try:
        with rasterio.Env(**_STRICT):
            yield
    except _ERRORS as error:
        raise InputError(f"{name}: not a raster GDAL can read ({_reason(error, name)}); check the file") from error


def is_address(name: str | Path) -> bool:
    """Tell whether a scene is an address, such as ``https://...`` or ``/vsizip/...``, and not the path of a file."""
    return _ADDRESS.match(str(name)) is not None


def read_pixels(
    dataset: rasterio.DatasetReader,
    bands: tuple[int, ...],
    window: Window,
    shape: tuple[int, int],
    *,
    masks: bool = False,
    resampling: Resampling = Resampling.nearest,
    cache: int | None = None,
) -> NDArray[np.generic]:
    """Read ``[len(bands), *shape]`` from a window of scene px, which need not be whole.

    Args:
        dataset: the source.
        bands: indices from 1; repeats are allowed.
        window: in px of the scene.
        shape: (rows, columns) of the result; GDAL takes the overview that fits.
        masks: read the validity masks of the bands (uint8, 0 is invalid) in place of their values.
        resampling: how pixels are weighted when ``shape`` is not the window's own.
        cache: bytes of blocks GDAL keeps; None is enough for a small raster, or a row of chips of most.

    Returns:
        The values, of a type that holds those of all the bands.

    Raises:
        InputError: the file is damaged there.
    """
    read = dataset.read_masks if masks else dataset.read
    kinds = {dataset.dtypes[band - 1] for band in bands}
    # Bands of one kind are read at once, as they are stored; rasterio takes no others together.
    groups = [list(bands)] if masks or len(kinds) == 1 else [[band] for band in bands]
    try:
        with _CACHE.bounded(cache_bytes(dataset) if cache is None else cache), rasterio.Env(**_STRICT):
            parts = [
                read(group, window=window, out_shape=(len(group), *shape), resampling=resampling) for group in groups
            ]
    except _ERRORS as error:
        x, y = window.col_off, window.row_off
        raise InputError(
            f"{dataset.name}: cannot read columns {x:.0f} to {x + window.width:.0f}, rows {y:.0f} to"
            f" {y + window.height:.0f} ({_reason(error, dataset.name)}); the file may be truncated, fetch it again"
        ) from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def kept_blocks(cache: int) -> AbstractContextManager[None]:
    """Let GDAL keep so many bytes of blocks from one read to the next."""
    return _CACHE.bounded(cache)


class _BlockCache:
    """GDAL's block cache, which all threads of a process share.

    An ``Env`` would bound it, but not put the limit back where it is inside another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self._before = 0

    @contextmanager
    def bounded(self, limit: int) -> Iterator[None]:
        """Bound the cache for the time of a block; of blocks that run at once, the largest limit holds."""
        with self._lock:
            if not self._limits:
                self._before = get_gdal_config("GDAL_CACHEMAX")
            self._limits.append(limit)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._limits.remove(limit)
                self._apply()

    def _apply(self) -> None:
        set_gdal_config("GDAL_CACHEMAX", max(self._limits, default=self._before))


_CACHE = _BlockCache()


def _check_dataset(dataset: rasterio.DatasetReader) -> None:
    """Refuse what holds no image, or cannot be held; raises, too, what GDAL found wrong while opening."""
    if dataset.count == 0:
        parts = ", ".join(dataset.subdatasets[:3])
        advice = f"name one of its parts: {parts}" if parts else "give a file with image bands"
        raise InputError(f"{dataset.name}: holds no image bands itself; {advice}")
    check_size(dataset)
    try:
        _ = dataset.colorinterp  # the first call that looks at errors GDAL left behind
    except (CPLE_BaseError, UnicodeDecodeError):
        if dataset.driver != "JPEG":  # damaged EXIF or XMP says nothing of the picture, which is checked as it is read
            raise


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the raster file inside it")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes); fetch the file again")


def _reason(error: Exception, name: str) -> str:
    """Take GDAL's own words, in one line, without the name the message starts with anyway."""
    words = str(error.__cause__ or error).replace(f"'{name}'", "the file")
    # Only where the message names its file: a short name may be part of any word.
    return " ".join(re.sub(rf"(?<!\S){re.escape(name)}(?=[:,]|$)", "the file", words).split())
