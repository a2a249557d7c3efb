"""Arithmetic on masks kept as COCO run lengths: areas, boxes, overlaps, masks of whole images, without their pixels.

Many masks are worked on at once. Every function reads its masks strictly: run lengths that no mask has raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2det_geo import run_loops
from d2det_geo.annotations import Runs

MOST_PIXELS = 2**32
"""COCO's programs count the pixels of an image in 32 bits."""
_MOST_SIDE = 2**29  # px: differences of areas stay numbers of 60 bits
_AT_ONCE = 2**24  # bytes of packed run lengths that are made room for
_CROP = attrgetter("x", "y", "width", "height")
_WORDS = {
    run_loops.OPEN: "the packed run lengths end too early",
    run_loops.LONG: "a run length of more than 60 bits",
    run_loops.NEGATIVE: "a run length is negative",
}


class DamagedError(ValueError):
    """Run lengths that no mask has."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"mask {index}: {problem}")
        self.index = index
        """Of the mask."""
        self.problem = problem


class Measures(NamedTuple):
    """Where N masks are."""

    areas: NDArray[np.int64]
    """``[N]`` px."""
    boxes: NDArray[np.float64]
    """``[N, 4]`` around their pixels, px of their image; of a mask without any the upper left corner of its crop."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """The pixels of N masks, as stretches down the columns of their images."""

    ends: NDArray[np.int64]
    """``[N + 1]``: those of mask ``n`` are ``[ends[n] : ends[n + 1]]``."""
    starts: NDArray[np.uint32]
    """First pixel of each."""
    stops: NDArray[np.uint32]
    """Pixel after the last of each."""
    areas: NDArray[np.int64]
    """``[N]`` px."""
    boxes: NDArray[np.float64]
    """``[N, 4]`` around their pixels, as ``Measures`` has them."""


def measured(masks: Sequence[Runs]) -> Measures:
    """Count the pixels of masks and bound them.

    Raises:
        DamagedError: run lengths are damaged; says of which mask.
    """
    return _measured(_flat(masks), masks)


def whole(masks: Sequence[Runs], sizes: NDArray[np.int64], *, cut: bool = False) -> list[Runs]:
    """Give each mask over its whole image, packed as pycocotools would; one that is of all of it stays as it is.

    Args:
        masks: N crops of images.
        sizes: ``[N, 2]`` width and height of the images, px; ``[2]`` if all are of one size.
        cut: cut off what leaves its image.

    Raises:
        DamagedError: run lengths are damaged, or a crop leaves its image; says of which mask.
    """
    flat, sizes = _flat(masks), np.broadcast_to(np.asarray(sizes, np.int64), (len(masks), 2))
    outside = (flat.crops[:, :2] < 0) | (flat.crops[:, :2] + flat.crops[:, 2:] > sizes)
    wrong = (sizes >= _MOST_SIDE) | (outside & (not cut))
    if wrong.any():
        index = int(wrong.any(axis=1).argmax())
        raise DamagedError(index, f"its crop leaves the image of {sizes[index, 0]} x {sizes[index, 1]} px")
    _measured(flat, masks)
    result = list(masks)
    moved = np.flatnonzero((flat.crops != np.pad(sizes, ((0, 0), (2, 0)))).any(axis=1))
    room = np.cumsum((2 * (np.diff(flat.ends) + flat.crops[:, 2]) + 3)[moved]) * run_loops.WIDEST
    starts = np.flatnonzero(np.diff(room // _AT_ONCE, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(moved)]):
        rows = moved[start:stop].tolist()
        for row, mask in zip(rows, _placed([masks[row] for row in rows], sizes[rows]), strict=True):
            result[row] = mask
    return result


def spans(masks: Sequence[Runs]) -> Spans:
    """Find the pixels of masks, counted down the columns of their crops.

    Raises:
        DamagedError: run lengths are damaged, or a crop has 2^32 px or more; says of which mask.
    """
    flat = _flat(masks)
    large = flat.crops[:, 2:].prod(axis=1) >= MOST_PIXELS
    if large.any():
        raise DamagedError(int(large.argmax()), "it has 2^32 px or more")
    areas, boxes = _measured(flat, masks)
    room = int((np.diff(flat.ends) // 2).sum())  # every second run at most
    ends = np.zeros(len(masks) + 1, np.int64)
    starts, stops = (np.empty(room, np.uint32) for _ in range(2))
    run_loops.spread(*flat, ends, starts, stops)
    return Spans(ends, starts[: ends[-1]], stops[: ends[-1]], areas, boxes)


def overlaps(first: Spans, second: Spans, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.float64]:
    """Count the pixels ``[K]`` that the masks of each pair, of one image both, share."""
    shared = np.zeros(len(pairs[0]))
    run_loops.shared(first.ends, first.starts, first.stops, second.ends, second.starts, second.stops, *pairs, shared)
    return shared


def of_lengths(lengths: Sequence[int], width: int, height: int) -> Runs:
    """Pack plain run lengths of a whole image; those that do not fill it are damaged, as all functions here tell."""
    fit = all(0 <= length <= width * height < _MOST_SIDE**2 for length in lengths)
    return Runs(0, 0, width, height, _packed(np.array(lengths if fit else [], np.int64)))


def runs_of(mask: NDArray[np.bool_], x: int = 0, y: int = 0) -> Runs:
    """Describe the pixels ``[height, width]`` of a crop whose upper left corner is at ``(x, y)``, px of the image."""
    height, width = mask.shape
    flat = np.concatenate([np.zeros(1, np.bool_), np.asarray(mask, np.bool_).ravel(order="F")])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    return Runs(x, y, width, height, _packed(np.diff(turns, prepend=0, append=mask.size)))


def pixels(mask: Runs) -> NDArray[np.bool_]:
    """Draw a mask: ``[height, width]`` of its crop.

    Raises:
        DamagedError: run lengths are damaged.
    """
    found = spans([mask])
    flat = np.zeros(mask.width * mask.height, np.bool_)
    run_loops.filled(found.starts, found.stops, flat)
    return flat.reshape(mask.width, mask.height).T


class _Flat(NamedTuple):
    """Masks as the loops take them."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    crops: NDArray[np.int64]


