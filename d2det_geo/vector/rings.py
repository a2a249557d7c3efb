"""Polygons as flat arrays of points: what compiled loops and coordinate operations work on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

_POLYGON, _MULTIPOLYGON = 3, 6  # as WKB calls them
_HEAD = 9  # bytes of byte order, type and count


@dataclass(frozen=True, slots=True)
class Rings:
    """N (Multi)Polygons of Q parts, R closed rings and P points in all.

    The first ring of a part is its shell. What is empty has no parts.
    """

    xy: NDArray[np.float64]
    """``[P, 2]``."""
    ring_ends: NDArray[np.int64]
    """``[R]`` points up to the end of each ring."""
    part_ends: NDArray[np.int64]
    """``[Q]`` rings up to the end of each part."""
    ends: NDArray[np.int64]
    """``[N]`` parts up to the end of each geometry."""
    multi: NDArray[np.bool_]
    """``[N]`` MultiPolygons, of however many parts."""

    def __len__(self) -> int:
        return len(self.ends)

    def moved(self, xy: NDArray[np.float64]) -> Rings:
        """Give the same rings with other points ``[P, 2]``."""
        return replace(self, xy=np.ascontiguousarray(xy, np.float64))

    def take(self, index: NDArray[np.integer]) -> Rings:
        """Give the geometries at ``index``, in that order."""
        parts, ends = _inside(self.ends, index)
        rings, part_ends = _inside(self.part_ends, parts)
        points, ring_ends = _inside(self.ring_ends, rings)
        return Rings(self.xy[points], ring_ends, part_ends, ends, self.multi[index])

    def replaced(self, index: NDArray[np.integer], others: Rings) -> Rings:
        """Give the geometries with ``others`` at ``index``."""
        both = Rings(
            np.concatenate([self.xy, others.xy]),
            np.concatenate([self.ring_ends, others.ring_ends + len(self.xy)]),
            np.concatenate([self.part_ends, others.part_ends + len(self.ring_ends)]),
            np.concatenate([self.ends, others.ends + len(self.part_ends)]),
            np.concatenate([self.multi, others.multi]),
        )
        order = np.arange(len(self))
        order[index] = len(self) + np.arange(len(index))
        return both.take(order)

    def point_ends(self) -> NDArray[np.int64]:
        """Count the points ``[N]`` up to the end of each geometry."""
        return _upto(self.ring_ends, _upto(self.part_ends, self.ends))

    def spans(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the least and the greatest x and y ``[N, 2]`` of each geometry; NaN for an empty one."""
        ends = self.point_ends()
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        filled = starts < ends
        low, high = np.full((2, len(self), 2), np.nan)
        if filled.any():
            low[filled] = np.minimum.reduceat(self.xy, starts[filled], axis=0)
            high[filled] = np.maximum.reduceat(self.xy, starts[filled], axis=0)
        return low, high

    def polygons(self) -> NDArray[np.object_]:
        """Make geometries ``[N]`` of the points."""
        if len(self) == 0:
            return np.empty(0, dtype=object)
        offsets = tuple(np.concatenate([[0], ends]) for ends in (self.ring_ends, self.part_ends, self.ends))
        geometries = shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, self.xy, offsets)
        single = ~self.multi & ~shapely.is_empty(geometries)
        geometries[single] = shapely.get_geometry(geometries[single], 0)
        return np.asarray(geometries, dtype=object)


def rings_of(geometries: NDArray[np.object_]) -> Rings:
    """Take (Multi)Polygons ``[N]`` apart, without Z and M."""
    packed = shapely.to_wkb(geometries, output_dimension=2, byte_order=1).tolist()
    sizes = np.fromiter(map(len, packed), np.int64, len(packed))
    data = np.frombuffer(b"".join(packed), np.uint8)
    points = np.empty(len(data) // 16 * 16, np.uint8)  # no more fit in, nor more rings and parts below
    ring_ends, part_ends = np.empty(len(data) // 4, np.int64), np.empty(len(data) // _HEAD, np.int64)
    ends, multi = np.empty(len(packed), np.int64), np.empty(len(packed), np.bool_)
    filled, rings, parts = _unpack(data, sizes, points, ring_ends, part_ends, ends, multi)
    # Copies: the arrays above are larger than what was filled.
    xy = points[:filled].copy().view(np.float64).reshape(-1, 2)
    return Rings(xy, ring_ends[:rings].copy(), part_ends[:parts].copy(), ends, multi)


def _upto(inner: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), inner])[ends]


def _inside(ends: NDArray[np.int64], index: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number what is in the groups at ``index``, and give the ends of these groups when they stand alone."""
    starts = np.concatenate([np.zeros(1, np.int64), ends])[index]
    counts = ends[index] - starts
    own = np.cumsum(counts)
    return np.repeat(starts - own + counts, counts) + np.arange(own[-1] if len(own) else 0), own


@compiled(inlined=True)
def _number(data: NDArray[np.uint8], at: int) -> int:
    return int(data[at]) | int(data[at + 1]) << 8 | int(data[at + 2]) << 16 | int(data[at + 3]) << 24


@compiled
def _unpack(
    data: NDArray[np.uint8],
    sizes: NDArray[np.int64],
    points: NDArray[np.uint8],
    ring_ends: NDArray[np.int64],
    part_ends: NDArray[np.int64],
    ends: NDArray[np.int64],
    multi: NDArray[np.bool_],
) -> tuple[int, int, int]:
    """Fill arrays from little-endian WKB; returns the bytes of points, the rings and the parts there are."""
    start = filled = rings = parts = 0
    for index in range(len(sizes)):
        multi[index] = data[start + 1] == _MULTIPOLYGON
        at = start + _HEAD if multi[index] else start
        for _ in range(_number(data, start + 5) if multi[index] else 1):
            at += _HEAD
            count = _number(data, at - 4)
            for _ in range(count):
                size = _number(data, at) * 16
                points[filled : filled + size] = data[at + 4 : at + 4 + size]
                at += 4 + size
                filled += size
                ring_ends[rings] = filled // 16
                rings += 1
            if count > 0:
                part_ends[parts] = rings
                parts += 1
        ends[index] = parts
        start += sizes[index]
    return filled, rings, parts
