"""What pasting gives, and where in the image it lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PastedMasks(NamedTuple):
    """D masks in the pixels of one image, as a structure of arrays; T pixels in all."""

    pixels: Tensor
    """``[T]`` bool: the windows one after the other, each row by row"""
    starts: Tensor
    """``[D + 1]`` int64: where each window begins in ``pixels``, and T"""
    windows: Tensor
    """``[D, 4]`` int64 as (x1, y1, x2, y2), px, x2 and y2 excluded; without area where a mask has no pixel"""

    def crop(self, index: int) -> Tensor:
        """View mask ``index`` in its window: ``[y2 - y1, x2 - x1]`` bool."""
        x1, y1, x2, y2 = self.windows[index].tolist()
        return self.pixels[int(self.starts[index]) : int(self.starts[index + 1])].view(y2 - y1, x2 - x1)


def windows_of(frames: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find the pixels of an image ``(h, w)`` whose centres lie inside frames ``[D, 4]`` float32.

    Returns:
        ``windows`` and ``starts`` of ``PastedMasks``; a frame that is not finite has no pixels.
    """
    height, width = image_size
    finite = frames.isfinite().all(1, keepdim=True)
    exact = torch.where(finite, frames, 0).double()  # half a pixel is added without rounding
    most = exact.new_tensor([width, height])
    low = (exact[:, :2] + 0.5).floor().clamp(min=0).minimum(most)
    high = (exact[:, 2:] - 0.5).ceil().clamp(min=0).minimum(most).maximum(low)
    windows = torch.cat([low, high], 1).long()
    areas = (windows[:, 2:] - windows[:, :2]).prod(1)
    return windows, torch.cat([areas.new_zeros(1), areas.cumsum(0)])
