"""Inputs as a detector has them, the same on every run."""

from __future__ import annotations

import torch
from torch import Tensor

STRIDES = (4, 8, 16, 32)  # px per cell of P2 to P5
SMALLEST, LARGEST = 16.0, 512.0  # px; RoIs of these sides fall on all four levels
OBJECT_SIDES = (8.0, 64.0)  # px
CANDIDATES = 10  # boxes an object is found by
DENSITY = 20_000 / 800**2  # candidate boxes per px² of a dense chip


def generator(seed: int) -> torch.Generator:
    """Random numbers drawn on the CPU, so that every device computes on the same."""
    return torch.Generator().manual_seed(seed)


def pyramid(images: int, channels: int, side: int, layout: torch.memory_format, dtype: torch.dtype) -> list[Tensor]:
    """P2 to P5 ``[N, C, H, W]`` of chips of ``side`` px."""
    source = generator(0)
    return [
        torch.randn(images, channels, side // stride, side // stride, generator=source)
        .to(dtype)
        .contiguous(memory_format=layout)
        for stride in STRIDES
    ]


def rois(count: int, images: int, side: int) -> Tensor:
    """``[K, 5]`` RoIs inside chips of ``side`` px, their sizes log-uniform, up to twice as long as wide."""
    source = generator(1)
    spread = torch.rand(count, 4, generator=source)
    size = SMALLEST * (min(LARGEST, side / 1.5) / SMALLEST) ** spread[:, 0]
    stretch = 2 ** (spread[:, 1] - 0.5)
    sides = torch.stack([size * stretch, size / stretch], 1)
    low = spread[:, 2:] * (side - sides)
    image = torch.arange(count) % images
    return torch.cat([image[:, None].to(low.dtype), low, low + sides], 1)


def offsets(count: int, bins: int) -> Tensor:
    """``[K, 2, P, P]`` shifts, a tenth of the RoI's size as often as not: what the network's gamma allows."""
    return torch.randn(count, 2, bins, bins, generator=generator(2)) * 0.1


def candidates(count: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes ``[D, 4]``, scores and labels ``[D]`` of a dense chip: ten jittered boxes an object."""
    source = generator(3)
    side = (count / DENSITY) ** 0.5
    objects = max(count // CANDIDATES, 1)
    least, most = OBJECT_SIDES
    centre = torch.rand(objects, 2, generator=source) * side
    size = least * (most / least) ** torch.rand(objects, 2, generator=source)
    label = torch.randint(classes, (objects,), generator=source)
    owner = torch.randint(objects, (count,), generator=source)
    moved = centre[owner] + 0.15 * size[owner] * torch.randn(count, 2, generator=source)
    half = size[owner] * (0.15 * torch.randn(count, 2, generator=source)).exp() / 2
    scores = torch.rand(count, generator=source)
    return torch.cat([moved - half, moved + half], 1), scores, label[owner]


def masks(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Mask probabilities ``[D, 28, 28]`` and boxes ``[D, 4]`` of 12 to 200 px in a chip of ``side`` px."""
    source = generator(4)
    size = 12 * (200 / 12) ** torch.rand(count, 2, generator=source)
    size = size.clamp(max=side / 2)
    low = torch.rand(count, 2, generator=source) * (side - size)
    return torch.rand(count, 28, 28, generator=source), torch.cat([low, low + size], 1)
