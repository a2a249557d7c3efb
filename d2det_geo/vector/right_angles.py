"""Loops that give a ring the corners of a building: every edge along one direction or across it.

A ring here is open, ``[V, 2]``: its first vertex is not repeated at its end. An edge of the result is a *wall*: it
runs along the direction (0) or across it (1), at an offset, the one coordinate that all its points share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_ops.compiled import compiled

# Shares of the mean width of what a ring encloses.
_NOISE = 0.05  # an outline is this much off the walls: a cell or two of a mask of 28 x 28
_ROUNDING = 0.15  # longest oblique edge that is a rounded corner
_SHORTEST = 0.08  # walls shorter than this are steps of the outline, not of the building
_LEAST_ALIGNED = 0.6  # of the length of a ring that is right-angled; a circle has 0.33, an octagon 0.5
_HOLE = 1.5  # times its own width, at most, for a hole; its outline is as noisy as the shell's

_RIGHT_ANGLE = np.pi / 2
_REACH = np.pi / 12  # an edge farther than this from a direction says nothing about it
_STEEPEST = 0.6  # slope against its wall from which on a segment is a rounded corner and not the wall
_LEAST_AIMED = 0.25  # share of a wall's length that has to be less steep to stand for all of it
_FITS = 2  # rounds of fitting the direction to all points of the walls


@compiled
def corners_of(points: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Find the vertices of a ring that Douglas and Peucker keep, ascending; at least two."""
    count = len(points)
    middle_x, middle_y = points[:, 0].mean(), points[:, 1].mean()
    first = int(np.argmax((points[:, 0] - middle_x) ** 2 + (points[:, 1] - middle_y) ** 2))
    second = int(np.argmax((points[:, 0] - points[first, 0]) ** 2 + (points[:, 1] - points[first, 1]) ** 2))
    kept = np.zeros(count, dtype=np.bool_)
    kept[first] = kept[second] = True
    low, high = min(first, second), max(first, second)
    stack = [(low, high), (high, low + count)]
    while stack:
        start, stop = stack.pop()
        from_x, from_y = points[start % count]
        along_x, along_y = points[stop % count, 0] - from_x, points[stop % count, 1] - from_y
        length = np.hypot(along_x, along_y)
        worst, farthest = tolerance, -1
        for index in range(start + 1, stop):
            x, y = points[index % count, 0] - from_x, points[index % count, 1] - from_y
            off = np.hypot(x, y) if length == 0 else abs(x * along_y - y * along_x) / length
            if off > worst:
                worst, farthest = off, index
        if farthest >= 0:
            kept[farthest % count] = True
            stack.append((start, farthest))
            stack.append((farthest, stop))
    return np.flatnonzero(kept)


@compiled
def main_direction(points: NDArray[np.float64], corners: NDArray[np.int64]) -> float:
    """Find the angle, modulo 90 degrees, that most of the length between corners runs along or across."""
    count = len(corners)
    angles, lengths = np.empty(count), np.empty(count)
    for edge in range(count):
        start, stop = points[corners[edge]], points[corners[(edge + 1) % count]]
        angles[edge] = np.arctan2(stop[1] - start[1], stop[0] - start[0])
        lengths[edge] = np.hypot(stop[0] - start[0], stop[1] - start[1])
    best, direction = -1.0, 0.0
    for edge in range(count):
        score, turn = 0.0, 0.0
        for other in range(count):
            off = angles[other] - angles[edge]
            off -= np.round(off / _RIGHT_ANGLE) * _RIGHT_ANGLE
            weight = lengths[other] * max(0.0, 1 - (off / _REACH) ** 2)
            score += weight
            turn += weight * off
        if score > best:
            best, direction = score, angles[edge] + turn / score if score > 0 else angles[edge]
    return direction


@compiled
def aligned_share(points: NDArray[np.float64], corners: NDArray[np.int64], direction: float) -> float:
    """Measure which share of the length between corners runs along or across a direction."""
    total, aligned = 0.0, 0.0
    for edge in range(len(corners)):
        run, rise = points[corners[(edge + 1) % len(corners)]] - points[corners[edge]]
        off = np.arctan2(rise, run) - direction
        length = np.hypot(run, rise)
        total += length
        if abs(off - np.round(off / _RIGHT_ANGLE) * _RIGHT_ANGLE) < _REACH:
            aligned += length
    return aligned / total


