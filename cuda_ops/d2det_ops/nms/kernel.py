"""Non-maximum suppression in Triton: the bits of all pairs of a class, then one sweep a class."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from d2det_ops.candidates import by_score, class_numbers, solid

WORD = tl.constexpr(64)  # bits of a mask word, so boxes of a block
PART = tl.constexpr(16)  # columns of a word that fit into registers
CHUNK = 1024  # earlier boxes that are read together


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, chunk: int = CHUNK) -> Tensor:
    """Do what ``d2det_ops.nms`` does; ``chunk`` is a power of two. Waits for the device once, to size the result."""
    ranked, classes = by_score(scores.double()), class_numbers(labels)
    order = ranked[classes[ranked].argsort(stable=True)]
    kept = torch.empty(len(boxes), dtype=torch.bool, device=boxes.device)
    kept[order] = sweep(solid(boxes[order]), classes[order], iou, chunk)
    return ranked[kept[ranked]]


def sweep(boxes: Tensor, classes: Tensor, iou: float, chunk: int) -> Tensor:
    """Tell ``[D]`` which boxes ``[D, 4]`` are kept, given class by class and, inside, the best first."""
    count = len(boxes)
    kept = torch.empty(count, dtype=torch.uint8, device=boxes.device)
    if count == 0:
        return kept.bool()
    words = triton.cdiv(count, 64)
    ends = torch.searchsorted(classes, classes, right=True)
    # a number given to a kernel becomes float32
    threshold = torch.full((1,), iou, dtype=torch.float64, device=boxes.device)
    mask = torch.empty(words, count, dtype=torch.int64, device=boxes.device)
    # one product and sum in one instruction would round otherwise than the reference
    _pairs[(words, words)](boxes, ends, threshold, mask, count, enable_fp_fusion=False)
    _sweep[(words,)](ends, mask, kept, count, CHUNK=chunk)
    return kept.bool()


@triton.jit
def _pairs(boxes, ends, threshold, mask, count):
    """Write ``mask[word, i]``: which of the 64 boxes of ``word`` box i suppresses if it is kept, be they of its class.

    boxes [D, 4] float64, sorted; ends [D] int64: where the class of a box ends; mask [words, D] int64.
    Words that no pair of one class touches are left as they are; the sweep does not read them.
    """
    word, block = tl.program_id(0), tl.program_id(1)
    last = tl.minimum(block * WORD + WORD, count) - 1
    if (word >= block) & (word * WORD < tl.load(ends + last)):
        row = block * WORD + tl.arange(0, WORD)
        x1, y1, x2, y2 = _corners(boxes, row, count)
        area = (x2 - x1) * (y2 - y1)
        bits = tl.zeros((WORD,), tl.int64)
        for first in range(0, WORD, PART):
            lanes = first + tl.arange(0, PART)
            column = word * WORD + lanes
            u1, v1, u2, v2 = _corners(boxes, column, count)
            width = tl.minimum(x2[:, None], u2[None, :]) - tl.maximum(x1[:, None], u1[None, :])
            height = tl.minimum(y2[:, None], v2[None, :]) - tl.maximum(y1[:, None], v1[None, :])
            common = tl.where((width > 0) & (height > 0), width * height, 0.0)
            both = area[:, None] + ((u2 - u1) * (v2 - v1))[None, :]
            overlap = common / tl.where(common > 0, both - common, 1.0)
            pair = (column[None, :] > row[:, None]) & (overlap > tl.load(threshold))
            bits += tl.sum(pair.to(tl.int64) << lanes[None, :].to(tl.int64), 1)
        tl.store(mask + word.to(tl.int64) * count + row, bits, row < count)


@triton.jit
def _corners(boxes, row, count):
    inside, start = row < count, boxes + row * 4
    return (
        tl.load(start, inside, 0.0),
        tl.load(start + 1, inside, 0.0),
        tl.load(start + 2, inside, 0.0),
        tl.load(start + 3, inside, 0.0),
    )


@triton.jit
def _sweep(ends, mask, kept, count, CHUNK: tl.constexpr):
    """Fill ``kept [D]`` uint8 for the classes that begin in this program's block of 64 boxes, one after the other."""
    start = tl.program_id(0) * WORD
    for first in range(start, tl.minimum(start + WORD, count)):
        previous_end = tl.load(ends + first - 1, first > 0, 0)
        if previous_end == first:
            _sweep_class(mask, kept, count, first, tl.load(ends + first).to(tl.int32), CHUNK)


@triton.jit
def _sweep_class(mask, kept, count, first, end, CHUNK: tl.constexpr):
    """Decide over the boxes of a class, 64 at a time: what earlier blocks drop, then what they drop themselves."""
    lanes, offsets = tl.arange(0, WORD), tl.arange(0, CHUNK)
    for block in range(first // WORD, tl.cdiv(end, WORD)):
        dropped = tl.zeros((), tl.int64)
        words = mask + (dropped + block) * count  # in int64
        for low in range(first, block * WORD, CHUNK):
            row = low + offsets
            earlier = row < block * WORD
            keeps = tl.load(kept + row, earlier, 0)
            dropped |= tl.reduce_or(tl.where(keeps != 0, tl.load(words + row, earlier, 0), 0), 0)
        for lane in range(WORD):
            row = block * WORD + lane
            bits = tl.load(words + row, (row >= first) & (row < end), 0)
            dropped |= tl.where(((dropped >> lane) & 1) == 0, bits, 0)
        row = block * WORD + lanes
        stays = ((dropped >> lanes.to(tl.int64)) & 1) == 0
        tl.store(kept + row, stays.to(tl.uint8), (row >= first) & (row < end))
        tl.debug_barrier()  # later blocks read what other threads wrote
