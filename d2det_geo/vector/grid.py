"""Polygons rounded to decimals, and valid still."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.vector.repair import valid_polygons
from d2det_geo.vector.rings import Rings, rings_of
from d2det_ops.compiled import compiled

_FEW = 64  # points; the loop below looks at all pairs of sides, GEOS at far fewer in long rings
_EXACT = 1e-15  # of the terms of a determinant of whole numbers below 2**53; below that its sign may be wrong


def on_grid(rings: Rings, digits: int) -> Rings:
    """Round coordinates to ``digits`` decimals.

    What would cross or touch itself then is redrawn along the grid, without what is narrower than the grid.

    Returns:
        The geometries, whose coordinates are whole numbers: units of the last decimal. An object that is
        smaller than the grid is left with no part.
    """
    scale = 10.0**digits
    rounded = rings.moved(np.rint(rings.xy * scale))
    (doubtful,) = np.nonzero(~_simple(rounded.xy, rounded.point_ends(), _ring_counts(rounded)))
    doubtful = doubtful[~shapely.is_valid(rounded.take(doubtful).polygons())]
    if len(doubtful) == 0:
        return rounded
    drawn, _ = valid_polygons(rings.take(doubtful).polygons())
    # Whole numbers are a grid that both GEOS and the text of a file hold exactly.
    with np.errstate(all="ignore"):  # GEOS divides by lengths that may be next to nothing
        drawn = shapely.set_precision(shapely.transform(drawn, lambda points: points * scale), 1.0)
    return rounded.replaced(doubtful, rings_of(valid_polygons(drawn)[0]))


def _ring_counts(rings: Rings) -> NDArray[np.int64]:
    upto = np.concatenate([np.zeros(1, np.int64), rings.part_ends])[rings.ends]
    return np.diff(upto, prepend=0)


@compiled
def _simple(xy: NDArray[np.float64], ends: NDArray[np.int64], rings: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which geometries surely are one short ring that goes around an area without touching itself.

    Args:
        xy: ``[P, 2]`` whole numbers.
        ends: ``[N]`` points up to the end of each geometry.
        rings: ``[N]`` of each geometry.
    """
    sure = np.zeros(len(ends), np.bool_)
    ring = np.empty((_FEW + 1, 2))
    start = 0
    for index in range(len(ends)):
        stop = ends[index]
        if rings[index] == 1 and stop - start <= _FEW:
            count = 0
            for point in range(start, stop - 1):
                following = xy[point + 1]
                if xy[point, 0] != following[0] or xy[point, 1] != following[1]:
                    ring[count] = xy[point]
                    count += 1
            if count > 2:
                ring[count] = ring[0]
                sure[index] = _touches_nowhere(ring, count)
        start = stop
    return sure


@compiled
def _touches_nowhere(ring: NDArray[np.float64], count: int) -> bool:
    """Tell whether no two sides of a closed ring of ``count`` different points share more than their corner."""
    for one in range(count):
        if _folds(ring[one], ring[one + 1], ring[one + 2 if one + 2 <= count else 1]):
            return False
        for other in range(one + 2, count - 1 if one == 0 else count):
            if _meet(ring[one], ring[one + 1], ring[other], ring[other + 1]):
                return False
    return True


@compiled(inlined=True)
def _side(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> int:
    """Tell the side of the line from a to b that c is on, -1 or 1; 0 for on it, or so near that it is not sure."""
    left, right = (bx - ax) * (cy - ay), (by - ay) * (cx - ax)
    unsure = _EXACT * (abs(left) + abs(right))
    return 1 if left - right > unsure else (-1 if right - left > unsure else 0)


@compiled
def _folds(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> bool:
    """Tell whether the way from a over b to c turns back on itself."""
    if _side(a[0], a[1], b[0], b[1], c[0], c[1]) != 0:
        return False
    return bool((b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) <= 0)


@compiled
def _meet(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]) -> bool:
    """Tell whether the lines from a to b and from c to d may have a point in common."""
    for axis in range(2):
        if max(a[axis], b[axis]) < min(c[axis], d[axis]) or max(c[axis], d[axis]) < min(a[axis], b[axis]):
            return False
    here = _side(a[0], a[1], b[0], b[1], c[0], c[1]) * _side(a[0], a[1], b[0], b[1], d[0], d[1])
    there = _side(c[0], c[1], d[0], d[1], a[0], a[1]) * _side(c[0], c[1], d[0], d[1], b[0], b[1])
    return here <= 0 and there <= 0
