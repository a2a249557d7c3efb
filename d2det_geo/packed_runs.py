"""COCO's packed run lengths: text to lengths of runs and back, many masks at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Runs

_GROUP_BITS = 5  # of a number in one byte
_MOST_GROUPS = 12  # 60 bits, more than any image has pixels
_FIRST = 48  # the byte that stands for 0
_MORE, _SIGN, _BITS = 0x20, 0x10, 0x1F


class Lengths(NamedTuple):
    """Run lengths of N masks, one after the other."""

    lengths: NDArray[np.int64]
    """``[T]``"""
    ends: NDArray[np.int64]
    """``[N + 1]``: mask ``i`` has the runs from ``ends[i]`` to ``ends[i + 1]``."""
    owners: NDArray[np.int64]
    """``[T]`` the mask of each run."""
    inside: NDArray[np.bool_]
    """``[T]`` whether a run is of the mask; the others are of the background."""


class DamagedError(ValueError):
    """Run lengths that no mask has."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"mask {index}: {problem}")
        self.index = index
        """Of the mask."""
        self.problem = problem


def unpacked(masks: Sequence[Runs]) -> Lengths:
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
        raise DamagedError(int(np.searchsorted(byte_ends, byte, side="right")), "a run length of more than 60 bits")
    position = np.arange(len(codes)) - np.repeat(stops - groups, groups)
    values = np.add.reduceat((codes & _BITS) << (_GROUP_BITS * position), stops - groups) if len(stops) else stops
    values = values - np.where(codes[stops - 1] & _SIGN, np.int64(1) << (_GROUP_BITS * groups), 0)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(closing)])[np.concatenate([[0], byte_ends])]
    owners = np.repeat(np.arange(len(masks)), np.diff(ends))
    number = np.arange(len(values)) - ends[owners]
    lengths = values.copy()
    for chain in (number % 2 == 1, (number % 2 == 0) & (number > 0)):
        lengths[chain] = _summed(values[chain], owners[chain])
    runs = Lengths(lengths, ends, owners, number % 2 == 1)
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
        raise DamagedError(owner, f"{chr(codes[wrong[0]] + _FIRST)!r} is no packed run length")
    open_ended = np.flatnonzero((sizes == 0) | ~closing[byte_ends - 1]) if len(closing) else np.flatnonzero(sizes == 0)
    if len(open_ended):
        raise DamagedError(int(open_ended[0]), "the packed run lengths end too early")


def _check_lengths(runs: Lengths, masks: Sequence[Runs]) -> None:
    negative = np.flatnonzero(runs.lengths < 0)
    if len(negative):
        raise DamagedError(int(runs.owners[negative[0]]), "a run length is negative")
    sizes = np.fromiter((mask.width * mask.height for mask in masks), np.int64, len(masks))
    filled = np.add.reduceat(runs.lengths, runs.ends[:-1]) if len(masks) else sizes
    wrong = np.flatnonzero(filled != sizes)
    if len(wrong):
        index = int(wrong[0])
        raise DamagedError(index, f"the run lengths fill {filled[index]} px of a crop of {sizes[index]}")


def packed(lengths: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """Pack run lengths of masks that end at ``ends``: the opposite of ``unpacked``."""
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