@compiled
def _turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.empty_like(points)
    turned[:, 0] = cos * points[:, 0] - sin * points[:, 1]
    turned[:, 1] = sin * points[:, 0] + cos * points[:, 1]
    return turned


@compiled
def _segment(points: NDArray[np.float64], index: int, across: int, aimed: bool) -> tuple[float, float, float]:
    """Give the middle of a segment, along its wall and at right angles to it, and its weight."""
    here, there = points[index % len(points)], points[(index + 1) % len(points)]
    run, rise = abs(there[across] - here[across]), abs(there[1 - across] - here[1 - across])
    weight = np.hypot(run, rise)
    if aimed:
        weight *= max(0.0, 1 - (rise / (_STEEPEST * run)) ** 2) if run > 0 else 0.0
    return (here[across] + there[across]) / 2, (here[1 - across] + there[1 - across]) / 2, weight


@compiled
def _moments(points: NDArray[np.float64], start: int, stop: int, across: int) -> tuple[float, float, float, float]:
    """Measure the segments of one wall: weight, offset, variance along it, covariance of along and offset."""
    total, length = 0.0, 0.0
    for index in range(start, stop):
        total += _segment(points, index, across, True)[2]
        length += _segment(points, index, across, False)[2]
    aimed = total >= _LEAST_AIMED * length
    weights, sum_u, sum_v, sum_uu, sum_uv = 0.0, 0.0, 0.0, 0.0, 0.0
    base_u, base_v = points[start % len(points), across], points[start % len(points), 1 - across]
    for index in range(start, stop):
        u, v, weight = _segment(points, index, across, aimed)
        u, v = u - base_u, v - base_v
        weights += weight
        sum_u += weight * u
        sum_v += weight * v
        sum_uu += weight * u * u
        sum_uv += weight * u * v
    if weights == 0:
        return 0.0, base_v, 0.0, 0.0
    return weights, base_v + sum_v / weights, sum_uu - sum_u**2 / weights, sum_uv - sum_u * sum_v / weights


@compiled
def fitted_direction(points: NDArray[np.float64], corners: NDArray[np.int64], direction: float) -> float:
    """Turn a direction so that the walls between corners fit the ring's segments best, by least squares."""
    count = len(corners)
    for _ in range(_FITS):
        turned = _turned(points, -direction)
        spread, slope = 0.0, 0.0
        for edge in range(count):
            start, stop = corners[edge], corners[(edge + 1) % count]
            stop += len(points) if edge == count - 1 else 0
            run, rise = np.abs(turned[stop % len(points)] - turned[start])
            if min(run, rise) > _STEEPEST * max(run, rise):
                continue
            across = 1 if rise > run else 0
            _, _, variance, covariance = _moments(turned, start, stop, across)
            spread += variance
            slope += covariance if across == 0 else -covariance
        if spread > 0:
            direction += np.arctan(slope / spread)
    return direction


