"""Arithmetic on masks kept as COCO run lengths: areas, pixels, and masks of whole images, all without their pixels.

Many masks are worked on at once, in arrays over all of their runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Runs

_AT_ONCE = 4096  # masks: a few MB of arrays
_GROUP_BITS = 5  # of a number in one byte
_MOST_GROUPS = 12  # 60 bits, more than any image has pixels
_FIRST = 48  # the byte that stands for 0
_MORE, _SIGN, _BITS = 0x20, 0x10, 0x1F
_Result = TypeVar("_Result")


def areas(masks: Sequence[Runs]) -> NDArray[np.int64]:
    """Count the pixels ``[N]`` of each mask.

    Raises:
        ValueError: run lengths that are damaged; the message says of which mask.
    """
    return np.concatenate([np.zeros(0, np.int64), *_in_batches(_areas, masks)])


def full_counts(masks: Sequence[Runs], width: int, height: int) -> list[bytes]:
    """Give the packed run lengths each mask has over its whole image, as pycocotools would write them.

    Args:
        masks: N crops of images of one size.
        width: of the images, px.
        height: of the images, px.

    Raises:
        ValueError: run lengths that are damaged, or a crop that leaves its image; the message says of which mask.
    """
    for index, mask in enumerate(masks):
        if min(mask.x, mask.y) < 0 or mask.x + mask.width > width or mask.y + mask.height > height:
            raise ValueError(f"mask {index}: its crop leaves the image of {width} x {height} px")
    parts = _in_batches(lambda some: _full_counts(some, width, height), masks)
    return [counts for part in parts for counts in part]


def runs_of(mask: NDArray[np.bool_], x: int = 0, y: int = 0) -> Runs:
    """Describe the pixels ``[height, width]`` of a crop whose upper left corner is at ``(x, y)``, px of the image."""
    height, width = mask.shape
    flat = np.concatenate([np.zeros(1, np.bool_), np.asarray(mask, np.bool_).ravel(order="F")])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(turns, prepend=0, append=mask.size)
    if len(lengths) > 1 and lengths[-1] == 0:
        lengths = lengths[:-1]
    return Runs(x, y, width, height, _packed(lengths, np.array([0, len(lengths)]))[0])


def pixels(mask: Runs) -> NDArray[np.bool_]:
    """Draw a mask: ``[height, width]`` of its crop.

    Raises:
        ValueError: run lengths that are damaged.
    """
    lengths = _unpacked([mask]).lengths
    flat = np.repeat(np.arange(len(lengths)) % 2 > 0, lengths)
    return flat.reshape(mask.width, mask.height).T


class _Lengths(NamedTuple):
    """Run lengths of N masks, one after the other."""

    lengths: NDArray[np.int64]
    """``[T]``"""
    ends: NDArray[np.int64]
    """``[N + 1]``: mask ``i`` has the runs from ``ends[i]`` to ``ends[i + 1]``."""
    owners: NDArray[np.int64]
    """``[T]`` the mask of each run."""
    inside: NDArray[np.bool_]
    """``[T]`` whether a run is of the mask; the others are of the background."""


def _in_batches(work: Callable[[Sequence[Runs]], _Result], masks: Sequence[Runs]) -> Iterator[_Result]:
    for start in range(0, len(masks), _AT_ONCE):
        try:
            yield work(masks[start : start + _AT_ONCE])
        except _DamagedError as error:
            raise ValueError(f"mask {start + error.index}: {error}") from error


class _DamagedError(ValueError):
    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index = index


def _areas(masks: Sequence[Runs]) -> NDArray[np.int64]:
    runs = _unpacked(masks)
    sums = np.bincount(runs.owners[runs.inside], weights=runs.lengths[runs.inside], minlength=len(masks))
    return sums.astype(np.int64)


def _full_counts(masks: Sequence[Runs], width: int, height: int) -> list[bytes]:
    runs = _unpacked(masks)
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
    shift = (places[owners, 0] + columns) * height + places[owners, 1] - columns * rows
    return _written(owners, starts + shift, stops + shift, len(masks), width * height)


def _written(
    owners: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64], count: int, size: int
) -> list[bytes]:
    """Pack pieces of masks, in order, over images of ``size`` px; pieces that touch are one run."""
    apart = np.ones(len(owners), np.bool_)
    apart[1:] = (owners[1:] != owners[:-1]) | (starts[1:] != stops[:-1])
    heads = np.flatnonzero(apart)
    owners, starts = owners[heads], starts[heads]
    stops = stops[np.append(heads[1:], len(stops)) - 1] if len(heads) else stops
    runs = np.bincount(owners, minlength=count)
    last = np.zeros(count, np.int64)  # where the last run of each mask ends
    last[owners] = stops  # of equal indices the last one stays
    rest = last < size
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(2 * runs + rest)])
    lengths = np.zeros(ends[-1], np.int64)
    begun = np.concatenate([np.zeros(1, np.int64), np.cumsum(runs)])
    place = ends[owners] + 2 * (np.arange(len(owners)) - begun[owners])
    before = np.concatenate([np.zeros(1, np.int64), stops])[:-1] if len(stops) else stops
    lengths[place] = starts - np.where(np.arange(len(owners)) == begun[owners], 0, before)
    lengths[place + 1] = stops - starts
    lengths[ends[1:][rest] - 1] = size - last[rest]
    return _packed(lengths, ends)


def _unpacked(masks: Sequence[Runs]) -> _Lengths:
    """Read packed run lengths: signed numbers in groups of 5 bits, lowest first.

    From the fourth number of a mask on they are differences to the run before the last.
    """
    sizes = np.fromiter((len(mask.counts) for mask in masks), np.int64, len(masks))
    codes = np.frombuffer(b"".join(mask.counts for mask in masks), np.uint8).astype(np.int64) - _FIRST
    closing = (codes & _MORE) == 0
    byte_ends = np.cumsum(sizes)
    _check_bytes(codes, closing, byte_ends, sizes)
    stops = np.flatnonzero(closing) + 1
    groups = np.diff(stops, prepend=0)
    if len(groups) and groups.max() > _MOST_GROUPS:
        byte = stops[int(groups.argmax())] - 1
        raise _DamagedError(int(np.searchsorted(byte_ends, byte, side="right")), "a run length of more than 60 bits")
    position = np.arange(len(codes)) - np.repeat(stops - groups, groups)
    values = np.add.reduceat((codes & _BITS) << (_GROUP_BITS * position), stops - groups) if len(stops) else stops
    values = values - np.where(codes[stops - 1] & _SIGN, np.int64(1) << (_GROUP_BITS * groups), 0)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(closing)])[np.concatenate([[0], byte_ends])]
    owners = np.repeat(np.arange(len(masks)), np.diff(ends))
    number = np.arange(len(values)) - ends[owners]
    lengths = values.copy()
    for chain in (number % 2 == 1, (number % 2 == 0) & (number > 0)):
        lengths[chain] = _summed(values[chain], owners[chain])
    runs = _Lengths(lengths, ends, owners, number % 2 == 1)
    _check_lengths(runs, masks)
    return runs


def _summed(values: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum up values of each owner, one after the other."""
    sums = np.cumsum(values)
    heads = np.flatnonzero(np.diff(owners, prepend=-1))
    before = sums[heads] - values[heads]
    result: NDArray[np.int64] = sums - np.repeat(before, np.diff(heads, append=len(values)))
    return result


