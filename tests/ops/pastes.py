"""Masks and frames to paste."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from d2det_ops.paste_masks import PastedMasks, reference
from d2det_ops.paste_masks.crops import windows_of

IMAGE_SIZE = (37, 53)


def drawn(count: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give smooth masks, and frames inside, across and outside of an image of 37 x 53 px."""
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, side, side, generator=random)
    middle = torch.rand(count, 2, generator=random) * torch.tensor([70.0, 50.0]) - 9
    half = torch.rand(count, 2, generator=random) ** 2 * 20
    return masks, torch.cat([middle - half, middle + half], 1)


def odd_frames() -> Tensor:
    """Give frames that are empty, inverted, as large as numbers get, on the centres of pixels, and no numbers."""
    nan, inf = float("nan"), float("inf")
    return torch.tensor(
        [
            [5.0, 5, 5, 9],
            [9.0, 9, 4, 4],
            [-1e30, -1e30, 1e30, 1e30],
            [-3e38, 2, 3e38, 9],
            [2.5, 3.5, 7.5, 9.5],
            [2.4999998, 3.4999998, 2.5000002, 3.5000002],
            [60.0, 3, 80, 9],
            [-20.0, -20, -1, -1],
            [nan, 1, 5, 5],
            [1.0, 1, inf, 5],
            [0.0, 0, 53, 37],
        ]
    )


def expected(masks: Tensor, frames: Tensor, limit: float = 0.5) -> PastedMasks:
    """Paste with the reference, leaving out what is only ``limit``."""
    windows, starts = windows_of(frames, IMAGE_SIZE)
    return PastedMasks(reference.fill(masks, frames, windows, starts, limit), starts, windows)


@st.composite
def lattice_masks(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Masks of few values over frames whose corners lie on quarters of a pixel: full of ties."""
    count, side = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    corners = st.integers(-40, 240).map(lambda quarter: quarter / 4)
    frames = draw(st.lists(st.tuples(*[corners] * 4), min_size=count, max_size=count))
    values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=count * side**2, max_size=count * side**2))
    return torch.tensor(values).view(count, side, side), torch.tensor(frames).view(count, 4)
