"""Arithmetic on masks kept as COCO run lengths: areas, pixels, and masks of whole images, all without their pixels.

Many masks are worked on at once, in arrays over all of their runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Runs
from d2det_geo.packed_runs import DamagedError, packed, unpacked

_AT_ONCE = 500_000  # bytes of run lengths: some 30 MB of arrays
_Result = TypeVar("_Result")


def areas(masks: Sequence[Runs]) -> NDArray[np.int64]:
    """Count the pixels ``[N]`` of each mask.

    Raises:
        ValueError: run lengths that are damaged; the message says of which mask.
    """
    return np.concatenate([np.zeros(0, np.int64), *_in_batches(lambda some: _areas(masks[some]), masks)])


def boxes(masks: Sequence[Runs]) -> NDArray[np.float64]:
    """Bound the pixels of each mask: ``[N, 4]`` as ``(x1, y1, x2, y2)``, px of its image.

    A mask without pixels has a box without area at the upper left of its crop.

    Raises:
        ValueError: run lengths that are damaged; the message says of which mask.
    """
    return np.concatenate([np.zeros((0, 4)), *_in_batches(lambda some: _boxes(masks[some]), masks)])


def of_lengths(lengths: Sequence[int], width: int, height: int) -> Runs:
    """Pack plain run lengths of a whole image; those that do not fill it are damaged, as all functions here tell."""
    counts = packed(np.array(lengths, np.int64), np.array([0, len(lengths)])) if lengths else [b""]
    return Runs(0, 0, width, height, counts[0])


def full_counts(masks: Sequence[Runs], width: int, height: int) -> list[bytes]:
    """Give ``whole_counts`` of N crops of images of one size, px."""
    return whole_counts(masks, np.tile(np.array([width, height], np.int64), (len(masks), 1)))


def whole_counts(masks: Sequence[Runs], sizes: NDArray[np.int64]) -> list[bytes]:
    """Give the packed run lengths each mask has over its whole image, as pycocotools would write them.

    Args:
        masks: N crops of images.
        sizes: ``[N, 2]`` width and height of the images, px.

    Raises:
        ValueError: run lengths that are damaged, or a crop that leaves its image; the message says of which mask.
    """
    for index, (mask, (width, height)) in enumerate(zip(masks, sizes.tolist(), strict=True)):
        if min(mask.x, mask.y) < 0 or mask.x + mask.width > width or mask.y + mask.height > height:
            raise DamagedError(index, f"its crop leaves the image of {width} x {height} px")
    parts = _in_batches(lambda some: _full_counts(masks[some], sizes[some]), masks)
    return [counts for part in parts for counts in part]


def runs_of(mask: NDArray[np.bool_], x: int = 0, y: int = 0) -> Runs:
    """Describe the pixels ``[height, width]`` of a crop whose upper left corner is at ``(x, y)``, px of the image."""
    height, width = mask.shape
    flat = np.concatenate([np.zeros(1, np.bool_), np.asarray(mask, np.bool_).ravel(order="F")])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(turns, prepend=0, append=mask.size)
    if len(lengths) > 1 and lengths[-1] == 0:
        lengths = lengths[:-1]
    return Runs(x, y, width, height, packed(lengths, np.array([0, len(lengths)]))[0])


def pixels(mask: Runs) -> NDArray[np.bool_]:
    """Draw a mask: ``[height, width]`` of its crop.

    Raises:
        ValueError: run lengths that are damaged.
    """
    lengths = unpacked([mask]).lengths
    flat = np.repeat(np.arange(len(lengths)) % 2 > 0, lengths)
    return flat.reshape(mask.width, mask.height).T


def _in_batches(work: Callable[[slice], _Result], masks: Sequence[Runs]) -> Iterator[_Result]:
    sizes = np.cumsum(np.fromiter((len(mask.counts) for mask in masks), np.int64, len(masks)))
    starts = np.flatnonzero(np.diff(sizes // _AT_ONCE, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(masks)]):
        try:
            yield work(slice(start, stop))
        except DamagedError as error:
            raise DamagedError(start + error.index, error.problem) from error


def _boxes(masks: Sequence[Runs]) -> NDArray[np.float64]:
    runs = unpacked(masks)
    crops = np.array([(mask.x, mask.y, mask.width, mask.height) for mask in masks], np.int64).reshape(-1, 4)
    stops = np.cumsum(runs.lengths)
    stops -= np.concatenate([np.zeros(1, np.int64), stops])[runs.ends[:-1]][runs.owners]
    chosen = runs.inside & (runs.lengths > 0)
    owners, stops, height = runs.owners[chosen], stops[chosen], crops[runs.owners[chosen], 3]
    left, top = np.divmod(stops - runs.lengths[chosen], height)
    right, bottom = np.divmod(stops - 1, height)
    over = left < right  # on to the next column: from top to bottom
    result = np.tile(crops[:, :2], 2)
    heads = np.flatnonzero(np.diff(owners, prepend=-1))
    if len(heads):
        low = [np.minimum.reduceat(side, heads) for side in (left, np.where(over, 0, top))]
        high = [np.maximum.reduceat(side, heads) + 1 for side in (right, np.where(over, height - 1, bottom))]
        result[owners[heads]] += np.stack([*low, *high], axis=1)
    return result.astype(np.float64)


def _areas(masks: Sequence[Runs]) -> NDArray[np.int64]:
    runs = unpacked(masks)
    sums = np.bincount(runs.owners[runs.inside], weights=runs.lengths[runs.inside], minlength=len(masks))
    return sums.astype(np.int64)


def _full_counts(masks: Sequence[Runs], sizes: NDArray[np.int64]) -> list[bytes]:
    runs = unpacked(masks)
    stops = np.cumsum(runs.lengths)
    stops -= np.concatenate([np.zeros(1, np.int64), stops])[runs.ends[:-1]][runs.owners]
    chosen = runs.inside & (runs.lengths > 0)
    owners, stops = runs.owners[chosen], stops[chosen]
    starts = stops - runs.lengths[chosen]
    places = np.array([(mask.x, mask.y, mask.height) for mask in masks], np.int64).reshape(-1, 3)
    rows = places[owners, 2]
    # A run that goes on from one column of the crop to the next is several runs of a taller image.
    columns = starts // rows
    pieces = (stops - 1) // rows - columns + 1
    first = np.cumsum(pieces) - pieces
    columns = np.repeat(columns - first, pieces) + np.arange(int(pieces.sum()))
    owners, rows = np.repeat(owners, pieces), np.repeat(rows, pieces)
    starts = np.maximum(np.repeat(starts, pieces), columns * rows)
    stops = np.minimum(np.repeat(stops, pieces), (columns + 1) * rows)
    shift = (places[owners, 0] + columns) * sizes[owners, 1] + places[owners, 1] - columns * rows
    return _written(owners, starts + shift, stops + shift, sizes.prod(axis=1))


def _written(
    owners: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64], areas: NDArray[np.int64]
) -> list[bytes]:
    """Pack pieces of masks, in order, over images of ``areas`` ``[N]`` px; pieces that touch are one run."""
    apart = np.ones(len(owners), np.bool_)
    apart[1:] = (owners[1:] != owners[:-1]) | (starts[1:] != stops[:-1])
    heads = np.flatnonzero(apart)
    owners, starts = owners[heads], starts[heads]
    stops = stops[np.append(heads[1:], len(stops)) - 1] if len(heads) else stops
    runs = np.bincount(owners, minlength=len(areas))
    last = np.zeros(len(areas), np.int64)  # where the last run of each mask ends
    last[owners] = stops  # of equal indices the last one stays
    rest = last < areas
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(2 * runs + rest)])
    lengths = np.zeros(ends[-1], np.int64)
    begun = np.concatenate([np.zeros(1, np.int64), np.cumsum(runs)])
    place = ends[owners] + 2 * (np.arange(len(owners)) - begun[owners])
    before = np.concatenate([np.zeros(1, np.int64), stops])[:-1] if len(stops) else stops
    lengths[place] = starts - np.where(np.arange(len(owners)) == begun[owners], 0, before)
    lengths[place + 1] = stops - starts
    lengths[ends[1:][rest] - 1] = (areas - last)[rest]
    return packed(lengths, ends)
