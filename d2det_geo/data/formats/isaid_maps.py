"""The PNG maps of iSAID: instance ids and class colours, checked against each other and read in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.data.formats.contours import LEAST_POINTS, Instances, contours, gathered, packed, stretches
from d2det_geo.data.formats.isaid_classes import UNLABELLED, labels_of_colours
from d2det_geo.errors import InputError
from d2det_geo.raster.source import open_dataset, read_pixels

LEAST_ID = 1000
"""Smaller values of an id map are no instances."""
LEAST_AREA = 11
"""Of an instance in px, for the devkit to keep it."""
BAND = 512  # rows read at once
_LEAST_CACHE = 2**22  # bytes
RGB = (1, 2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The K instances of a map that the devkit makes annotations of."""

    rows: list[int]
    """K rows of the ``Instances``."""
    rings: list[list[NDArray[np.int32]]]
    """K lists of contours, px."""
    places: list[int]
    """K numbers from 0: their annotation ids without what came before. Those of small instances are missing."""
    used: int
    """Annotation ids the map takes up."""
    small: int
    """Instances left out for having fewer than ``LEAST_AREA`` px."""
    flat: int
    """Instances left out for a contour of 1 or 2 points."""
    unlabelled: int
    """Instances left out because the least colour under them is black."""


def check_maps(ids: rasterio.DatasetReader, colours: rasterio.DatasetReader) -> None:
    """Refuse maps that are not 8-bit RGB, or of different sizes.

    Raises:
        InputError: names the file.
    """
    for dataset in (ids, colours):
        if dataset.count < 3 or set(dataset.dtypes[:3]) != {"uint8"}:
            kind = f"{dataset.count} band{'s' if dataset.count > 1 else ''} of {dataset.dtypes[0]}"
            raise InputError(
                f"{dataset.name}: must be 8-bit RGB, has {kind}; give iSAID's instance_id_RGB and"
                " instance_color_RGB maps"
            )
    check_same_size(ids, colours)


def check_same_size(first: rasterio.DatasetReader, second: rasterio.DatasetReader) -> None:
    """Refuse two files that belong together and are of different sizes.

    Raises:
        InputError: names both.
    """
    if first.shape != second.shape:
        raise InputError(
            f"{first.name}: is {first.width} x {first.height} px, but {Path(second.name).name} is {second.width} x"
            f" {second.height}; give the maps of one image"
        )


def bands(dataset: rasterio.DatasetReader, rows: int = BAND) -> Iterator[NDArray[np.uint8]]:
    """Read ``[3, rows, W]`` from top to bottom, so that a PNG, which cannot seek, is decoded once."""
    for top in range(0, dataset.height, rows):
        yield read_rows(dataset, top, min(rows, dataset.height - top))


def read_rows(dataset: rasterio.DatasetReader, top: int, rows: int) -> NDArray[np.uint8]:
    """Read ``[3, rows, W]`` of 8-bit RGB.

    Raises:
        InputError: the file is damaged there.
    """
    # Bands of a PNG are decoded together and read one by one: GDAL must keep the rows of all of them.
    cache = 2 * dataset.count * dataset.width * rows + _LEAST_CACHE
    window = Window(0, top, dataset.width, rows)
    return read_pixels(dataset, RGB, window, (rows, dataset.width), cache=cache).astype(np.uint8, copy=False)


def read_instances(id_map: Path, colour_map: Path, size: tuple[int, int] | None = None) -> Instances:
    """Find the instances of a pair of maps of any size, a band of rows in memory at a time.

    Args:
        id_map: ``..._instance_id_RGB.png``.
        colour_map: ``..._instance_color_RGB.png``.
        size: width and height the maps must have, px; None: no image to agree with.

    Raises:
        InputError: a file is missing, damaged, not 8-bit RGB, or of another size than the other.
    """
    with ExitStack() as stack:
        ids, colours = (stack.enter_context(open_dataset(path)) for path in (id_map, colour_map))
        check_maps(ids, colours)
        if size is not None and (ids.width, ids.height) != size:
            raise InputError(
                f"{id_map}: is {ids.width} x {ids.height} px, but its image is {size[0]} x {size[1]};"
                " give the map of this image"
            )
        parts, top = [], 0
        for values, colour in zip(bands(ids), bands(colours), strict=True):
            parts.append(stretches(packed(values), packed(colour), LEAST_ID, top))
            top += values.shape[1]
    return gathered(parts)


def instances_in(ids: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Instances:
    """Find the instances of maps in memory, ``[3, H, W]`` each."""
    return gathered([stretches(packed(ids), packed(colours), LEAST_ID)])


def labels(instances: Instances, colour_map: str, offset: tuple[int, int] = (0, 0)) -> NDArray[np.int64]:
    """Tell the class of instances: that of the least packed colour under each.

    Args:
        instances: of one map.
        colour_map: its name, for messages.
        offset: x and y of the map's first pixel in that file, px.

    Returns:
        ``[N]`` from 0 in official order; ``UNLABELLED`` where the map is black.

    Raises:
        InputError: a colour no class has; the message says which and where.
    """
    found = labels_of_colours(instances.colours)
    unknown = np.flatnonzero(found < UNLABELLED)
    if len(unknown):
        index = int(unknown[0])
        value = int(instances.colours[index])
        x, y = (int(value) + shift for value, shift in zip(instances.boxes[index, :2], offset, strict=True))
        raise InputError(
            f"{colour_map}: colour {value & 255},{value >> 8 & 255},{value >> 16} under instance {instances.ids[index]}"
            f" (from column {x}, row {y}) is no class of iSAID; give the semantic map of this image"
        )
    return found


def drawn(instances: Instances, labels: NDArray[np.int64]) -> Drawn:
    """Apply the devkit's rules to the instances of a map, in ascending order of ids."""
    rows, rings, places = [], [], []
    used = small = flat = 0
    for index in np.flatnonzero(labels != UNLABELLED).tolist():
        traced = contours(instances, index)
        if min(len(ring) for ring in traced) < LEAST_POINTS:
            flat += 1
            continue
        if instances.areas[index] >= LEAST_AREA:
            rows.append(index)
            rings.append(traced)
            places.append(used)
        else:
            small += 1
        used += 1
    return Drawn(rows, rings, places, used, small, flat, int((labels == UNLABELLED).sum()))
