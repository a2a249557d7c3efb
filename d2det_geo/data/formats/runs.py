"""COCO's run lengths, packed and plain, by the thousand.

Packed, a run is a number of 5 bits a character, lowest first; bit 5 says that more follow, and the highest bit of the
last is the sign. From the fourth on it is the difference to the run before the last. All masks are worked on at once,
a share of them at a time, without compiled code: importing a compiler takes longer than most files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Runs

Counts = NDArray[np.int64]
_AT_ONCE = 500_000  # characters or runs: some 30 MB
_MOST = 2**40  # px of a run, and characters in a number: what is beyond is damaged
_DIGITS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Run lengths of N masks, one after the other."""

    counts: Counts
    """``[R]`` lengths, background first."""
    sizes: Counts
    """``[N]`` how many lengths each mask has, at least 1."""

    @property
    def first(self) -> Counts:
        """``[N]`` where each begins."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def places(self) -> Counts:
        """``[R]`` place of each length in its mask: odd ones are the object."""
        return np.arange(len(self.counts)) - np.repeat(self.first, self.sizes)


def unpacked(texts: Sequence[bytes]) -> Masks:
    """Unpack run lengths; a damaged text gives the one length ``-1``, which no mask has."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    broken = sizes == 0
    ends = np.cumsum(np.where(broken, 1, sizes))
    data = np.frombuffer(b"".join(text or b"0" for text in texts), np.uint8).astype(np.int64) - 48
    owners = np.repeat(np.arange(len(texts)), np.diff(ends, prepend=0))
    last = (data & 0x20) == 0
    broken |= ~last[ends - 1]
    last[ends - 1] = True
    starts = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), last[:-1]]))
    digit = np.arange(len(data)) - np.repeat(starts, np.diff(starts, append=len(data)))
    broken[owners[(data < 0) | (data >= 64) | (digit >= _DIGITS)]] = True
    digit = np.minimum(digit, _DIGITS)
    values = np.add.reduceat((data & 0x1F) << 5 * digit, starts)
    values -= np.where(data[last] & 0x10, np.int64(1) << 5 * (digit[last] + 1), 0)
    broken[owners[starts[np.abs(values) >= _MOST]]] = True
    masks = Masks(values, np.bincount(owners[starts], minlength=len(texts)))
    masks = _replaced(masks, broken)
    return Masks(_summed(masks), masks.sizes)


def _replaced(masks: Masks, broken: NDArray[np.bool_]) -> Masks:
    """Put the one length -1 in the place of some masks."""
    if not broken.any():
        return masks
    kept = ~np.repeat(broken, masks.sizes) | (masks.places == 0)
    counts = np.where(np.repeat(broken, masks.sizes), -1, masks.counts)[kept]
    return Masks(counts, np.where(broken, 1, masks.sizes))


def _summed(masks: Masks) -> Counts:
    """Turn differences to the run before the last into runs, mask by mask, odd and even places apart."""
    place = masks.places
    chain = 3 * np.repeat(np.arange(len(masks.sizes)), masks.sizes) + np.where(place == 0, 0, 2 - place % 2)
    order = np.argsort(chain, kind="stable")
    sums = np.cumsum(masks.counts[order])
    begins = np.flatnonzero(np.diff(chain[order], prepend=-1))
    before = sums[begins] - masks.counts[order[begins]]
    counts = np.empty_like(sums)
    counts[order] = sums - np.repeat(before, np.diff(begins, append=len(sums)))
    return counts


def packed(masks: Masks) -> list[bytes]:
    """Pack run lengths."""
    values = masks.counts.copy()
    far = np.flatnonzero(masks.places > 2)
    values[far] -= masks.counts[far - 2]
    digits = np.ones_like(values)
    for count in range(1, _DIGITS):
        bound = 1 << (5 * count - 1)
        digits += (values >= bound) | (values < -bound)
    ends = np.cumsum(digits)
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for digit in range(int(digits.max(initial=0))):
        longer = np.flatnonzero(digits > digit)
        bits = (values[longer] >> (5 * digit)) & 0x1F
        data[(ends - digits)[longer] + digit] = bits + 48 + np.where(digits[longer] > digit + 1, 0x20, 0)
    text = data.tobytes()
    cuts = [0, *ends[np.cumsum(masks.sizes) - 1].tolist()]
    return [text[start:end] for start, end in pairwise(cuts)]


def placed(masks: Masks, crops: NDArray[np.int64], images: NDArray[np.int64]) -> Masks:
    """Turn the run lengths of crops into those of their images.

    Args:
        masks: of the crops.
        crops: ``[N, 4]`` x, y, width, height, px; inside the images.
        images: ``[N, 2]`` width and height of the images, px.
    """
    owners = np.repeat(np.arange(len(masks.sizes)), masks.sizes)
    ends = _ends(masks)
    of_object = (masks.places % 2 == 1) & (masks.counts > 0)
    owners, lows, highs = owners[of_object], (ends - masks.counts)[of_object], ends[of_object]
    # A run goes on in the next column of the crop, which in the image is another run.
    height = crops[owners, 3]
    columns, most = lows // height, (highs - 1) // height
    pieces = most - columns + 1
    run = np.repeat(np.arange(len(owners)), pieces)
    owners, height = owners[run], height[run]
    columns = columns[run] + np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    origin = (crops[owners, 0] + columns) * images[owners, 1] + crops[owners, 1] - columns * height
    lows = np.maximum(lows[run], columns * height) + origin
    highs = np.minimum(highs[run], (columns + 1) * height) + origin
    return _of_spans(owners, lows, highs, images.prod(axis=1))


