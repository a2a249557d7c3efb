"""The bytes that must move, whoever computes: what "achieved bytes/s" divides by the time.

- Every argument is read once and the result is written once.
- Of features that are pooled, only cells count that at least one sample reads with a weight, once each, all channels.
- With gradients: all the above, the gradient from above is read once, the gradient of every trained argument is written
  once, the whole pyramid of it, and what the gradient depends on is read a second time: the RoIs; with offsets also the
  offsets and the touched cells; both inputs of ``discriminative_pool``.

No intermediate counts and no cell counts twice, so a cache that works can only be outdone by more than 100 % if the
machine copies faster than it was measured to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.case import Arguments, size


def streamed(arguments: Arguments, result: object, backward: bool) -> int:
    """Count where every value of every argument matters."""
    once = size(arguments) + size(result)
    return once + (2 * size(arguments) + size(result) if backward else 0)


def pooled(pool: Callable[..., Tensor], arguments: Arguments, result: object, backward: bool) -> int:
    """Count for an operator of (features, RoIs) or (features, RoIs, offsets).

    Args:
        pool: any right implementation; it tells which cells a sample reads.
        arguments: the operator's.
        result: what it returns.
        backward: whether gradients of the features and the offsets are counted too.
    """
    features, rois, *offsets = arguments
    touched = touched_bytes(pool, features, [rois, *offsets])
    total = touched + size([rois, *offsets]) + size(result)
    if backward:
        total += size(result) + size(features) + size(rois)
        total += touched + 2 * size(offsets) if offsets else 0
    return total


def touched_bytes(pool: Callable[..., Tensor], features: Sequence[Tensor], rest: Sequence[Tensor]) -> int:
    """Count the bytes of the cells that ``pool(features, *rest)`` reads: those with a gradient."""
    one = [level.detach()[:, :1].float().requires_grad_() for level in features]
    result = pool(one, *(value.detach() for value in rest))
    gradients = torch.autograd.grad(result.sum(), one, allow_unused=True)
    cells = sum(int((gradient != 0).sum()) for gradient in gradients if gradient is not None)
    return cells * features[0].shape[1] * features[0].element_size()
