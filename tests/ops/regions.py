"""Pyramids and RoIs that the RoI operators are tested on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STRIDES = (4, 8, 16, 32)
SIZES = ((23, 29), (12, 15), (6, 8), (3, 4))  # rows and columns of the levels
IMAGES, CHANNELS = 2, 37

# image, x1, y1, x2, y2
ROIS = torch.tensor(
    [
        [0, 3.0, 5.0, 31.0, 40.0],
        [1, -9.5, -7.0, 20.0, 18.0],  # crosses a corner of the image
        [0, 100.0, 80.0, 130.0, 120.0],  # and another
        [1, 200.0, 200.0, 240.0, 260.0],  # outside
        [0, 10.0, 10.0, 10.5, 30.0],  # thin
        [1, 0.0, 0.0, 116.0, 92.0],  # the image
        [0, -20.0, -25.0, 130.0, 120.0],  # on the second level
        [1, -90.0, -70.0, 200.0, 180.0],  # third
        [0, -250.0, -260.0, 280.0, 270.0],  # fourth
        [1, 6.0, 10.0, 22.0, 26.0],  # samples on the centres of cells
        [0, 2.5, 3.5, 18.5, 21.5],  # as far from one whole pixel as from the next
        [1, 8.0, 8.0, 8.0, 8.0],  # of no size
        [0, 40.0, 60.0, 20.0, 22.0],  # inside out
        [1, math.nan, 0.0, 10.0, 10.0],
        [0, 0.0, 0.0, 8.0, math.inf],
        [1, -math.inf, 2.0, 9.0, 9.0],
    ]
)
STRANGE = 3  # of the last RoIs: no numbers


def pyramid(
    seed: int = 0, *, images: int = IMAGES, channels: int = CHANNELS, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Make levels ``[N, C, H, W]`` of noise that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(images, channels, *size, generator=generator).to(dtype) for size in SIZES]
    return [level.requires_grad_() for level in levels]


def offsets(bins: int, seed: int = 0, *, count: int = len(ROIS), dtype: torch.dtype = torch.float32) -> Tensor:
    """Make offsets ``[K, 2, P, P]`` of noise that want gradients."""
    noise = torch.randn(count, 2, bins, bins, generator=torch.Generator().manual_seed(seed))
    return (noise * 0.07).to(dtype).requires_grad_()


def scattered_rois(seed: int, count: int) -> Tensor:
    """Make RoIs ``[K, 5]`` of all levels, inside, across and beyond the border."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 6.5)
    middle = torch.rand(count, 2, generator=generator) * 160 - 20
    images = torch.randint(0, IMAGES, (count, 1), generator=generator).float()
    return torch.cat([images, middle - sides / 2, middle + sides / 2], 1)


def gradients(result: Tensor, inputs: list[Tensor], seed: int = 0) -> list[Tensor]:
    """Gradients of ``inputs`` for a random one of ``result``, in rows and columns order as torch makes most."""
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(seed)).to(result.dtype)
    return list(torch.autograd.grad(result, inputs, upstream))


def close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Compare up to ``tolerance`` of the largest number expected, and at least of 1."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        size = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(one, other, atol=tolerance * size, rtol=0)
