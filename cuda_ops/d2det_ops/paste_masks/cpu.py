"""Pasting compiled for the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2det_ops.compiled import compiled
from d2det_ops.threads import in_threads

Array = NDArray[Any]


def fill(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float) -> Tensor:
    """Do what ``reference.fill`` does, to the last bit; each thread takes masks of as many pixels."""
    cells, spans = masks.contiguous().numpy(), frames.contiguous().numpy()
    areas, begins = windows.contiguous().numpy(), starts.contiguous().numpy()
    pixels = torch.empty(int(starts[-1]), dtype=torch.bool)
    target, level = pixels.numpy(), np.float32(limit)

    def work(start: int, stop: int) -> None:
        first, last = np.searchsorted(begins[:-1], (start, stop)).tolist()
        fill_masks(cells, spans, areas, begins, level, target, first, last)

    in_threads(len(pixels), work)
    return pixels


@compiled
def fill_masks(
    masks: Array,
    frames: Array,
    windows: Array,
    starts: Array,
    limit: np.float32,
    pixels: Array,
    first: int,
    last: int,
) -> None:
    """Fill the part of ``pixels`` that belongs to the masks from ``first`` to ``last``."""
    side = masks.shape[1]
    line = np.empty(side, np.float32)
    for index in range(first, last):
        if starts[index] == starts[index + 1]:
            continue  # its frame may have no size to divide by
        x1, y1, x2, y2 = windows[index]
        columns, share_x = _taps(x1, x2, frames[index, 0], frames[index, 2], side)
        rows, share_y = _taps(y1, y2, frames[index, 1], frames[index, 3], side)
        position = starts[index]
        for row in range(y2 - y1):
            upper, lower = masks[index, rows[row]], masks[index, min(rows[row] + 1, side - 1)]
            for cell in range(side):
                line[cell] = upper[cell] + (lower[cell] - upper[cell]) * share_y[row]
            for column in range(x2 - x1):
                left = line[columns[column]]
                right = line[min(columns[column] + 1, side - 1)]
                pixels[position + column] = left + (right - left) * share_x[column] > limit
            position += x2 - x1


@compiled
def _taps(start: int, stop: int, low: np.float32, high: np.float32, side: int) -> tuple[Array, Array]:
    """The first of the two cells each pixel lies between, and the share of the second."""
    count = stop - start
    cells, shares = np.empty(count, np.int64), np.empty(count, np.float32)
    half, scale = np.float32(0.5), np.float32(side) / (high - low)
    for index in range(count):
        place = (np.float32(start + index) + half - low) * scale - half
        place = min(max(place, np.float32(0)), np.float32(side - 1))
        cells[index] = np.int64(place)
        shares[index] = place - np.float32(cells[index])
    return cells, shares
