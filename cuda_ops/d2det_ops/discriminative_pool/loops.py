"""The compiled loops of the pooling: region by region, vectorised over channels.

Loops have few arrays, or the compiler would need more checks for overlap than it is willing to make before it
vectorises; ``np.divide`` does not look for a zero, which would be a branch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from d2det_ops.compiled import compiled
from d2det_ops.discriminative_pool.layout import Array, Maps, Room, Shape

TILE = 16  # channels and cells that are transposed together: one cache line on each side

# 2^x for x in [-1/2, 1/2], greatest relative error 2e-9
C0, C1, C2, C3, C4, C5, C6 = np.array(
    [1.000000001, 0.6931472057, 0.2402264689, 0.05550328777, 0.009618488957, 0.001339993122, 0.0001534581200],
    np.float32,
)
UP, DOWN = np.float32(1024.5), np.int32(1024)  # where numbers are positive, cutting off the fraction rounds
BIAS, MANTISSA = np.int32(127), np.int32(23)  # of a float32's exponent; bits below it
LOG2_E = np.float32(1.4426950408889634)
LIMIT = np.float32(57.7)  # log2 of e^40: at a gate of 40 the weight is e^6 already
ONE, SIX, TWELVE = np.float32(1), np.float32(6), np.float32(12)


@compiled
def pool(features: Maps, gate: Maps, shape: Shape, pooled: Array, start: int, stop: int) -> None:
    """Fill ``pooled [K, P P C]`` for the regions from ``start`` to ``stop``."""
    room = _room(shape)
    area = shape.rows * shape.columns
    for region in range(start, stop):
        values = _by_cell(features.values[region], features.by_cell, area, room.cells, room.spare)
        _weigh(gate.values[region], room.weights if gate.by_cell else room.spare)
        if not gate.by_cell:
            _transpose(room.spare, room.weights, shape.channels, area)
        _sum_windows(values, shape, room)
        _divide(room.sums[1].ravel(), room.sums[0].ravel(), pooled[region])


@compiled
def unpool(
    gradient: Maps, features: Maps, gate: Maps, shape: Shape, changes: tuple[Array, Array], start: int, stop: int
) -> None:
    """Fill ``changes``, the gradients of features and gate, for the regions from ``start`` to ``stop``.

    Let a window's weights sum to d, its pooled value be o and the gradient of that be g. The gradient of a
    feature f is then its weight times the sum of g / d over the windows it lies in; that of the weight is the sum
    of g (f - o) / d.
    """
    room = _room(shape)
    area, pooled = shape.rows * shape.columns, room.sums[0].size // shape.channels
    for region in range(start, stop):
        values = _by_cell(features.values[region], features.by_cell, area, room.cells, room.spare)
        features_change, slopes = changes[0][region], changes[1][region]
        _weigh_and_differ(gate.values[region], room.weights if gate.by_cell else room.spare, slopes)
        if not gate.by_cell:
            _transpose(room.spare, room.weights, shape.channels, area)
        _sum_windows(values, shape, room)
        pulls = _by_cell(gradient.values[region], gradient.by_cell, pooled, room.pulls, room.spare)
        _pull(pulls, room.sums[0].ravel(), room.sums[1].ravel())
        _spread(values, shape, room, features_change if features.by_cell else room.spare)
        if not features.by_cell:
            _transpose(room.spare, features_change, area, shape.channels)
        if not gate.by_cell:
            _transpose(room.change, room.spare, area, shape.channels)
        _scale(slopes, room.change if gate.by_cell else room.spare)


@compiled
def _room(shape: Shape) -> Room:
    size = shape.rows * shape.columns * shape.channels
    height, width = (shape.rows + 1) // 2, (shape.columns + 1) // 2 * shape.channels
    maps, pulls = np.empty((4, size), np.float32), np.empty(height * width, np.float32)
    sums, rows = np.empty((2, height, width), np.float32), np.empty((3, 2, width), np.float32)
    nothing = np.zeros(shape.channels, np.float32)
    return Room(maps[0], maps[1], maps[2], maps[3], pulls, sums, rows, nothing)


@compiled
def _by_cell(values: Array, is_so: bool, cells: int, turned: Array, spare: Array) -> Array:
    if is_so:
        return values
    _copy(values, spare)  # memory is fast in its own order
    _transpose(spare, turned, len(values) // cells, cells)
    return turned


@compiled
def _transpose(values: Array, turned: Array, rows: int, columns: int) -> None:
    """Write ``values [rows, columns]`` as ``turned [columns, rows]``, each the start of a flat array."""
    here, there = values[: rows * columns].reshape(rows, columns), turned[: rows * columns].reshape(columns, rows)
    for low in range(0, columns, TILE):
        for left in range(0, rows, TILE):
            for column in range(low, min(low + TILE, columns)):
                for row in range(left, min(left + TILE, rows)):
                    there[np.uintp(column), np.uintp(row)] = here[np.uintp(row), np.uintp(column)]


@compiled
def _sum_windows(values: Array, shape: Shape, room: Room) -> None:
    """Fill ``room.sums``. Window u has rows 2 u - 1 to 2 u + 1, as far as they are in the map, and columns likewise."""
    width = shape.columns * shape.channels
    room.rows[:] = 0
    for window in range(room.sums.shape[1]):
        for row in range(2 * window, 2 * window + 2):
            part = room.rows[row % 3]  # leaves the row above, which was in the last window too
            if row < shape.rows:
                start = row * width
                _sum_columns(room.weights[start:][:width], values[start:][:width], room.nothing, part)
            else:
                part[:] = 0
        for kind in range(2):
            _add(room.rows[0, kind], room.rows[1, kind], room.rows[2, kind], room.sums[kind, window])


@compiled
def _sum_columns(weights: Array, values: Array, nothing: Array, sums: Array) -> None:
    channels = len(nothing)
    for start in range(0, sums.shape[1], channels):
        cell = 2 * start
        w0, v0 = weights[cell:][:channels], values[cell:][:channels]
        w1, v1, w2, v2 = nothing, nothing, nothing, nothing
        if cell:
            w1, v1 = weights[cell - channels :][:channels], values[cell - channels :][:channels]
        if cell + channels < len(weights):
            w2, v2 = weights[cell + channels :][:channels], values[cell + channels :][:channels]
        _add(w0, w1, w2, sums[0, start:][:channels])
        _add_products(w0, v0, w1, v1, w2, v2, sums[1, start:][:channels])


@compiled
def _spread(values: Array, shape: Shape, room: Room, change: Array) -> None:
    """Fill the gradients of the features, ``change``, and of the weights, ``room.change``, by cell.

    A cell lies in its own window and, if it is odd, in the next one.
    """
    channels, width = shape.channels, shape.columns * shape.channels
    pull, pulled = room.rows[0, 0], room.rows[0, 1]
    for row in range(shape.rows):
        _copy(room.sums[0, row // 2], pull)
        _copy(room.sums[1, row // 2], pulled)
        if row % 2 and row + 1 < shape.rows:
            _increase(pull, room.sums[0, row // 2 + 1])
            _increase(pulled, room.sums[1, row // 2 + 1])
        for column in range(shape.columns):
            cell, window = row * width + column * channels, column // 2 * channels
            p0, q0 = pull[window:][:channels], pulled[window:][:channels]
            p1, q1 = room.nothing, room.nothing
            if column % 2 and column + 1 < shape.columns:
                p1, q1 = pull[window + channels :][:channels], pulled[window + channels :][:channels]
            _change_features(room.weights[cell:][:channels], p0, p1, change[cell:][:channels])
            _change_weights(values[cell:][:channels], p0, p1, q0, q1, room.change[cell:][:channels])


@compiled(relaxed=True)
def _exp2(x: Any) -> Any:
    whole = np.int32(np.int32(x + UP) - DOWN)
    part = x - np.float32(whole)
    series = C0 + part * (C1 + part * (C2 + part * (C3 + part * (C4 + part * (C5 + part * C6)))))
    return series * np.int32(np.int32(whole + BIAS) << MANTISSA).view(np.float32)


@compiled(relaxed=True)
def _odds(gate: Any) -> Any:
    """Return e^-gate: what the sigmoid leaves over what it is. A gate that is not a number stays so."""
    x = -LOG2_E * gate
    x = LIMIT if x > LIMIT else x
    x = -LIMIT if x < -LIMIT else x
    return _exp2(x)


@compiled(relaxed=True)
def _weigh(gate: Array, weights: Array) -> None:
    """Fill ``weights``; relative error at most 1.5e-6, which is that of the reference in float32."""
    for index in range(len(gate)):
        odds = _odds(gate[index])
        weights[index] = _exp2(LOG2_E * np.divide(SIX - SIX * odds, ONE + odds))


@compiled(relaxed=True)
def _weigh_and_differ(gate: Array, weights: Array, slopes: Array) -> None:
    """Fill ``weights`` and their derivatives."""
    for index in range(len(gate)):
        odds = _odds(gate[index])
        share = np.divide(ONE, ONE + odds)
        weight = _exp2(LOG2_E * np.divide(SIX - SIX * odds, ONE + odds))
        weights[index] = weight
        slopes[index] = weight * (TWELVE * odds * share) * share


@compiled(relaxed=True)
def _pull(gradient: Array, totals: Array, weighted: Array) -> None:
    """Turn a window's sums into g / d and g o / d."""
    for index in range(len(gradient)):
        pull = np.divide(gradient[index], totals[index])
        weighted[index] = np.divide(weighted[index], totals[index]) * pull
        totals[index] = pull


