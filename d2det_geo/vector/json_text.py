"""JSON of many objects at once, as bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.vector.rings import Rings
from d2det_ops.compiled import compiled

_POLYGON = np.frombuffer(b'{"type":"Polygon","coordinates":', np.uint8)
_MULTIPOLYGON = np.frombuffer(b'{"type":"MultiPolygon","coordinates":', np.uint8)
_OPEN, _CLOSE, _COMMA, _POINT, _MINUS, _ZERO = (ord(sign) for sign in "[],.-0")
_LONGEST = 22  # characters of a whole number of 64 bits, a sign and a decimal point


def rows_text(pattern: str, columns: list[NDArray[Any]], count: int) -> tuple[bytes, NDArray[np.int64]]:
    """Fill a pattern with the values of ``count`` objects.

    Args:
        pattern: with ``%s`` where a value goes, one for each column.
        columns: ``[count]`` values each.
        count: objects.

    Returns:
        The texts in UTF-8, one behind the other, and the bytes ``[count]`` of each.
    """
    rows = (
        [pattern % row for row in zip(*map(values_text, columns), strict=True)] if columns else [pattern % ()] * count
    )
    text = "".join(rows)
    if text.isascii():
        return text.encode(), np.fromiter(map(len, rows), np.int64, count)
    encoded = [row.encode(errors="replace") for row in rows]
    return b"".join(encoded), np.fromiter(map(len, encoded), np.int64, count)


def values_text(values: NDArray[Any]) -> list[str]:
    """Write values ``[N]`` as JSON; what is not a number becomes null."""
    items = values.tolist()
    if values.dtype.kind == "f" and np.isfinite(values).all():
        return list(map(repr, items))
    known = {value: _value_text(value) for value in set(items)}
    return [known[value] for value in items]


def _value_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)


def features_text(
    heads: bytes, sizes: NDArray[np.int64], rings: Rings, digits: int, end: bytes = b""
) -> memoryview[int]:
    """Write N objects as GeoJSON: what comes before its geometry, the geometry, two closing braces, ``end``.

    Shells go counter-clockwise, holes clockwise; of points that are the same one is written.

    Args:
        heads: what comes before the geometries, one behind the other.
        sizes: ``[N]`` bytes of each.
        rings: N geometries with at least a part each; coordinates are whole numbers, in units of the last decimal.
        digits: decimals.
        end: what follows each.
    """
    return _text(heads, sizes, rings, digits, b"}}" + end, nested=True)


def annotations_text(heads: bytes, sizes: NDArray[np.int64], rings: Rings, digits: int) -> memoryview[int]:
    """Write N objects as COCO: what comes before its outline, the shells of its parts, a closing brace.

    A shell is one list of x and y in turn, without its first point again; arguments as of ``features_text``.
    """
    return _text(heads, sizes, rings, digits, b"}", nested=False)


def _text(
    heads: bytes, sizes: NDArray[np.int64], rings: Rings, digits: int, tail: bytes, *, nested: bool
) -> memoryview[int]:
    longest = 2 * _LONGEST + len("[,],")
    brackets = 64 + len(tail)
    room = len(heads) + longest * len(rings.xy) + 4 * (len(rings.ring_ends) + len(rings.part_ends))
    out = np.empty(room + brackets * len(sizes), np.uint8)
    text, closing = np.frombuffer(heads, np.uint8), np.frombuffer(tail, np.uint8)
    used = _write(out, text, sizes, closing, rings.xy, rings.ring_ends, rings.part_ends, rings.ends, digits, nested)
    return out[:used].data


@compiled
def _write(  # noqa: PLR0913, PLR0917 (arrays)
    out: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    sizes: NDArray[np.int64],
    tail: NDArray[np.uint8],
    xy: NDArray[np.float64],
    ring_ends: NDArray[np.int64],
    part_ends: NDArray[np.int64],
    ends: NDArray[np.int64],
    digits: int,
    nested: bool,
) -> int:
    at = head = point = ring = part = 0
    for index in range(len(ends)):
        at = _copy(out, at, heads[head : head + sizes[index]])
        head += sizes[index]
        several = ends[index] - part > 1 or not nested
        if nested:
            at = _copy(out, at, _MULTIPOLYGON if several else _POLYGON)
        if several:
            at = _sign(out, at, _OPEN)
        while part < ends[index]:
            if nested:
                at = _sign(out, at, _OPEN)
            first = ring
            while ring < part_ends[part]:
                if nested or ring == first:
                    at = _ring(out, at, xy[point : ring_ends[ring]], ring == first, digits, nested)
                point = ring_ends[ring]
                ring += 1
                if nested:
                    at = _sign(out, at, _COMMA if ring < part_ends[part] else _CLOSE)
            part += 1
            if several:
                at = _sign(out, at, _COMMA if part < ends[index] else _CLOSE)
        at = _copy(out, at, tail)
    return at


@compiled
def _ring(out: NDArray[np.uint8], at: int, xy: NDArray[np.float64], shell: bool, digits: int, nested: bool) -> int:
    area = 0.0
    for index in range(1, len(xy) - 1):
        area += (xy[index, 0] - xy[0, 0]) * (xy[index + 1, 1] - xy[0, 1])
        area -= (xy[index + 1, 0] - xy[0, 0]) * (xy[index, 1] - xy[0, 1])
    forward = (area > 0) == shell
    at = _sign(out, at, _OPEN)
    for step in range(len(xy) if nested else len(xy) - 1):
        index = step if forward else len(xy) - 1 - step
        if step > 0:
            before = index - 1 if forward else index + 1
            if xy[index, 0] == xy[before, 0] and xy[index, 1] == xy[before, 1]:
                continue
            at = _sign(out, at, _COMMA)
        if nested:
            at = _sign(out, at, _OPEN)
        at = _number(out, at, int(xy[index, 0]), digits)
        at = _sign(out, at, _COMMA)
        at = _number(out, at, int(xy[index, 1]), digits)
        if nested:
            at = _sign(out, at, _CLOSE)
    return _sign(out, at, _CLOSE)


@compiled
def _number(out: NDArray[np.uint8], at: int, value: int, digits: int) -> int:
    """Write ``value / 10**digits`` without zeros at its end."""
    if value < 0:
        at = _sign(out, at, _MINUS)
        value = -value
    decimals = digits
    while decimals > 0 and value % 10 == 0:
        value //= 10
        decimals -= 1
    length, rest = 1, value // 10
    while rest > 0:
        length, rest = length + 1, rest // 10
    length = max(length, decimals + 1)
    stop = at + length + (decimals > 0)
    for place in range(length):
        if place == decimals and decimals > 0:
            stop -= 1
            out[stop] = _POINT
        stop -= 1
        out[stop] = _ZERO + value % 10
        value //= 10
    return at + length + (decimals > 0)


@compiled(inlined=True)
def _sign(out: NDArray[np.uint8], at: int, sign: int) -> int:
    out[at] = sign
    return at + 1


@compiled(inlined=True)
def _copy(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8]) -> int:
    out[at : at + len(text)] = text
    return at + len(text)
