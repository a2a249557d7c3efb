"""Pasting in Triton: one program a block of pixels of one mask."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # pixels


def fill(masks: Tensor, frames: Tensor, windows: Tensor, starts: Tensor, limit: float, block: int = BLOCK) -> Tensor:
    """Do what ``reference.fill`` does, to the last bit. Waits for the device once, to size the result."""
    blocks = (starts.diff() + block - 1) // block
    total, programs = torch.stack([starts[-1], blocks.sum()]).tolist()
    pixels = torch.empty(total, dtype=torch.bool, device=masks.device)
    if programs:
        owners = torch.repeat_interleave(blocks, output_size=programs)
        firsts = blocks.cumsum(0) - blocks
        parts = (part.contiguous() for part in (masks, frames, windows, starts, owners, firsts))
        # a product and a sum in one instruction would round otherwise than the reference
        _fill[(programs,)](
            *parts, pixels.view(torch.uint8), limit, SIDE=masks.shape[1], BLOCK=block, enable_fp_fusion=False
        )
    return pixels


@triton.jit
def _fill(masks, frames, windows, starts, owners, firsts, pixels, limit, SIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Fill a block of ``pixels [T]`` uint8.

    masks [D, SIDE, SIDE] and frames [D, 4] float32; windows [D, 4], starts [D + 1], owners [programs]: the mask of a
    program, firsts [D]: the first program of a mask, all int64.
    """
    program = tl.program_id(0)
    owner = tl.load(owners + program)
    frame, window = frames + owner * 4, windows + owner * 4
    x1, y1 = tl.load(window), tl.load(window + 1)
    width = (tl.load(window + 2) - x1).to(tl.int32)
    area = width * (tl.load(window + 3) - y1).to(tl.int32)
    place = (program - tl.load(firsts + owner)).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    inside = place < area
    column, share_x = _taps(x1 + place % width, tl.load(frame), tl.load(frame + 2), SIDE)
    row, share_y = _taps(y1 + place // width, tl.load(frame + 1), tl.load(frame + 3), SIDE)
    mask = masks + owner * SIDE * SIDE
    left = _blend(mask, row, column, share_y, inside, SIDE)
    right = _blend(mask, row, tl.minimum(column + 1, SIDE - 1), share_y, inside, SIDE)
    value = left + (right - left) * share_x
    tl.store(pixels + tl.load(starts + owner) + place, (value > limit).to(tl.uint8), inside)


@triton.jit
def _taps(pixel, low, high, SIDE: tl.constexpr):
    """The first of the two cells a pixel lies between, and the share of the second."""
    scale = tl.div_rn(SIDE * 1.0, high - low)
    place = (pixel.to(tl.float32) + 0.5 - low) * scale - 0.5
    place = tl.minimum(tl.maximum(place, 0.0), SIDE - 1.0)
    cell = place.to(tl.int32)
    return cell, place - cell.to(tl.float32)


@triton.jit
def _blend(mask, row, column, share, inside, SIDE: tl.constexpr):
    """Read a column of cells between two rows."""
    upper = tl.load(mask + row * SIDE + column, inside, 0.0)
    lower = tl.load(mask + tl.minimum(row + 1, SIDE - 1) * SIDE + column, inside, 0.0)
    return upper + (lower - upper) * share