def _flat(masks: Sequence[Runs]) -> _Flat:
    texts = [mask.counts for mask in masks]
    ends = np.zeros(len(masks) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
    try:
        crops = np.fromiter(chain.from_iterable(map(_CROP, masks)), np.int64, 4 * len(masks)).reshape(-1, 4)
        least = np.array([1 - _MOST_SIDE, 1 - _MOST_SIDE, 0, 0])
        sound = np.all((crops >= least) & (crops < _MOST_SIDE), axis=1)
    except OverflowError:
        sound = np.array([all(abs(side) < _MOST_SIDE for side in _CROP(mask)) for mask in masks], np.bool_)
    if not sound.all():
        index = int(np.argmin(sound))
        raise DamagedError(index, "no image has a crop of {2} x {3} px at ({0}, {1})".format(*_CROP(masks[index])))
    return _Flat(np.frombuffer(b"".join(texts), np.uint8), ends, crops)


def _placed(masks: Sequence[Runs], sizes: NDArray[np.int64]) -> list[Runs]:
    flat, ends = _flat(masks), np.zeros(len(masks) + 1, np.int64)
    numbers = 2 * (len(flat.text) + int(flat.crops[:, 2].sum())) + 3 * len(masks)
    text = np.empty(numbers * run_loops.WIDEST, np.uint8)
    run_loops.placed(*flat, sizes, text, ends)
    packed = text[: ends[-1]].tobytes()
    rows = zip(sizes.tolist(), pairwise(ends.tolist()), strict=True)
    return [Runs(0, 0, width, height, packed[start:stop]) for (width, height), (start, stop) in rows]


def _packed(lengths: NDArray[np.int64]) -> bytes:
    text = np.empty(len(lengths) * run_loops.WIDEST, np.uint8)
    return text[: run_loops.packed(lengths, text, 0)].tobytes()


def _measured(flat: _Flat, masks: Sequence[Runs]) -> Measures:
    """Measure masks, and with that check them."""
    areas, boxes = np.zeros(len(masks), np.int64), np.zeros((len(masks), 4), np.int64)
    index, wrong = run_loops.measured(*flat, areas, boxes)
    if wrong:
        raise DamagedError(index, _problem(masks[index], wrong))
    return Measures(areas, boxes.astype(np.float64))


def _problem(mask: Runs, wrong: int) -> str:
    if wrong == run_loops.ODD:
        return f"{chr(next(byte for byte in mask.counts if not 48 <= byte < 112))!r} is no packed run length"
    fill = "fill more than" if wrong == run_loops.OVER else "do not fill"
    return _WORDS.get(wrong, f"the run lengths {fill} its crop of {mask.width} x {mask.height} px")
