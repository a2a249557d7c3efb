"""Discriminative pooling for torch: arguments, schema, gradients and one kernel per device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d2det_ops.discriminative_pool import cpu, reference
from d2det_ops.discriminative_pool.layout import change_like, pooled_like
from d2det_ops.gpu import usable


def discriminative_pool(features: Tensor, gate: Tensor) -> Tensor:
    """Average each 3x3 neighbourhood, at stride 2, by the weights ``exp(12 sigmoid(gate))``.

    D2Det specification, section 5.3: windows are clipped to the map, and the sum of weights divides out, so any
    common factor does too. The exponent is centred on 0: weights lie in ``[e^-6, e^6]`` and a gate of 0 weighs 1.
    Computed in float32 whatever comes in, in float64 if that does. Has first derivatives only.

    Args:
        features: ``[K, C, 2P, 2P]`` samples; sides may be odd and differ, P is rounded up.
        gate: ``[K, C, 2P, 2P]`` logits of the weights; its dtype and memory format need not be those of ``features``.

    Returns:
        ``[K, C, P, P]`` in the dtype of ``features``, channels last. The same in every run, as are the gradients.
    """
    if features.dim() != 4 or features.shape != gate.shape or 0 in features.shape[1:]:
        shapes = f"{tuple(features.shape)} and {tuple(gate.shape)}"
        raise ValueError(f"features and gate must be [K, C, 2P, 2P] alike, with C and P above 0, got {shapes}")
    if not (features.is_floating_point() and gate.is_floating_point()):
        raise ValueError(f"features and gate must be floating point, got {features.dtype} and {gate.dtype}")
    if features.device != gate.device:
        raise ValueError(f"features and gate must be on one device, got {features.device} and {gate.device}")
    pooled: Tensor = _pool(features, gate)
    return pooled


def _pool_in_torch(features: Tensor, gate: Tensor) -> Tensor:
    return pooled_like(features).copy_(reference.discriminative_pool(features, gate))


def _unpool_in_torch(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    of_features, of_gate = reference.discriminative_pool_backward(grad, features, gate)
    return change_like(features).copy_(of_features), change_like(gate).copy_(of_gate)


_pool = torch.library.custom_op("d2det::discriminative_pool", _pool_in_torch, mutates_args=())
_unpool = torch.library.custom_op("d2det::discriminative_pool_backward", _unpool_in_torch, mutates_args=())


@_pool.register_kernel("cpu")
def _(features: Tensor, gate: Tensor) -> Tensor:
    if _is_double(features, gate):
        return _pool_in_torch(features, gate)
    return cpu.discriminative_pool(features, gate)


@_unpool.register_kernel("cpu")
def _(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    if _is_double(features, gate):
        return _unpool_in_torch(grad, features, gate)
    return cpu.discriminative_pool_backward(grad, features, gate)


@_pool.register_kernel("cuda")
def _(features: Tensor, gate: Tensor) -> Tensor:
    if _is_double(features, gate) or not usable(features.device):
        return _pool_in_torch(features, gate)
    from d2det_ops.discriminative_pool import kernel

    return kernel.forward(features, gate)


@_unpool.register_kernel("cuda")
def _(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    if _is_double(features, gate) or not usable(features.device):
        return _unpool_in_torch(grad, features, gate)
    from d2det_ops.discriminative_pool import kernel

    return kernel.backward(grad, features, gate)


@_pool.register_fake
def _(features: Tensor, gate: Tensor) -> Tensor:
    return pooled_like(features)


@_unpool.register_fake
def _(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    return change_like(features), change_like(gate)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _unpool(grad, *ctx.saved_tensors)
    return gradients


_pool.register_autograd(_differentiate, setup_context=_keep)


def _is_double(features: Tensor, gate: Tensor) -> bool:
    return reference.inner_dtype(features, gate) == torch.float64
