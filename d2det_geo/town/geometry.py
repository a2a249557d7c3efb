"""Plane geometry of the plan: convex cells, the warp that bends streets, rectangles in cells.

Points are metres from the scene's upper left corner, x to the right, y down, ``[V, 2]`` float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def direction(angle: float) -> Points:
    """Turn an angle (rad) into a unit vector ``[2]``."""
    return np.array([np.cos(angle), np.sin(angle)])


def area(polygon: Points) -> float:
    """Give the signed area of a ring, m2; positive when it turns from x to y."""
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def clip(polygon: Points, normal: Points, limit: float) -> Points:
    """Keep the part of a convex polygon where ``point . normal <= limit``; may have no vertices."""
    side = polygon @ normal - limit
    kept: list[Points] = []
    for here, there, a, b in zip(polygon, np.roll(polygon, -1, 0), side, np.roll(side, -1), strict=True):
        if a <= 0:
            kept.append(here)
        if a * b < 0:
            kept.append(here + (there - here) * a / (a - b))
    return np.array(kept).reshape(-1, 2)


def split(polygon: Points, point: Points, normal: Points, width: float) -> tuple[Points, Points, Points]:
    """Cut a convex polygon by a strip of ``width`` through ``point``: one side, strip, other side."""
    middle = float(point @ normal)
    low, high = middle - width / 2, middle + width / 2
    strip = clip(clip(polygon, normal, high), -normal, -low)
    return clip(polygon, normal, low), strip, clip(polygon, -normal, -high)


def longest_edge_angle(polygon: Points) -> float:
    """Give the direction of the longest edge, rad."""
    edges = np.roll(polygon, -1, 0) - polygon
    dx, dy = edges[np.argmax(np.hypot(*edges.T))]
    return float(np.arctan2(dy, dx))


def densify(polygon: Points, step: float) -> Points:
    """Add vertices so that no edge is longer than ``step``."""
    parts = []
    for start, end in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        count = max(int(np.ceil(np.hypot(*(end - start)) / step)), 1)
        parts.append(start + (end - start) * (np.arange(count) / count)[:, None])
    return np.concatenate(parts)


@dataclass(frozen=True)
class Warp:
    """A smooth map of the square scene onto itself that bends straight streets.

    It leaves the scene's edges in place and folds nothing: amplitude times wave number stays well below 1.
    """

    side: float
    amplitude: Points
    waves: Points
    phases: Points

    @staticmethod
    def draw(rng: np.random.Generator, side: float) -> Warp:
        """Draw a warp of a scene of ``side`` metres."""
        waves = rng.uniform(0.5, 1.2, 4) * 2 * np.pi / max(side, 220.0)
        amplitude = rng.uniform(0.12, 0.3, 4) / waves / 2
        return Warp(side, np.minimum(amplitude, 0.05 * side), waves, rng.uniform(0, 2 * np.pi, 4))

    def __call__(self, points: Points) -> Points:
        """Move points ``[V, 2]``."""
        x, y = points.T
        fade_x, fade_y = np.sin(np.pi * x / self.side), np.sin(np.pi * y / self.side)
        wave = self.amplitude * np.sin(self.waves * np.stack([y, x, x + y, x - y], 1) + self.phases)
        return np.stack([x + fade_x * (wave[:, 0] + wave[:, 2]) / 2, y + fade_y * (wave[:, 1] + wave[:, 3]) / 2], 1)


@dataclass(frozen=True)
class Rectangle:
    """An oriented rectangle: local u runs along ``angle``, v across, both from the centre, metres."""

    centre: Points
    angle: float
    length: float
    width: float

    def place(self, local: Points) -> Points:
        """Turn local ``(u, v)`` points into scene points."""
        along = direction(self.angle)
        across = np.array([-along[1], along[0]])
        placed: Points = self.centre + local[:, :1] * along + local[:, 1:] * across
        return placed

    def corners(self) -> Points:
        """Give the four corners."""
        return self.place(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [self.length / 2, self.width / 2])


def inscribed_rectangle(polygon: Points, angle: float, margin: float) -> Rectangle | None:
    """Find a large rectangle at ``angle`` that keeps ``margin`` metres from every edge's line.

    Staying behind the line of every edge keeps it inside a polygon that is not quite convex, too.
    None if there is no room.
    """
    edges = np.roll(polygon, -1, 0) - polygon
    lengths = np.hypot(*edges.T)
    normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / lengths[:, None] * np.sign(area(polygon))
    centre = polygon.mean(0)
    room = np.einsum("ij,ij->i", normals, polygon - centre) - margin
    axes = np.stack([direction(angle), direction(angle + np.pi / 2)])
    slopes = normals @ axes.T
    local = (polygon - centre) @ axes.T
    size = (local.max(0) - local.min(0)) / 2
    scale = float(np.min(room / (np.abs(slopes) @ size)))
    if scale <= 0.05:
        return None
    reach = np.array([-size * scale, size * scale])
    for axis, side in ((0, 0), (0, 1), (1, 0), (1, 1)):
        reach[side, axis] = _extended(reach, slopes, room, axis, side)
    middle, extent = reach.mean(0), reach[1] - reach[0]
    return Rectangle(centre + middle @ axes, angle, float(extent[0]), float(extent[1]))


def _extended(reach: Points, slopes: Points, room: Points, axis: int, side: int) -> float:
    other = 1 - axis
    used = np.maximum(slopes[:, other] * reach[0, other], slopes[:, other] * reach[1, other])
    sign = 1 if side else -1
    facing = sign * slopes[:, axis] > 1e-9
    return float(sign * np.min((room - used)[facing] / (sign * slopes[facing, axis])))
