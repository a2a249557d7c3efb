"""Soft-NMS in Triton: one program a class lowers all its scores after each box it takes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from d2det_ops.candidates import by_score, class_numbers, solid

BLOCK = tl.constexpr(32)  # boxes among which a program looks for the begin of a class
CHUNK = 1024  # boxes that are lowered together


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou: float,
    least_score: float,
    sigma: float,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Do what ``d2det_ops.soft_nms`` does; linear if ``sigma`` is 0. ``chunk`` is a power of two.

    Classes may be of any size: scores lie in memory, not in registers. Waits for the device once, to size the result.
    """
    count = len(boxes)
    classes = class_numbers(labels)
    order = classes.argsort(stable=True)
    ends = torch.searchsorted(classes[order], classes[order], right=True)
    left = scores[order].double()
    left = torch.where(left >= least_score, left, -1.0)
    final = torch.full_like(left, -1.0)
    # a number given to a kernel becomes float32
    rule = torch.stack([torch.full_like(left[:1], value) for value in (iou, least_score, sigma)])
    if count:
        # one product and sum in one instruction would round otherwise than the reference
        _decay[(triton.cdiv(count, BLOCK.value),)](
            solid(boxes[order]), ends, left, final, rule, count, CHUNK=chunk, enable_fp_fusion=False
        )
    decayed = torch.empty_like(final)
    decayed[order] = final
    ranked = by_score(decayed)
    index = ranked[decayed[ranked] >= 0]
    return index, decayed[index].to(scores.dtype)


@triton.jit
def _decay(boxes, ends, left, final, rule, count, CHUNK: tl.constexpr):
    """Fill ``final`` for the classes that begin in this program's block, one after the other.

    boxes [D, 4] float64, class by class; ends [D] int64: where the class of a box ends; left [D] float64: scores,
    -1 what is dropped; final [D] float64: scores when taken, -1 before; rule [3] float64: IoU, least score, sigma or 0.
    """
    start = tl.program_id(0) * BLOCK
    for first in range(start, tl.minimum(start + BLOCK, count)):
        previous_end = tl.load(ends + first - 1, first > 0, 0)
        if previous_end == first:
            end = tl.load(ends + first).to(tl.int32)
            best, score = _best(left, first, end, CHUNK)
            while score >= 0:
                tl.store(final + best, score)
                best, score = _lower(boxes, left, rule, best, first, end, CHUNK)


@triton.jit
def _best(left, first, end, CHUNK: tl.constexpr):
    """Find the best score of a class, the first of equal ones."""
    best, score = end, tl.full((), -1.0, tl.float64)
    for low in range(first, end, CHUNK):
        row = low + tl.arange(0, CHUNK)
        best, score = _better(best, score, row, tl.load(left + row, row < end, -1.0))
    return best, score


@triton.jit
def _better(best, score, row, scores):
    highest = tl.max(scores, 0)
    where = tl.min(tl.where(scores == highest, row, 2147483647), 0)
    return tl.where(highest > score, where, best), tl.where(highest > score, highest, score)


@triton.jit
def _lower(boxes, left, rule, taken, first, end, CHUNK: tl.constexpr):
    """Drop the ``taken`` box, lower the scores of what it overlaps and find the next best."""
    tl.debug_barrier()  # scores that other threads wrote
    iou, least_score, sigma = tl.load(rule), tl.load(rule + 1), tl.load(rule + 2)
    x1, y1 = tl.load(boxes + taken * 4), tl.load(boxes + taken * 4 + 1)
    x2, y2 = tl.load(boxes + taken * 4 + 2), tl.load(boxes + taken * 4 + 3)
    best, score = end, tl.full((), -1.0, tl.float64)
    for low in range(first, end, CHUNK):
        row = low + tl.arange(0, CHUNK)
        start, inside = boxes + row * 4, row < end
        u1, v1 = tl.load(start, inside, 0.0), tl.load(start + 1, inside, 0.0)
        u2, v2 = tl.load(start + 2, inside, 0.0), tl.load(start + 3, inside, 0.0)
        width, height = tl.minimum(x2, u2) - tl.maximum(x1, u1), tl.minimum(y2, v2) - tl.maximum(y1, v1)
        common = tl.where((width > 0) & (height > 0), width * height, 0.0)
        both = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1)
        overlap = common / tl.where(common > 0, both - common, 1.0)
        if sigma > 0:
            factor = tl.where(overlap > 0, tl.exp(-overlap * overlap / sigma), 1.0)
        else:
            factor = tl.where(overlap > iou, tl.maximum(1 - overlap, 0.0), 1.0)
        scores = tl.load(left + row, inside, -1.0)
        waits = (row != taken) & (scores >= least_score) & (scores * factor >= least_score)
        scores = tl.where(waits, scores * factor, -1.0)
        tl.store(left + row, scores, inside)
        best, score = _better(best, score, row, scores)
    return best, score
