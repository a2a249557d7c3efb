"""Compiled loops over COCO's packed run lengths of many masks, none of which trusts its text.

Masks are ``text`` ``[B]``, all of their bytes, with ``ends`` ``[N + 1]``, and ``crops`` ``[N, 4]`` x, y, width, height,
px of the image. ``measured`` stops at the first damaged mask; the other loops leave out those that are damaged.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

Bytes: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]
Places: TypeAlias = NDArray[np.uint32]

ODD, OPEN, LONG, NEGATIVE, OVER, SHORT = -1, -2, -3, -4, -5, -6
"""What may be wrong with run lengths."""
WIDEST = 12
"""Bytes of the longest number: 60 bits by 5."""


@compiled
def measured(text: Bytes, ends: Numbers, crops: Numbers, areas: Numbers, boxes: Numbers) -> tuple[int, int]:
    """Count the pixels ``[N]`` and bound them, ``[N, 4]`` x1, y1, x2, y2 in px of the image.

    Returns:
        Index of the first damaged mask and what is wrong with it; -1 and 0 if nothing is.
    """
    lengths = np.empty(_longest(ends), np.int64)
    for row in range(len(crops)):
        height = crops[row, 3]
        count = _unpacked(text, ends[row], ends[row + 1], crops[row, 2] * height, lengths)
        if count < 0:
            return row, count
        at, left, top, right, bottom = 0, crops[row, 2], height, 0, 0
        for index in range(count):
            stop = at + lengths[index]
            if index % 2 and stop > at:
                areas[row] += stop - at
                column, last = at // height, (stop - 1) // height
                left, right = min(left, column), max(right, last + 1)
                whole = last > column  # on to the next column: from top to bottom
                top = 0 if whole else min(top, at - column * height)
                bottom = height if whole else max(bottom, stop - last * height)
            at = stop
        if right == 0:
            left, top = 0, 0
        boxes[row, 0], boxes[row, 1] = crops[row, 0] + left, crops[row, 1] + top
        boxes[row, 2], boxes[row, 3] = crops[row, 0] + right, crops[row, 1] + bottom
    return -1, 0


@compiled
def spread(text: Bytes, ends: Numbers, crops: Numbers, span_ends: Numbers, starts: Places, stops: Places) -> None:
    """Write where the pixels of each mask start and stop, counted down the columns of its crop."""
    lengths = np.empty(_longest(ends), np.int64)
    written = 0
    for row in range(len(crops)):
        count = _unpacked(text, ends[row], ends[row + 1], crops[row, 2] * crops[row, 3], lengths)
        at = 0
        for index in range(count):
            stop = at + lengths[index]
            if index % 2 and stop > at:
                starts[written], stops[written] = at, stop
                written += 1
            at = stop
        span_ends[row + 1] = written


@compiled
def filled(starts: Places, stops: Places, pixels: NDArray[np.bool_]) -> None:
    """Set the pixels of one mask."""
    for index in range(len(starts)):
        pixels[starts[index] : stops[index]] = True


@compiled
def shared(  # noqa: PLR0913, PLR0917  (compiled code takes arrays, not structures)
    first_ends: Numbers,
    first_starts: Places,
    first_stops: Places,
    second_ends: Numbers,
    second_starts: Places,
    second_stops: Places,
    firsts: NDArray[np.intp],
    seconds: NDArray[np.intp],
    pixels: NDArray[np.float64],
) -> None:
    """Count the pixels ``[K]`` that two masks share, for each pair."""
    for pair in range(len(firsts)):
        a, b = first_ends[firsts[pair]], second_ends[seconds[pair]]
        a_end, b_end = first_ends[firsts[pair] + 1], second_ends[seconds[pair] + 1]
        while a < a_end and b < b_end:
            start = max(first_starts[a], second_starts[b])
            stop = min(first_stops[a], second_stops[b])
            if stop > start:
                pixels[pair] += stop - start
            if first_stops[a] < second_stops[b]:
                a += 1
            else:
                b += 1


@compiled
def placed(
    text: Bytes, ends: Numbers, crops: Numbers, sizes: Numbers, packed_text: Bytes, packed_ends: Numbers
) -> None:
    """Pack the run lengths over images of ``sizes`` ``[N, 2]``; what sticks out of its image is cut off.

    ``packed_text`` must have room for ``WIDEST`` bytes for each of 2 (bytes + width) + 3 numbers of each mask.
    """
    lengths = np.empty(_longest(ends), np.int64)
    for row in range(len(crops)):
        count = _unpacked(text, ends[row], ends[row + 1], crops[row, 2] * crops[row, 3], lengths)
        whole = np.empty(2 * (max(count, 0) + crops[row, 2]) + 3, np.int64)
        length = _on_image(lengths[: max(count, 0)], crops[row], sizes[row, 0], sizes[row, 1], whole)
        packed_ends[row + 1] = packed(whole[:length], packed_text, packed_ends[row])


@compiled
def packed(lengths: Numbers, text: Bytes, at: int) -> int:
    """Write run lengths from ``at`` on; return where they end.

    Numbers have 5 bits a byte, lowest first; from the fourth on they are differences to the last but one.
    """
    for index in range(len(lengths)):
        value = lengths[index] - (lengths[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text[at] = bits + 48 + (32 if more else 0)
            at += 1
    return at


@compiled
def _unpacked(text: Bytes, start: int, stop: int, area: int, lengths: Numbers) -> int:
    """Read the run lengths of one mask, the opposite of ``packed``; return their count, or what is wrong."""
    count, shift = 0, 0
    value, rest = 0, area
    for at in range(start, stop):
        bits = int(text[at]) - 48
        if bits < 0 or bits > 63:
            return ODD
        if shift == 5 * WIDEST:
            return LONG
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if count > 2:
            value += lengths[count - 2]
        if value < 0 or value > rest:
            return NEGATIVE if value < 0 else OVER
        lengths[count] = value
        count, shift = count + 1, 0
        rest -= value
        value = 0
    if shift or count == 0:
        return OPEN
    return SHORT if rest else count


@compiled
def _longest(ends: Numbers) -> int:
    longest = 0
    for row in range(len(ends) - 1):
        longest = max(longest, ends[row + 1] - ends[row])
    return longest


@compiled
def _on_image(lengths: Numbers, crop: Numbers, width: int, height: int, whole: Numbers) -> int:
    """Turn the runs of a crop into those of its image, column by column; return how many there are."""
    count, end, at = 0, 0, 0  # runs written, where the last of them ends, place in the crop
    for index in range(len(lengths)):
        stop = at + lengths[index]
        while index % 2 and at < stop:
            column, row = at // crop[3], at % crop[3]
            length = min(stop - at, crop[3] - row)
            x, top = crop[0] + column, max(crop[1] + row, 0)
            bottom = min(crop[1] + row + length, height)
            at += length
            if not 0 <= x < width or bottom <= top:
                continue
            if count and end == x * height + top:
                whole[count - 1] += bottom - top
            else:
                whole[count], whole[count + 1] = x * height + top - end, bottom - top
                count += 2
            end = x * height + bottom
        at = stop
    if end < width * height or count == 0:
        whole[count] = width * height - end
        count += 1
    return count
