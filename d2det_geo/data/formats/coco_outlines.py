"""COCO's two notations of an outline, rings and run lengths, to and from the values of ``Annotations.outlines``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Runs
from d2det_geo.data.formats.json_rows import FARTHEST, Rows, flattened, numbers_of
from d2det_geo.errors import InputError
from d2det_geo.runs import DamagedError, Measures, measured, of_lengths

_KEY = "segmentation"
_KINDS = {type(None): 0, list: 1, dict: 2}
_RING = "[x1, y1, x2, y2, x3, y3, ...] in px"


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """What N rows say of outlines."""

    shapes: NDArray[np.object_]
    """``[N]`` a Polygon (one ring), a MultiPolygon (several), ``Runs`` over the whole image, or None."""
    boxes: NDArray[np.float64]
    """``[N, 4]`` around them, px; NaN where there is none."""
    areas: NDArray[np.float64]
    """``[N]`` what they cover, px: polygons by the shoelace formula, parts added up; NaN where there is none."""

    @property
    def any(self) -> bool:
        """Tell whether a row has one."""
        return not np.isnan(self.areas).all()


def read_outlines(rows: Rows, sizes: NDArray[np.int64]) -> Outlines:
    """Read the column ``segmentation``; a row need not have it, and an empty list is none.

    Rings stay as they are, also those that cross themselves or cover nothing.

    Args:
        rows: annotations or results.
        sizes: ``[N, 2]`` width and height of each row's image, px; 0 where unknown.

    Raises:
        InputError: neither rings nor run lengths, not finite, or run lengths that do not fill the image; names the
            row.
    """
    count = len(rows)
    result = Outlines(np.full(count, None, object), np.full((count, 4), np.nan), np.full(count, np.nan))
    values = rows.values(_KEY)
    kinds = np.array([_KINDS.get(type(value), -1) for value in values], np.int8)
    kinds[[value == [] for value in values]] = 0
    if (kinds < 0).any():
        raise rows.wrong(int(np.argmax(kinds < 0)), _KEY, f"a list of rings {_RING} or run lengths {{size, counts}}")
    polygons, masks = np.flatnonzero(kinds == 1), np.flatnonzero(kinds == 2)
    if len(polygons):
        shapes = _polygons(rows.chosen(polygons))
        result.shapes[polygons] = shapes
        result.boxes[polygons], result.areas[polygons] = shapely.bounds(shapes), shapely.area(shapes)
    if len(masks):
        runs, (result.areas[masks], result.boxes[masks]) = _runs(rows.chosen(masks), sizes[masks])
        result.shapes[masks] = filled(runs)
    return result


def filled(values: list[Any]) -> NDArray[np.object_]:
    """Make an array of objects of a list, also where numpy would look into them."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _polygons(rows: Rows) -> NDArray[np.object_]:
    values: list[list[Any]] = rows.values(_KEY)
    rings = flattened(values)
    counts = np.fromiter(map(len, values), np.int64, len(values))
    if not set(map(type, rings)) <= {list}:
        raise _wrong_ring(rows)
    lengths = np.fromiter(map(len, rings), np.int64, len(rings))
    flat = numbers_of(flattened(rings))
    if flat is None:
        raise _wrong_ring(rows)
    if (lengths < 6).any() or (lengths % 2).any() or not (np.abs(flat) <= FARTHEST).all():
        raise _wrong_ring(rows)
    points = np.repeat(np.arange(len(rings)), lengths // 2)
    parts = shapely.polygons(shapely.linearrings(flat.reshape(-1, 2), indices=points))
    shapes = np.empty(len(values), object)
    owners = np.repeat(np.arange(len(values)), counts)
    single = counts[owners] == 1
    shapes[owners[single]] = parts[single]
    if not single.all():
        several, groups = np.unique(owners[~single], return_inverse=True)
        shapes[several] = shapely.multipolygons(parts[~single], indices=groups)
    return shapes


def _wrong_ring(rows: Rows) -> InputError:
    """Find the ring that is wrong and say so."""
    for row, value in enumerate(rows.values(_KEY)):
        for index, ring in enumerate(value):
            numbers = numbers_of(ring) if isinstance(ring, list) else None
            place = f"{rows.place(row, _KEY)}[{index}]"
            if numbers is None or not (np.abs(numbers) <= FARTHEST).all():
                return InputError(f"{place} must be {_RING}, up to {FARTHEST:g}, got {ring!r:.60}; correct the row")
            if len(numbers) < 6 or len(numbers) % 2:
                count = f"an even count of at least 6 numbers, got {len(numbers)}"
                return InputError(f"{place} must be {_RING}, {count}; correct the row")
    raise AssertionError("every ring is right")


def _runs(rows: Rows, sizes: NDArray[np.int64]) -> tuple[list[Runs], Measures]:
    values = rows.values(_KEY)
    stated = _sizes(rows, sizes[:, ::-1].tolist())
    counts = [value.get("counts") for value in values]
    if set(map(type, counts)) == {str}:
        texts = [text.encode(errors="replace") for text in counts]
        runs = [Runs(0, 0, width, height, text) for (height, width), text in zip(stated, texts, strict=True)]
    else:
        runs = [_mask(text, size, rows, row) for row, (text, size) in enumerate(zip(counts, stated, strict=True))]
    try:
        return runs, measured(runs)
    except DamagedError as error:
        height, width = stated[error.index]
        raise InputError(
            f"{rows.place(error.index, _KEY)}.counts do not add up to an image of {height} x {width} px; "
            "is it cut short?"
        ) from error


def _sizes(rows: Rows, known: list[list[int]]) -> list[list[int]]:
    """Give height and width of each mask, which are those of its image where they are known."""
    stated = [value.get("size") for value in rows.values(_KEY)]
    if stated == known:
        return known
    for row, (size, (height, width)) in enumerate(zip(stated, known, strict=True)):
        if size != [height, width] and (width or not _is_size(size)):
            raise InputError(
                f"{rows.place(row, _KEY)}.size must be {[height, width]}, height and width of the image, "
                f"got {size!r:.60}; correct the row"
            )
    return [size if size[0] else given for size, given in zip(known, stated, strict=True)]


def _is_size(size: Any) -> bool:
    return (
        isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side <= FARTHEST for side in size)
    )


def _mask(counts: Any, size: list[int], rows: Rows, row: int) -> Runs:
    """Take run lengths as they are; those that no mask can have are found later, all at once."""
    height, width = size
    if isinstance(counts, str):
        return Runs(0, 0, width, height, counts.encode(errors="replace"))
    if isinstance(counts, list) and all(type(count) is int for count in counts):
        return of_lengths(counts if all(0 <= count <= width * height for count in counts) else [], width, height)
    raise InputError(
        f"{rows.place(row, _KEY)}.counts must be a string or a list of integers, got {counts!r:.60}; correct the row"
    )