def _check_bytes(
    codes: NDArray[np.int64], closing: NDArray[np.bool_], byte_ends: NDArray[np.int64], sizes: NDArray[np.int64]
) -> None:
    wrong = np.flatnonzero((codes < 0) | (codes > _MORE | _BITS))
    if len(wrong):
        owner = int(np.searchsorted(byte_ends, wrong[0], side="right"))
        raise _DamagedError(owner, f"{chr(codes[wrong[0]] + _FIRST)!r} is no packed run length")
    open_ended = np.flatnonzero((sizes == 0) | ~closing[byte_ends - 1]) if len(closing) else np.flatnonzero(sizes == 0)
    if len(open_ended):
        raise _DamagedError(int(open_ended[0]), "the packed run lengths end too early")


def _check_lengths(runs: _Lengths, masks: Sequence[Runs]) -> None:
    negative = np.flatnonzero(runs.lengths < 0)
    if len(negative):
        raise _DamagedError(int(runs.owners[negative[0]]), "a run length is negative")
    sizes = np.fromiter((mask.width * mask.height for mask in masks), np.int64, len(masks))
    filled = np.add.reduceat(runs.lengths, runs.ends[:-1]) if len(masks) else sizes
    wrong = np.flatnonzero(filled != sizes)
    if len(wrong):
        index = int(wrong[0])
        raise _DamagedError(index, f"the run lengths fill {filled[index]} px of a crop of {sizes[index]}")


def _packed(lengths: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """Pack run lengths of masks that end at ``ends``: the opposite of ``_unpacked``."""
    number = np.arange(len(lengths)) - np.repeat(ends[:-1], np.diff(ends))
    values = lengths.copy()
    values[2:] -= np.where(number[2:] > 2, lengths[:-2], 0)
    groups = np.ones(len(values), np.int64)
    # A number needs another group of bits until its sign shows in the last one.
    while np.any(more := ((values >> (_GROUP_BITS * groups - 1)) != (values >> 63))):
        groups[more] += 1
    stops = np.cumsum(groups)
    position = np.arange(int(groups.sum())) - np.repeat(stops - groups, groups)
    codes = (np.repeat(values, groups) >> (_GROUP_BITS * position)) & _BITS
    codes |= np.where(position + 1 < np.repeat(groups, groups), _MORE, 0)
    text = (codes + _FIRST).astype(np.uint8).tobytes()
    byte_ends = np.concatenate([np.zeros(1, np.int64), stops])[ends].tolist()
    return [text[start:stop] for start, stop in pairwise(byte_ends)]
