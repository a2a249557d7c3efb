"""Discriminative pooling on the CPU in float32: the regions are dealt out to threads."""

from __future__ import annotations

import torch
from torch import Tensor

from d2det_ops.discriminative_pool.layout import Shape, change_like, maps_of, pooled_like
from d2det_ops.discriminative_pool.loops import pool, unpool
from d2det_ops.threads import in_threads


def discriminative_pool(features: Tensor, gate: Tensor) -> Tensor:
    """Do what ``d2det_ops.discriminative_pool`` does; half precision goes through a copy in float32."""
    pooled = pooled_like(features, torch.float32)
    inputs, shape, result = (maps_of(features), maps_of(gate)), _shape(features), maps_of(pooled).values
    in_threads(len(features), lambda start, stop: pool(*inputs, shape, result, start, stop))
    return pooled.to(features.dtype)


def discriminative_pool_backward(grad: Tensor, features: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``features`` and ``gate``, given that of the pooled features."""
    changes = change_like(features, torch.float32), change_like(gate, torch.float32)
    results = maps_of(changes[0]).values, maps_of(changes[1]).values
    inputs, shape = (maps_of(grad), maps_of(features), maps_of(gate)), _shape(features)
    in_threads(len(features), lambda start, stop: unpool(*inputs, shape, results, start, stop))
    return changes[0].to(features.dtype), changes[1].to(gate.dtype)


def _shape(features: Tensor) -> Shape:
    _, channels, rows, columns = features.shape
    return Shape(rows, columns, channels)
