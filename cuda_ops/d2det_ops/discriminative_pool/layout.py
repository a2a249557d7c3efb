"""How the maps of pooled regions lie in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class Maps(NamedTuple):
    """Maps of K regions, for compiled loops."""

    values: Array
    """``[K, H W C]`` or ``[K, C H W]`` float32"""
    by_cell: bool
    """the former: the channels of a cell lie side by side"""


class Shape(NamedTuple):
    """Size of a region's maps before pooling."""

    rows: int
    columns: int
    channels: int


class Room(NamedTuple):
    """Memory for one region, float32."""

    cells: Array
    """``[H W C]`` features, if they do not lie so"""
    weights: Array
    """``[H W C]``"""
    change: Array
    """``[H W C]`` gradient of the weights"""
    spare: Array
    """``[H W C]`` or ``[C H W]``"""
    pulls: Array
    """``[P P C]`` gradient of the pooled features, if it does not lie so"""
    sums: Array
    """``[2, P, P C]`` sums over windows: of weights, of weighted features"""
    rows: Array
    """``[3, 2, P C]`` parts of them"""
    nothing: Array
    """``[C]`` zeros: a cell or window beside the map"""


def pooled_like(features: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return memory for what is pooled from ``[K, C, H, W]``, channels last."""
    regions, channels, rows, columns = features.shape
    return features.new_empty((regions, (rows + 1) // 2, (columns + 1) // 2, channels), dtype=dtype).permute(0, 3, 1, 2)


def change_like(values: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return memory for the gradient of ``values [K, C, H, W]``: in its order, else channels last."""
    order = torch.contiguous_format if values.is_contiguous() else torch.channels_last
    return torch.empty_like(values, dtype=dtype, memory_format=order)


def maps_of(values: Tensor) -> Maps:
    """Return ``[K, C, H, W]`` in its order, or copied channels last if it is neither; in float32."""
    values = values.detach().float()
    if values.is_contiguous():
        return Maps(values.flatten(1).numpy(), False)
    values = values.contiguous(memory_format=torch.channels_last)
    return Maps(values.permute(0, 2, 3, 1).flatten(1).numpy(), True)
