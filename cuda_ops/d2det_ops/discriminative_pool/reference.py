"""Normalised pooling with exponential weights, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WINDOW = (3, 2, 1)  # side, stride and padding, cells


def discriminative_pool(features: Tensor, gate: Tensor) -> Tensor:
    """Do what ``d2det_ops.discriminative_pool`` does, and let autograd find the gradients."""
    inner = inner_dtype(features, gate)
    weights = (12 * gate.to(inner).sigmoid() - 6).exp()
    pooled = avg_pool2d(weights * features.to(inner), *WINDOW) / avg_pool2d(weights, *WINDOW)
    return pooled.to(features.dtype)


def discriminative_pool_backward(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Write the gradients out, for where autograd cannot look.

    Args:
        grad: ``[K, C, P, P]`` gradient of the pooled features.
        features: ``[K, C, 2P, 2P]``.
        gate: ``[K, C, 2P, 2P]``.

    Returns:
        Gradients of ``features`` and ``gate``, each of its dtype.
    """
    inner = inner_dtype(features, gate)
    share, samples = gate.to(inner).sigmoid(), features.to(inner)
    weights = (12 * share - 6).exp()
    total = avg_pool2d(weights, *WINDOW, divisor_override=1)
    pooled = avg_pool2d(weights * samples, *WINDOW, divisor_override=1) / total
    pull = grad.to(inner) / total
    pulls, pulled = _over_windows(pull, samples), _over_windows(pull * pooled, samples)
    slopes = 12 * share * (1 - share) * weights
    return (weights * pulls).to(features.dtype), (slopes * (samples * pulls - pulled)).to(gate.dtype)


def inner_dtype(features: Tensor, gate: Tensor) -> torch.dtype:
    """Return float32, or float64 if an input is."""
    return torch.promote_types(torch.promote_types(features.dtype, gate.dtype), torch.float32)


def _over_windows(values: Tensor, cells: Tensor) -> Tensor:
    """Sum ``values`` of the windows each cell lies in."""
    summed: Tensor = torch.ops.aten.avg_pool2d_backward(values, cells, [3, 3], [2, 2], [1, 1], False, True, 1)
    return summed