@compiled
def _walls(
    points: NDArray[np.float64], corners: NDArray[np.int64], rounding: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Make a wall of each edge between corners, alternately along and across: kinds, offsets, weights.

    Edges up to ``rounding`` long that run obliquely are rounded corners, and left to their neighbours. Where two walls
    of one kind meet, one of no weight at right angles joins them.
    """
    count = len(corners)
    kinds, offsets = np.empty(2 * count, dtype=np.int64), np.empty(2 * count)
    weights, size = np.zeros(2 * count), 0
    first_x, first_y = 0.0, 0.0
    for edge in range(count):
        start, stop = corners[edge], corners[(edge + 1) % count]
        stop += len(points) if edge == count - 1 else 0
        run, rise = np.abs(points[stop % len(points)] - points[start])
        if np.hypot(run, rise) <= rounding and min(run, rise) > _STEEPEST * max(run, rise):
            continue
        across = 1 if rise > run else 0
        if size == 0:
            first_x, first_y = points[start]
        elif kinds[size - 1] == across:
            kinds[size], offsets[size], weights[size] = 1 - across, points[start, across], 0.0
            size += 1
        weight, offset, _, _ = _moments(points, start, stop, across)
        kinds[size], offsets[size], weights[size] = across, offset, weight
        size += 1
    if size > 1 and kinds[0] == kinds[size - 1]:
        kinds[size], offsets[size] = 1 - kinds[0], first_x if kinds[0] == 0 else first_y
        size += 1
    return kinds[:size], offsets[:size], weights[:size]


@compiled
def _merged(
    kinds: NDArray[np.int64], offsets: NDArray[np.float64], weights: NDArray[np.float64], shortest: float
) -> int:
    """Join the neighbours of each wall shorter than ``shortest``, the shortest first, in place; how many are left."""
    size = len(kinds)
    while size > 4:
        least, index = np.inf, 0
        for wall in range(size):
            length = abs(offsets[(wall + 1) % size] - offsets[wall - 1 if wall else size - 1])
            if length < least:
                least, index = length, wall
        if least >= shortest:
            break
        before, after = (index - 1) % size, (index + 1) % size
        weight = weights[before] + weights[after]
        share = weights[after] / weight if weight > 0 else 0.5
        offsets[before] += share * (offsets[after] - offsets[before])
        weights[before] = weight
        kept = 0
        for wall in range(size):
            if wall not in (index, after):
                kinds[kept], offsets[kept], weights[kept] = kinds[wall], offsets[wall], weights[wall]
                kept += 1
        size = kept
    return size


@compiled
def squared(
    points: NDArray[np.float64], corners: NDArray[np.int64], direction: float, rounding: float, shortest: float
) -> NDArray[np.float64]:
    """Give a ring of right angles; empty where the ring has fewer than four walls."""
    turned = _turned(points, -direction)
    kinds, offsets, weights = _walls(turned, corners, rounding)
    if len(kinds) < 4:
        return np.empty((0, 2))
    size = _merged(kinds, offsets, weights, shortest)
    ring = np.empty((size, 2))
    for wall in range(size):
        following = (wall + 1) % size
        ring[wall, 1 - kinds[wall]] = offsets[wall]
        ring[wall, kinds[wall]] = offsets[following]
    return _turned(ring, direction)


@compiled
def _widest(hole: NDArray[np.float64], width: float) -> float:
    """Give the width that a hole's shares are of: its part's, if that is not much more than its own."""
    area, length = 0.0, 0.0
    for index in range(len(hole)):
        here, there = hole[index], hole[(index + 1) % len(hole)]
        area += (here[0] * there[1] - there[0] * here[1]) / 2
        length += np.hypot(there[0] - here[0], there[1] - here[1])
    return min(width, _HOLE * 4 * abs(area) / length)


@compiled
def square_rings(
    points: NDArray[np.float64],
    ring_starts: NDArray[np.int64],
    part_starts: NDArray[np.int64],
    widths: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Square every ring of every part, holes in the direction of their shell.

    Args:
        points: ``[V, 2]`` vertices of closed rings, one ring after the other.
        ring_starts: ``[R + 1]`` where in ``points`` each begins, and the last ends.
        part_starts: ``[P + 1]`` which ring is the shell of each part, before its holes.
        widths: ``[P]`` mean width of each part.

    Returns:
        The vertices of closed rings, and how many belong to each ring ``[R]``; 0 where it is far from right-angled.
    """
    found = [np.empty((0, 2))]
    sizes = np.zeros(len(ring_starts) - 1, dtype=np.int64)
    for part in range(len(part_starts) - 1):
        direction = 0.0
        for ring in range(part_starts[part], part_starts[part + 1]):
            shell = ring == part_starts[part]
            origin = points[ring_starts[ring]]
            outline = points[ring_starts[ring] : ring_starts[ring + 1] - 1] - origin
            width = widths[part] if shell else _widest(outline, widths[part])
            corners = corners_of(outline, _NOISE * width)
            if shell:
                direction = fitted_direction(outline, corners, main_direction(outline, corners))
            if aligned_share(outline, corners, direction) < _LEAST_ALIGNED:
                continue
            square = squared(outline, corners, direction, _ROUNDING * width, _SHORTEST * width)
            if len(square):
                sizes[ring] = len(square) + 1
                found.append(square + origin)
                found.append(square[:1] + origin)
    closed, end = np.empty((sizes.sum(), 2)), 0
    for ring_points in found:
        closed[end : end + len(ring_points)] = ring_points
        end += len(ring_points)
    return closed, sizes
