"""Which bands of a raster are red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from d2det_geo.errors import InputError, UsageError

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Where the colours of a raster come from."""

    bands: tuple[int, ...]
    """Indices from 1: red, green and blue, or one band that is all three."""
    palette: NDArray[np.uint8] | None = None
    """``[4, 2 ** bits]`` red, green, blue and alpha of each value of the one band."""
    notices: tuple[str, ...] = ()
    """About bands left out, or shown as grey."""


def choose_bands(dataset: rasterio.DatasetReader, wanted: Sequence[int] | None) -> Colours:
    """Choose what the network sees: the named bands, those that say red, green, blue, the first three, or a grey one.

    Args:
        dataset: the source.
        wanted: three indices from 1, repeats allowed (1, 1, 1 shows one band as grey), or None.

    Raises:
        InputError: their values are complex.
        UsageError: ``wanted`` is not three of the raster's bands.
    """
    colours = _chosen(dataset, wanted)
    if any("complex" in dataset.dtypes[band - 1] for band in colours.bands):
        raise InputError(f"{dataset.name}: has complex values and the model wants real ones; convert it to amplitude")
    return colours


def _chosen(dataset: rasterio.DatasetReader, wanted: Sequence[int] | None) -> Colours:
    if wanted is not None:
        return Colours(_named(dataset, wanted))
    kinds = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    colours = [index for index, kind in kinds.items() if kind != ColorInterp.alpha] or [1]
    if len(colours) < 3:
        return _single(dataset, colours, kinds[colours[0]])
    by_kind = [next((index for index in colours if kinds[index] == kind), 0) for kind in _RGB]
    red, green, blue = by_kind if all(by_kind) else colours[:3]
    if len(colours) == 3:
        return Colours((red, green, blue))
    notice = f"bands {red}, {green}, {blue} of {dataset.count} are taken as red, green, blue; --bands chooses others"
    return Colours((red, green, blue), notices=(notice,))


def _named(dataset: rasterio.DatasetReader, wanted: Sequence[int]) -> tuple[int, ...]:
    if len(wanted) != 3:
        raise UsageError(f"{dataset.name}: --bands takes three bands (red, green, blue), got {len(wanted)}")
    wrong = [index for index in wanted if index not in dataset.indexes]
    if wrong:
        raise UsageError(f"{dataset.name}: has no band {wrong[0]}; --bands counts from 1 to {dataset.count}")
    red, green, blue = wanted
    return (red,) if red == green == blue else (red, green, blue)


def _single(dataset: rasterio.DatasetReader, colours: list[int], kind: ColorInterp) -> Colours:
    band = colours[0]
    if kind == ColorInterp.palette and dataset.dtypes[band - 1] in ("uint8", "uint16"):
        table = colour_table(dataset, band)
        if table is not None:
            return Colours((band,), _palette(dataset, band, table))
        return Colours((band,), notices=(f"band {band} has no table of its colours: it is shown to the model as grey",))
    if len(colours) == 1:
        return Colours((band,), notices=(f"band {band} alone is shown to the model as grey",))
    return Colours((band,), notices=(f"band {band} of {len(colours)} is shown to the model as grey; --bands chooses",))


def colour_table(dataset: rasterio.DatasetReader, band: int) -> dict[int, tuple[int, int, int, int]] | None:
    """Give red, green, blue and alpha of the values of a band; None without a table."""
    try:
        table: dict[int, tuple[int, int, int, int]] = dataset.colormap(band)
    except ValueError:  # "NULL color table"
        return None
    return table


def _palette(
    dataset: rasterio.DatasetReader, band: int, table: dict[int, tuple[int, int, int, int]]
) -> NDArray[np.uint8]:
    palette = np.zeros((4, 256 ** np.dtype(dataset.dtypes[band - 1]).itemsize), np.uint8)
    for index, colour in table.items():
        if index < palette.shape[1]:  # a table may be longer than the band has values
            palette[:, index] = colour
    return palette
