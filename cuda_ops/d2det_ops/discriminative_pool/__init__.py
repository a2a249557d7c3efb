"""Pooling by learned per-sample weights."""

from d2det_ops.discriminative_pool.op import discriminative_pool

__all__ = ["discriminative_pool"]
