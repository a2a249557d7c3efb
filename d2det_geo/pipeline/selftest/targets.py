"""Where synthetic targets lie on a scene: everywhere an error could hide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from d2det_geo.raster.windows import scene_windows

Points = NDArray[np.float64]
KINDS = ("corner", "edge", "seam", "long", "inside")
_SIDES_PX = (24, 18)  # of a target, grid px; unequal, so that swapped axes show
_GAP_PX = 8  # between targets, grid px
_CHIPS_LONG = 2.2  # a long target is joined from the parts three or four chips see
_PER_LINE = 5  # targets along a row or column of the same kind


@dataclass(frozen=True, slots=True)
class Grid:
    """A scene and the windows it is seen through."""

    size: tuple[int, int]
    """``(width, height)`` of the file, px"""
    read_size: tuple[int, int]
    """as the scene is read: the same, unless control points bend it"""
    scale: tuple[float, float]
    """``(x, y)`` px of the scene as it is read per grid px"""
    to_file: Callable[[Points], Points] | None
    """px of the scene as it is read -> px of the file, where these are not the same"""
    chip_size: int
    """grid px"""
    overlap: int
    """grid px"""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """T rectangles that do not touch."""

    boxes: NDArray[np.int64]
    """``[T, 4]`` as ``(x1, y1, x2, y2)``, scene px."""
    kinds: tuple[str, ...]
    """``[T]`` of ``KINDS``."""


def place_targets(grid: Grid) -> Targets:
    """Spread targets over a scene: corners, edges, chip seams, across several chips, and inside."""
    gap = np.array([ceil(_GAP_PX * max(scale, 1.0)) for scale in grid.scale])
    boxes, kinds = np.empty((0, 4), np.int64), list[str]()
    for kind, box in _wishes(grid):
        grown = np.array([*(box[:2] - gap), *(box[2:] + gap)])
        apart = (boxes[:, 2:] <= grown[:2]).any(axis=1) | (boxes[:, :2] >= grown[2:]).any(axis=1)
        if apart.all():
            boxes, kinds = np.vstack([boxes, box]), [*kinds, kind]
    return Targets(boxes, tuple(kinds))


def _wishes(grid: Grid) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Name boxes in the order of their importance; later ones may touch earlier ones."""
    size = np.array(grid.size)
    # At least 3 px, and of a small scene a sixth.
    wanted = [max(round(side * scale), 3) for side, scale in zip(_SIDES_PX, grid.scale, strict=True)]
    sides = np.maximum(np.minimum(wanted, size // 6), 1)
    seams = [_seams(grid, axis) for axis in (0, 1)]
    across = [grid.read_size[1 - axis] * (np.arange(_PER_LINE) + 0.4) / _PER_LINE for axis in (0, 1)]
    spots: list[tuple[str, Iterable[tuple[float, float]], NDArray[np.int64]]] = []
    ends = [[0.0, float(length)] for length in size]
    spots.append(("corner", product(ends[0], ends[1]), sides))
    # Where control points bend the scene, no mask of 28 x 28 cells tells where a long target's middle is.
    for axis, chip in enumerate(_chip(grid) if grid.to_file is None else ()):
        length = min(round(_CHIPS_LONG * chip), int(size[axis] * 0.7))
        if length > chip:
            long = np.where(np.arange(2) == axis, length, sides)
            spots.append(("long", [tuple(size * (0.4, 0.3) if axis == 0 else size * (0.85, 0.55))], long))
    spots.append(("seam", _in_file(product(seams[0], seams[1]), grid), sides))
    for axis in (0, 1):
        along = (size[1 - axis] * (np.arange(_PER_LINE) + 0.4) / _PER_LINE).tolist()
        spots.append(("seam", _in_file(_crossed(zip(seams[axis], across[axis], strict=False), axis), grid), sides))
        spots.append(("edge", _crossed(product(ends[axis], along), axis), sides))
    lattice = [(length * (np.arange(_PER_LINE - 2) + 0.6) / (_PER_LINE - 2)).tolist() for length in size]
    spots.append(("inside", product(lattice[0], lattice[1]), sides))
    for kind, middles, extent in spots:
        for middle in middles:
            corner = np.clip(np.round(np.array(middle) - extent / 2), 0, size - extent).astype(np.int64)
            yield kind, np.concatenate([corner, corner + extent])


def _crossed(pairs: Iterable[tuple[float, float]], axis: int) -> Iterator[tuple[float, float]]:
    """Turn (along ``axis``, across) into (x, y)."""
    return ((first, second) if axis == 0 else (second, first) for first, second in pairs)


def _in_file(middles: Iterable[tuple[float, float]], grid: Grid) -> list[tuple[float, float]]:
    """Move places of the scene as it is read to the file, and leave out those beyond its edges."""
    points = np.array(list(middles), np.float64).reshape(-1, 2)
    if grid.to_file is not None:
        points = grid.to_file(points)
        points = points[((points >= 0) & (points <= grid.size)).all(axis=1)]
    return [(x, y) for x, y in points.tolist()]


def _chip(grid: Grid) -> tuple[float, float]:
    return grid.chip_size * grid.scale[0], grid.chip_size * grid.scale[1]


def _seams(grid: Grid, axis: int) -> list[float]:
    """Choose inner edges of chips along an axis, from the first to the last, px as read."""
    size = max(round(grid.read_size[axis] / grid.scale[axis]), 1)
    windows = list(scene_windows(size, 1, grid.chip_size, grid.overlap))
    starts = [window.col_off for window in windows[1:]]
    ends = [window.col_off + window.width for window in windows[:-1]]
    edges = sorted({*starts, *ends})
    chosen = sorted({edges[round(index)] for index in np.linspace(0, len(edges) - 1, _PER_LINE)}) if edges else []
    return [edge * grid.scale[axis] for edge in chosen]
