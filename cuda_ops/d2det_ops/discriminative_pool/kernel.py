"""The Triton kernels of discriminative pooling: one program for a region and a block of its channels.

Maps lie channels last, so that neighbouring threads read neighbouring channels. Nothing is added up in memory:
the gradients are the same in every run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from d2det_ops.discriminative_pool.layout import change_like, pooled_like

CHANNELS = 32  # of a program: with more, the gradients would not fit in registers beside other programs


def forward(features: Tensor, gate: Tensor) -> Tensor:
    """Do what ``d2det_ops.discriminative_pool`` does, in float32."""
    pooled = pooled_like(features)
    _launch(_pool, _by_cell(features), _by_cell(gate), pooled)
    return pooled


def backward(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``features`` and ``gate``, given that of the pooled features."""
    inputs = _by_cell(features), _by_cell(gate)
    changes = torch.empty_like(inputs[0]), torch.empty_like(inputs[1])
    _launch(_unpool, *inputs, _by_cell(grad), *changes)
    return _laid_as(features, changes[0]), _laid_as(gate, changes[1])


def _by_cell(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _laid_as(values: Tensor, change: Tensor) -> Tensor:
    result = change_like(values)
    return change if result.stride() == change.stride() else result.copy_(change)


def _launch(kernel: triton.JITFunction, features: Tensor, *others: Tensor) -> None:
    regions, channels, rows, columns = features.shape
    block = min(triton.next_power_of_2(channels), CHANNELS)
    if regions:
        kernel[(regions, triton.cdiv(channels, block))](
            features, *others, rows, columns, channels, WINDOWS=triton.next_power_of_2((columns + 1) // 2), BLOCK=block
        )


@triton.jit
def _pool(features, gate, pooled, rows, columns, channels, WINDOWS: tl.constexpr, BLOCK: tl.constexpr):
    """Fill pooled [K, P, P, C] from features and gate [K, rows, columns, C]; WINDOWS is at least P."""
    region = tl.program_id(0).to(tl.int64)
    height, width = (rows + 1) // 2, (columns + 1) // 2
    features += region * rows * columns * channels
    gate += region * rows * columns * channels
    pooled += region * height * width * channels
    window = tl.arange(0, WINDOWS)[:, None]
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    above = tl.zeros((WINDOWS, BLOCK), tl.float32)
    above_weighted = above
    for row in range(height):
        total, weighted, above, above_weighted = _sum_windows(
            features, gate, above, above_weighted, row, window, channel, rows, columns, channels
        )
        place = (row * width + window) * channels + channel
        tl.store(pooled + place, weighted / total, (window < width) & (channel < channels))


@triton.jit
def _unpool(
    features, gate, grad, change, gate_change, rows, columns, channels, WINDOWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Fill the gradients change and gate_change [K, rows, columns, C] from grad [K, P, P, C].

    Let a window's weights sum to d, its pooled value be o and the gradient of that be g. The gradient of a feature f
    is its weight times the sum of g / d over the windows it lies in; that of the weight is the sum of g (f - o) / d.
    An odd column lies in the next window too, which is therefore summed up twice: cheaper than memory for sums.
    """
    region = tl.program_id(0).to(tl.int64)
    height, width = (rows + 1) // 2, (columns + 1) // 2
    start = region * rows * columns * channels
    features, gate, change, gate_change = features + start, gate + start, change + start, gate_change + start
    grad += region * height * width * channels
    window = tl.arange(0, WINDOWS)[:, None]
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    zero = tl.zeros((WINDOWS, BLOCK), tl.float32)
    above, above_weighted, next_above, next_weighted = zero, zero, zero, zero
    last_even, last_even_pulled, last_odd, last_odd_pulled = zero, zero, zero, zero
    for row in range(height + 1):
        even, even_pulled, above, above_weighted = _pull(
            features, gate, grad, above, above_weighted, row, window, channel, rows, columns, channels
        )
        odd, odd_pulled, next_above, next_weighted = _pull(
            features, gate, grad, next_above, next_weighted, row, window + 1, channel, rows, columns, channels
        )
        odd, odd_pulled = odd + even, odd_pulled + even_pulled
        for side in tl.static_range(2):
            pull, pulled = (odd, odd_pulled) if side else (even, even_pulled)
            last, last_pulled = (last_odd, last_odd_pulled) if side else (last_even, last_even_pulled)
            column = 2 * window + side
            there = (column < columns) & (channel < channels)
            cell = 2 * row * columns + column
            own = there & (cell < rows * columns)
            _write(features, gate, change, gate_change, cell * channels + channel, pull, pulled, own)
            cell -= columns
            shared = there & (cell >= 0) & (cell < rows * columns)
            pull, pulled = pull + last, pulled + last_pulled
            _write(features, gate, change, gate_change, cell * channels + channel, pull, pulled, shared)
        last_even, last_even_pulled, last_odd, last_odd_pulled = even, even_pulled, odd, odd_pulled


@triton.jit
def _pull(features, gate, grad, above, above_weighted, row, window, channel, rows, columns, channels):
    """Return g / d and g o / d of a row of windows, 0 beside the map, and the sums over the row of cells below."""
    total, weighted, below, below_weighted = _sum_windows(
        features, gate, above, above_weighted, row, window, channel, rows, columns, channels
    )
    height, width = (rows + 1) // 2, (columns + 1) // 2
    place = row * width + window
    there = (window < width) & (channel < channels) & (place < height * width)
    pull = tl.load(grad + place * channels + channel, there, 0.0).to(tl.float32) / total
    pull = tl.where(there, pull, 0.0)
    return pull, tl.where(there, pull * (weighted / total), 0.0), below, below_weighted


@triton.jit
def _sum_windows(features, gate, above, above_weighted, row, window, channel, rows, columns, channels):
    """Sum weights and weighted features over a row of windows, and over the cells it shares with the row below."""
    total, weighted = _sum_cells(features, gate, 2 * row, window, channel, rows, columns, channels)
    below, below_weighted = _sum_cells(features, gate, 2 * row + 1, window, channel, rows, columns, channels)
    return above + total + below, above_weighted + weighted + below_weighted, below, below_weighted


@triton.jit
def _sum_cells(features, gate, row, window, channel, rows, columns, channels):
    """Sum weights and weighted features over a row of cells under each window."""
    total, weighted = tl.zeros_like(window + channel).to(tl.float32), tl.zeros_like(window + channel).to(tl.float32)
    for step in tl.static_range(3):
        column = 2 * window - 1 + step
        cell = row * columns + column
        there = (column >= 0) & (column < columns) & (cell < rows * columns) & (channel < channels)
        place = cell * channels + channel
        weight, _ = _weigh(tl.load(gate + place, there, 0.0))
        weight = tl.where(there, weight, 0.0)
        total += weight
        weighted += weight * tl.load(features + place, there, 0.0).to(tl.float32)
    return total, weighted


@triton.jit
def _write(features, gate, change, gate_change, place, pull, pulled, there):
    """Write the gradients of cells whose windows' g / d sum to pull and g o / d to pulled."""
    weight, slope = _weigh(tl.load(gate + place, there, 0.0))
    tl.store(change + place, weight * pull, there)
    feature = tl.load(features + place, there, 0.0).to(tl.float32)
    tl.store(gate_change + place, slope * (feature * pull - pulled), there)


@triton.jit
def _weigh(gate):
    """Return the weight and its derivative."""
    share = tl.sigmoid(gate.to(tl.float32))
    weight = tl.exp(12 * share - 6)
    return weight, weight * 12 * share * (1 - share)
