"""Outlines as COCO masks of whole images, made by arithmetic on run lengths: no mask is ever unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as mask_tools

from d2det_geo.annotations import Runs
from d2det_ops.compiled import compiled

_BATCH = 1024  # masks whose packed run lengths are written at a time: bounds the buffer
_WIDEST = 7  # bytes of the longest packed number, 32 bits by 5


def whole_masks(crops: Sequence[Runs], sizes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Place crops on the canvas of their images; what sticks out of it is cut off.

    Args:
        crops: N masks.
        sizes: ``[N, 2]`` width and height of their images, px.

    Returns:
        COCO masks (``size``, ``counts``).
    """
    masks = [{"size": [height, width], "counts": b""} for width, height in sizes.tolist()]
    placed = []
    for row, crop in enumerate(crops):
        if (crop.x, crop.y, [crop.height, crop.width]) == (0, 0, masks[row]["size"]):
            masks[row]["counts"] = crop.counts
        else:
            placed.append(row)
    for start in range(0, len(placed), _BATCH):
        rows = placed[start : start + _BATCH]
        part = [crops[row] for row in rows]
        places = np.array([(crop.x, crop.y, crop.width, crop.height) for crop in part], np.int64)
        text, text_ends = _joined([crop.counts for crop in part])
        bound = int((2 * (np.diff(text_ends) + places[:, 2]) + 3).sum()) * _WIDEST
        packed, ends = np.empty(bound, np.uint8), np.zeros(len(part) + 1, np.int64)
        _place_all(text, text_ends, places, sizes[rows], packed, ends)
        for place, row in enumerate(rows):
            masks[row]["counts"] = packed[ends[place] : ends[place + 1]].tobytes()
    return masks


def polygon_masks(polygons: NDArray[np.object_], sizes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rasterise (multi)polygons as pycocotools does; holes are taken out.

    Args:
        polygons: ``[N]`` in px of their images.
        sizes: ``[N, 2]`` width and height of their images, px.
    """
    masks = np.full(len(polygons), None, object)
    plain = (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(polygons)
    plain &= shapely.get_num_interior_rings(polygons) == 0
    canvases, canvas = np.unique(sizes, axis=0, return_inverse=True)
    for number, (width, height) in enumerate(canvases.tolist()):
        rows = np.flatnonzero(plain & (canvas == number))
        if len(rows):
            rings = flat_rings(shapely.get_exterior_ring(polygons[rows]))
            masks[rows] = mask_tools.frPyObjects(rings, height, width)
    for row in np.flatnonzero(~plain):
        masks[row] = polygon_mask(polygons[row], (int(sizes[row, 0]), int(sizes[row, 1])))
    return list(masks)


def mask_areas(masks: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Count the pixels ``[N]`` of COCO masks."""
    areas = np.zeros(len(masks))
    _areas(*_joined([mask["counts"] for mask in masks]), areas)
    return areas


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """The pixels of N masks, as stretches down the columns of their images."""

    ends: NDArray[np.int64]
    """``[N + 1]``: those of mask ``n`` are ``[ends[n] : ends[n + 1]]``."""
    starts: NDArray[np.uint32]
    """First pixel of each."""
    stops: NDArray[np.uint32]
    """Pixel after the last of each."""
    areas: NDArray[np.float64]
    """``[N]`` px."""
    boxes: NDArray[np.float64]
    """``[N, 4]`` x, y, width, height that hold the pixels."""


def spans(masks: Sequence[dict[str, Any]]) -> Spans:
    """Unpack COCO masks of images of less than 2^32 px."""
    text, text_ends = _joined([mask["counts"] for mask in masks])
    bounds = np.diff(text_ends) // 2 + 1
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(bounds)])
    starts, stops = np.zeros(ends[-1], np.uint32), np.zeros(ends[-1], np.uint32)
    boxes, areas = np.zeros((len(masks), 4)), np.zeros(len(masks))
    heights = np.array([mask["size"][0] for mask in masks], np.int64)
    _spans(text, text_ends, heights, ends, starts, stops, boxes, areas)
    return Spans(ends, starts, stops, areas, boxes)


def overlaps(first: Spans, second: Spans, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.float64]:
    """Count the pixels ``[K]`` that the masks of each pair share."""
    shared = np.zeros(len(pairs[0]))
    _shared(first.ends, first.starts, first.stops, second.ends, second.starts, second.stops, *pairs, shared)
    return shared


def _joined(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    lengths = np.array([0, *map(len, texts)], np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths)


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
) -> None:
    for row in range(len(places)):
        runs = np.empty(text_ends[row + 1] - text_ends[row] + 1, np.int64)
        count = _unpacked(text, text_ends[row], text_ends[row + 1], runs)
        whole = np.empty(2 * (count + places[row, 2]) + 3, np.int64)
        length = _placed(runs[:count], places[row], sizes[row, 0], sizes[row, 1], whole)
        ends[row + 1] = _packed(whole[:length], packed, ends[row])


@compiled
def _areas(text: NDArray[np.uint8], text_ends: NDArray[np.int64], areas: NDArray[np.float64]) -> None:
    for row in range(len(areas)):
        runs = np.empty(text_ends[row + 1] - text_ends[row] + 1, np.int64)
        count = _unpacked(text, text_ends[row], text_ends[row + 1], runs)
        areas[row] = runs[1:count:2].sum()


@compiled
def _spans(
    text: NDArray[np.uint8],
    text_ends: NDArray[np.int64],
    heights: NDArray[np.int64],
    ends: NDArray[np.int64],
    starts: NDArray[np.uint32],
    stops: NDArray[np.uint32],
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
) -> None:
    written = 0
    for row in range(len(heights)):
        runs = np.empty(text_ends[row + 1] - text_ends[row] + 1, np.int64)
        count = _unpacked(text, text_ends[row], text_ends[row + 1], runs)
        first, at, left, top, right, bottom = written, 0, 1 << 40, 1 << 40, 0, 0
        for index in range(count):
            stop = at + runs[index]
            if index % 2 and stop > at:
                starts[written], stops[written] = at, stop
                written += 1
                column, last = at // heights[row], (stop - 1) // heights[row]
                left, right = min(left, column), max(right, last + 1)
                whole = last > column  # on to the next column: from top to bottom
                top = 0 if whole else min(top, at % heights[row])
                bottom = heights[row] if whole else max(bottom, (stop - 1) % heights[row] + 1)
                areas[row] += stop - at
            at = stop
        ends[row] = first
        if written > first:
            boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3] = left, top, right - left, bottom - top
    ends[len(heights)] = written


@compiled
def _shared(  # noqa: PLR0913, PLR0917  (compiled code takes arrays, not structures)
    first_ends: NDArray[np.int64],
    first_starts: NDArray[np.uint32],
    first_stops: NDArray[np.uint32],
    second_ends: NDArray[np.int64],
    second_starts: NDArray[np.uint32],
    second_stops: NDArray[np.uint32],
    firsts: NDArray[np.intp],
    seconds: NDArray[np.intp],
    shared: NDArray[np.float64],
) -> None:
    for pair in range(len(firsts)):
        a, b = first_ends[firsts[pair]], second_ends[seconds[pair]]
        while a < first_ends[firsts[pair] + 1] and b < second_ends[seconds[pair] + 1]:
            start = max(first_starts[a], second_starts[b])
            stop = min(first_stops[a], second_stops[b])
            if stop > start:
                shared[pair] += stop - start
            if first_stops[a] < second_stops[b]:
                a += 1
            else:
                b += 1


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
