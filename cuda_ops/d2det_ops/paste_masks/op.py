"""Pasting for torch: arguments, schema and one kernel per device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from d2det_ops.gpu import usable
from d2det_ops.paste_masks import cpu, reference
from d2det_ops.paste_masks.crops import PastedMasks, windows_of

MOST = 2**31  # pixels of an image


def paste_masks(
    masks: Tensor,
    frames: Tensor,
    image_size: tuple[int, int],
    *,
    threshold: float = 0.5,
    strict: bool = False,
) -> PastedMasks:
    """Draw masks over frames into the pixels of an image, and keep of each mask only the pixels it can touch.

    A pixel belongs to a mask if its centre lies inside the frame and the mask there reaches ``threshold``; masks are
    bilinear between the centres of their cells and constant from there to the frame. Computed in float32, alike on
    every device. Has no gradient.

    Args:
        masks: ``[D, M, M]`` probabilities.
        frames: ``[D, 4]`` xyxy px, edges of pixels at integers: what the cells of a mask span. They may leave the
            image; one that is empty or not finite has no pixels.
        image_size: ``(h, w)``.
        threshold: of probability.
        strict: leave out what only equals the threshold.
    """
    _check(masks, frames, image_size)
    corners = frames.detach().float()
    windows, starts = windows_of(corners, image_size)
    limit = np.float32(threshold) if strict else np.nextafter(np.float32(threshold), np.float32(-np.inf))
    pixels = _fill(masks.detach().float(), corners, windows, starts, float(limit))
    return PastedMasks(pixels, starts, windows)


def _check(masks: Tensor, frames: Tensor, image_size: tuple[int, int]) -> None:
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or masks.shape[1] == 0:
        raise ValueError(f"masks must be [D, M, M], got {list(masks.shape)}")
    if frames.shape != (masks.shape[0], 4):
        raise ValueError(f"frames must be [D, 4], got {list(frames.shape)} for {masks.shape[0]} masks")
    if not masks.is_floating_point() or not frames.is_floating_point():
        raise ValueError(f"masks and frames must be floating point, got {masks.dtype} and {frames.dtype}")
    if masks.device != frames.device:
        raise ValueError(f"masks on {masks.device}, frames on {frames.device}")
    height, width = image_size
    if height < 0 or width < 0 or height * width >= MOST:
        raise ValueError(f"an image of {width}x{height} px is none, or too large")


@torch.library.custom_op("d2det::fill_masks", mutates_args=(), device_types="cpu")
def _fill(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float) -> Tensor:
    return cpu.fill(masks, frames, windows, starts, limit)


@_fill.register_kernel("cuda")
def _(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float) -> Tensor:
    if not usable(masks.device):
        return reference.fill(masks, frames, windows, starts, limit)
    from d2det_ops.paste_masks import kernel

    return kernel.fill(masks, frames, windows, starts, limit)


@_fill.register_fake
def _(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float) -> Tensor:
    return masks.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.bool)
