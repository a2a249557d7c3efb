"""Where the errors are: the images, or parts of large ones, that hold most of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.errors import Errors

MOST = 12
"""Regions shown."""

_WHOLE_PX = 1600  # images up to this side are shown whole: at half their size things can still be told apart
_PART_PX = 800


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image, px."""

    image: int
    """Row of the images."""
    x: int
    y: int
    width: int
    height: int
    right: int
    """Detections with their middle in it, as are those below."""
    wrong: int
    missed: int


def worst_regions(
    compared: Compared,
    errors: Errors,
    size_of: Callable[[int], tuple[int, int] | None],
    boxes: tuple[NDArray[np.float64], NDArray[np.float64]],
    most: int = MOST,
) -> list[Region]:
    """Find the regions with most errors, not more of one image than it takes to show enough.

    Images of up to 1600 px are one region, larger ones are cut into regions of up to 800 px, as is an image alone.

    Args:
        compared: truth and predictions.
        errors: of them.
        size_of: width and height of an image by its row; None where there is no picture of it.
        boxes: of truths ``[T, 4]`` and predictions ``[P, 4]``, px of their images.
        most: regions wanted.
    """
    truth, predictions = compared.truth, compared.predictions
    per_image = errors.per_image(truth, predictions)
    candidates: list[Region] = []
    bad = np.flatnonzero(per_image)
    each = max(-(-most // max(len(bad), 1)), 1)
    for image in bad[np.argsort(-per_image[bad], kind="stable")].tolist():
        weakest = candidates[-1] if len(candidates) >= most else None
        if weakest is not None and per_image[image] <= weakest.wrong + weakest.missed:
            break
        size = size_of(image)
        if size is not None:
            regions = _regions(image, size, errors, (truth, predictions), boxes)
            candidates = _sorted(candidates + _sorted(regions)[:each])[:most]
    return candidates


def _sorted(regions: list[Region]) -> list[Region]:
    return sorted(regions, key=lambda region: (-region.wrong - region.missed, region.image, region.y, region.x))


def _regions(
    image: int,
    size: tuple[int, int],
    errors: Errors,
    objects: tuple[Annotations, Annotations],
    boxes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> list[Region]:
    width, height = size
    alone = len(objects[0].images) == 1
    if max(size) <= (_PART_PX if alone else _WHOLE_PX):
        cell = size
    else:  # cells of equal size, so that none overlaps another
        cell = (-(-width // -(-width // _PART_PX)), -(-height // -(-height // _PART_PX)))
    shape = (-(-height // cell[1]), -(-width // cell[0]))
    counts = [
        _counts(boxes[part][flags & (objects[part].image == image)], cell, shape)
        for part, flags in ((1, errors.right), (1, errors.wrong), (0, errors.missed))
    ]
    regions = []
    for row, column in np.argwhere(counts[1] + counts[2] > 0).tolist():
        x, y = column * cell[0], row * cell[1]
        numbers = (int(count[row, column]) for count in counts)
        regions.append(Region(image, x, y, min(cell[0], width - x), min(cell[1], height - y), *numbers))
    return regions


def _counts(boxes: NDArray[np.float64], cell: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Count boxes by the cell their middle is in; those beyond the image are in the next cell."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / cell
    columns, rows = np.clip(np.floor(middles), 0, (shape[1] - 1, shape[0] - 1)).astype(np.intp).T
    counts: NDArray[np.int64] = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return counts.reshape(shape)