def _of_spans(owners: Counts, lows: Counts, highs: Counts, pixels: Counts) -> Masks:
    """Make run lengths of spans ``low`` to ``high`` of pixels, sorted by owner and place; those that touch are one."""
    touches = np.zeros(len(owners), np.bool_)
    touches[1:] = (owners[1:] == owners[:-1]) & (lows[1:] == highs[:-1])
    first = np.flatnonzero(~touches)
    highs = highs[np.append(first[1:], len(owners)) - 1] if len(first) else highs
    owners, lows = owners[first], lows[first]
    spans = np.bincount(owners, minlength=len(pixels))
    covered = np.zeros(len(pixels), np.int64)
    covered[owners] = highs  # the last of an owner wins
    sizes = 2 * spans + (covered < pixels)
    counts = np.empty(int(sizes.sum()), np.int64)
    starts = np.cumsum(sizes) - sizes
    at = starts[owners] + 2 * (np.arange(len(owners)) - (np.cumsum(spans) - spans)[owners])
    before = np.zeros(len(owners), np.int64)
    before[1:] = np.where(owners[1:] == owners[:-1], highs[:-1], 0)
    counts[at], counts[at + 1] = lows - before, highs - lows
    rest = covered < pixels
    counts[(starts + sizes - 1)[rest]] = (pixels - covered)[rest]
    return Masks(counts, sizes)


def _ends(masks: Masks) -> Counts:
    """Say ``[R]`` at which pixel of its mask each run ends."""
    sums = np.cumsum(masks.counts)
    return sums - np.repeat(sums[masks.first] - masks.counts[masks.first], masks.sizes)


def areas_of(runs: Sequence[Runs]) -> NDArray[np.int64]:
    """Measure what masks cover, px ``[N]``; -1 for one whose run lengths are damaged or do not fill its crop."""
    return _in_shares(runs, _areas)


def boxes_of(runs: Sequence[Runs]) -> NDArray[np.float64]:
    """Bound what masks cover, px of their images ``[N, 4]``; a mask of nothing gives a box of nothing at its crop."""
    return _in_shares(runs, _boxes).reshape(-1, 4).astype(np.float64)


def _areas(runs: Sequence[Runs]) -> Counts:
    masks = unpacked([item.counts for item in runs])
    pixels = np.array([item.width * item.height for item in runs], np.int64)
    first = masks.first
    good = (np.minimum.reduceat(masks.counts, first) >= 0) & (np.add.reduceat(masks.counts, first) == pixels)
    areas = np.add.reduceat(masks.counts * (masks.places % 2), first)
    return np.where(good, areas, -1)


def _boxes(runs: Sequence[Runs]) -> Counts:
    masks = unpacked([item.counts for item in runs])
    heights = np.repeat(np.array([item.height for item in runs], np.int64), masks.sizes)
    ends = _ends(masks)
    (left, top), (right, bottom) = np.divmod(ends - masks.counts, heights), np.divmod(ends - 1, heights)
    over = left < right  # to the next column: from top to bottom
    top, bottom = np.where(over, 0, top), np.where(over, heights - 1, bottom)
    none = (masks.places % 2 == 0) | (masks.counts == 0)
    least = [np.minimum.reduceat(np.where(none, 2**40, side), masks.first) for side in (left, top)]
    most = [np.maximum.reduceat(np.where(none, -1, side), masks.first) + 1 for side in (right, bottom)]
    boxes = np.stack([*least, *most], axis=1)
    boxes[most[0] == 0] = 0
    return boxes + np.array([(item.x, item.y) * 2 for item in runs], np.int64)


def whole_images(runs: Sequence[Runs], sizes: NDArray[np.int64]) -> list[bytes]:
    """Give packed run lengths of masks over their whole images.

    Args:
        runs: whose crops lie inside the images.
        sizes: ``[N, 2]`` width and height of the images, px.
    """
    texts = [item.counts for item in runs]
    crops = np.array([(item.x, item.y, item.width, item.height) for item in runs], np.int64).reshape(-1, 4)
    cut = np.flatnonzero((crops[:, :2] != 0).any(axis=1) | (crops[:, 2:] != sizes).any(axis=1))
    start = 0
    for share in _shares([texts[row] for row in cut]):
        rows = cut[start : start + len(share)]
        start += len(share)
        for row, text in zip(rows, packed(placed(unpacked(share), crops[rows], sizes[rows])), strict=True):
            texts[row] = text
    return texts


def _in_shares(runs: Sequence[Runs], function: Callable[[Sequence[Runs]], Counts]) -> Counts:
    results, start = [np.empty(0, np.int64)], 0
    for share in _shares([item.counts for item in runs]):
        results.append(function(runs[start : start + len(share)]).reshape(-1))
        start += len(share)
    return np.concatenate(results)


def _shares(texts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut a list so that a share has some ``_AT_ONCE`` characters, and at least one text."""
    start = size = 0
    for end, text in enumerate(texts):
        if size and size + len(text) > _AT_ONCE:
            yield texts[start:end]
            start, size = end, 0
        size += len(text) or 1
    if start < len(texts):
        yield texts[start:]
