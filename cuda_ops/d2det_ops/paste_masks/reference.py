"""Pasting in plain torch, one mask after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def fill(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float) -> Tensor:
    """Tell which pixels of the windows lie above ``limit`` in their masks.

    A pixel's centre is mapped to the cells of its mask; between centres of cells the mask is bilinear, from there to
    the edge constant.

    Args:
        masks: ``[D, M, M]`` float32.
        frames: ``[D, 4]`` float32, xyxy px: what the cells of a mask span.
        windows: ``[D, 4]`` int64.
        starts: ``[D + 1]`` int64.
        limit: a float32.

    Returns:
        ``pixels`` of ``PastedMasks``.
    """
    parts = [torch.empty(0, dtype=torch.bool, device=masks.device)]
    for mask, frame, window in zip(masks, frames, windows.tolist(), strict=True):
        columns, next_columns, share_x = _taps(window[0], window[2], frame[0], frame[2], len(mask))
        rows, next_rows, share_y = _taps(window[1], window[3], frame[1], frame[3], len(mask))
        lines = mask[rows] + (mask[next_rows] - mask[rows]) * share_y[:, None]
        values = lines[:, columns] + (lines[:, next_columns] - lines[:, columns]) * share_x
        parts.append((values > limit).flatten())
    return torch.cat(parts)


def _taps(start: int, stop: int, low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the two cells pixels ``start`` to ``stop`` lie between, and the share of the second."""
    centres = torch.arange(start, stop, dtype=low.dtype, device=low.device) + 0.5
    place = ((centres - low) * (low.new_tensor(side) / (high - low)) - 0.5).clamp(0, side - 1)
    first = place.floor()
    return first.long(), (first.long() + 1).clamp(max=side - 1), place - first
