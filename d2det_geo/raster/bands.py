"""Which three bands of a raster are red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence

import rasterio
from rasterio.enums import ColorInterp

from d2det_geo.errors import InputError, UsageError

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def choose_bands(
    dataset: rasterio.DatasetReader, wanted: Sequence[int] | None
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Choose the bands of an RGB image: the named ones, those that say red, green, blue, or the first three.

    Args:
        dataset: the source.
        wanted: three indices from 1, repeats allowed (1, 1, 1 shows one band as grey), or None.

    Returns:
        The band indices, and notices about bands left out.

    Raises:
        InputError: the raster has no three bands of colour.
        UsageError: ``wanted`` is not three of the raster's bands.
    """
    if wanted is not None:
        return _named(dataset, wanted), ()
    kinds = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    colours = [index for index, kind in kinds.items() if kind != ColorInterp.alpha]
    if len(colours) < 3:
        raise InputError(f"{dataset.name}: {_too_few(list(kinds.values()), len(colours))}")
    by_kind = [next((index for index in colours if kinds[index] == kind), 0) for kind in _RGB]
    red, green, blue = by_kind if all(by_kind) else colours[:3]
    if len(colours) == 3:
        return (red, green, blue), ()
    notice = f"bands {red}, {green}, {blue} of {dataset.count} are taken as red, green, blue; --bands chooses others"
    return (red, green, blue), (notice,)


def _named(dataset: rasterio.DatasetReader, wanted: Sequence[int]) -> tuple[int, int, int]:
    if len(wanted) != 3:
        raise UsageError(f"{dataset.name}: --bands takes three bands (red, green, blue), got {len(wanted)}")
    wrong = [index for index in wanted if index not in dataset.indexes]
    if wrong:
        raise UsageError(f"{dataset.name}: has no band {wrong[0]}; --bands counts from 1 to {dataset.count}")
    red, green, blue = wanted
    return red, green, blue


def _too_few(kinds: list[ColorInterp], colours: int) -> str:
    if kinds[0] == ColorInterp.palette:
        return (
            "has 1 band of palette indices and the model wants red, green, blue;"
            " expand it with gdal_translate -expand rgb"
        )
    alpha = " and alpha" if ColorInterp.alpha in kinds else ""
    bands = f"{colours} band{'s' if colours > 1 else ''}{alpha}"
    return f"has {bands} and the model wants red, green, blue; name three, for example --bands 1,1,1"
