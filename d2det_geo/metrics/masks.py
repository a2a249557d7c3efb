"""Outlines as COCO masks of whole images, made by arithmetic on run lengths: no mask is ever unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as mask_tools

from d2det_geo.annotations import Runs
from d2det_ops.compiled import compiled

_BATCH = 1024  # masks whose packed run lengths are written at a time: bounds the buffer
_WIDEST = 7  # bytes of the longest packed number, 32 bits by 5


def whole_masks(crops: Sequence[Runs], sizes: NDArray[np.int64]) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Place crops on the canvas of their images; what sticks out of it is cut off.

    Args:
        crops: N masks.
        sizes: ``[N, 2]`` width and height of their images, px.

    Returns:
        COCO masks (``size``, ``counts``), and areas ``[N]``, px.
    """
    masks: list[dict[str, Any]] = []
    areas = np.zeros(len(crops))
    for start in range(0, len(crops), _BATCH):
        part = crops[start : start + _BATCH]
        places = np.array([(crop.x, crop.y, crop.width, crop.height) for crop in part], np.int64)
        text = np.frombuffer(b"".join(crop.counts for crop in part), np.uint8)
        lengths = np.array([len(crop.counts) for crop in part])
        bound = int((2 * (lengths + places[:, 2]) + 3).sum()) * _WIDEST
        packed, ends = np.empty(bound, np.uint8), np.zeros(len(part) + 1, np.int64)
        canvas = sizes[start : start + _BATCH]
        _place_all(text, np.cumsum(lengths), places, canvas, packed, ends, areas[start : start + _BATCH])
        for row, (width, height) in enumerate(canvas.tolist()):
            counts = packed[ends[row] : ends[row + 1]].tobytes()
            masks.append({"size": [height, width], "counts": counts})
    return masks, areas


def polygon_mask(polygon: shapely.Geometry, size: tuple[int, int]) -> dict[str, Any]:
    """Rasterise a (multi)polygon as pycocotools does; holes are taken out.

    Args:
        polygon: in px of the image.
        size: width and height of the image, px.
    """
    parts = shapely.get_parts(polygon)
    if not shapely.get_num_interior_rings(parts).any():
        return _merged(shapely.get_exterior_ring(parts), size)
    return dict(mask_tools.merge([_with_holes(part, size) for part in parts]))


def flat_rings(rings: NDArray[np.object_]) -> list[list[float]]:
    """Return rings as COCO has them: ``[x1, y1, x2, y2, ...]``, not closed."""
    points, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.searchsorted(ring, np.arange(len(rings) + 1))
    flat: list[float] = points.ravel().tolist()
    return [flat[2 * start : 2 * end - 2] for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def mask_area(mask: dict[str, Any]) -> float:
    """Count the pixels of a mask."""
    return float(mask_tools.area(mask))


def _with_holes(part: shapely.Polygon, size: tuple[int, int]) -> dict[str, Any]:
    rings = shapely.get_rings(part)  # the outside, then the holes
    outside = _merged(rings[:1], size)
    return outside if len(rings) == 1 else _without(outside, _merged(rings[1:], size))


def _merged(rings: NDArray[np.object_], size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    if len(rings) == 0:
        return dict(mask_tools.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width))
    return dict(mask_tools.merge(mask_tools.frPyObjects(flat_rings(rings), height, width)))


def _without(mask: dict[str, Any], hole: dict[str, Any]) -> dict[str, Any]:
    text = np.frombuffer(hole["counts"], np.uint8)
    runs = np.zeros(len(text) + 1, np.int64)
    count = _unpacked(text, 0, len(text), runs[1:])
    # The complement of a mask starts with what was its first object run, or with an empty one.
    rest = {"size": hole["size"], "counts": (runs[2 : count + 1] if runs[1] == 0 else runs[: count + 1]).tolist()}
    return dict(mask_tools.merge([mask, mask_tools.frPyObjects(rest, *hole["size"])], intersect=True))


@compiled
def _place_all(
    text: NDArray[np.uint8],
    text_ends: NDArray[np.int64],
    places: NDArray[np.int64],
    sizes: NDArray[np.int64],
    packed: NDArray[np.uint8],
    ends: NDArray[np.int64],
    areas: NDArray[np.float64],
) -> None:
    start = 0
    for row in range(len(places)):
        runs = np.empty(text_ends[row] - start + 1, np.int64)
        count = _unpacked(text, start, text_ends[row], runs)
        start = text_ends[row]
        whole = np.empty(2 * (count + places[row, 2]) + 3, np.int64)
        length = _placed(runs[:count], places[row], sizes[row, 0], sizes[row, 1], whole)
        areas[row] = whole[1:length:2].sum()
        ends[row + 1] = _packed(whole[:length], packed, ends[row])


@compiled
def _unpacked(text: NDArray[np.uint8], start: int, end: int, runs: NDArray[np.int64]) -> int:
    """Read run lengths: 5 bits a byte, lowest first; from the fourth run on as differences by two."""
    count, value, shift = 0, np.int64(0), 0
    for at in range(start, end):
        bits = np.int64(text[at]) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32 == 0:
            if bits & 16:
                value -= 1 << shift
            runs[count] = value + (runs[count - 2] if count > 2 else 0)
            count, value, shift = count + 1, np.int64(0), 0
    return count


@compiled
def _packed(runs: NDArray[np.int64], packed: NDArray[np.uint8], at: int) -> int:
    """Write run lengths from ``at`` on; return where they end."""
    for index in range(len(runs)):
        value = runs[index] - (runs[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            packed[at] = bits + 48 + (32 if more else 0)
            at += 1
    return at


@compiled
def _placed(
    runs: NDArray[np.int64], place: NDArray[np.int64], width: int, height: int, whole: NDArray[np.int64]
) -> int:
    """Turn the runs of a crop into those of its image, column by column; return how many there are."""
    crop_height = max(place[3], 1)
    count, end, at = 0, 0, 0  # runs written, where the last of them ends, place in the crop
    for index in range(len(runs)):
        stop = min(at + max(runs[index], 0), place[2] * place[3])
        while index % 2 and at < stop:
            column, row = at // crop_height, at % crop_height
            length = min(stop - at, crop_height - row)
            x, top = place[0] + column, max(place[1] + row, 0)
            bottom = min(place[1] + row + length, height)
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
    if end < width * height:
        whole[count] = width * height - end
        count += 1
    return count