@compiled
def _copy(values: Array, result: Array) -> None:
    for index in range(len(values)):
        result[index] = values[index]


@compiled
def _increase(result: Array, values: Array) -> None:
    for index in range(len(result)):
        result[index] += values[index]


@compiled
def _scale(result: Array, values: Array) -> None:
    for index in range(len(result)):
        result[index] *= values[index]


@compiled
def _divide(values: Array, by: Array, result: Array) -> None:
    for index in range(len(result)):
        result[index] = np.divide(values[index], by[index])


@compiled
def _add(a: Array, b: Array, c: Array, result: Array) -> None:
    for index in range(len(result)):
        result[index] = a[index] + b[index] + c[index]


@compiled(relaxed=True)
def _add_products(a: Array, x: Array, b: Array, y: Array, c: Array, z: Array, result: Array) -> None:
    for index in range(len(result)):
        result[index] = a[index] * x[index] + b[index] * y[index] + c[index] * z[index]


@compiled
def _change_features(weights: Array, a: Array, b: Array, result: Array) -> None:
    for index in range(len(result)):
        result[index] = weights[index] * (a[index] + b[index])


@compiled(relaxed=True)
def _change_weights(values: Array, a: Array, b: Array, x: Array, y: Array, result: Array) -> None:
    for index in range(len(result)):
        result[index] = values[index] * (a[index] + b[index]) - (x[index] + y[index])
