"""Deformable RoI pooling for torch: arguments, schema, gradients and one kernel per device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2det_ops import sampling
from d2det_ops.deform_roi_pool import cpu, reference
from d2det_ops.gpu import usable
from d2det_ops.pyramid import check_grid, check_images, check_rois, pooled_levels, roi_levels


def deform_roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    offsets: Tensor | None,
    *,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool = False,
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every RoI, where their offsets move them.

    D2Det specification, section 5.1, without its rounding: sample (a, b) of a bin lies at ``(b + 0.5) / S`` of
    its width and ``(a + 0.5) / S`` of its height, moved by ``offsets`` times the RoI's size. Samples outside
    ``[-1, W] x [-1, H]`` count as zero. Without offsets this is ``roi_align``, and all it says of levels,
    numbers and gradients holds; the gradient reaches the offsets, too.

    Args:
        features: P2 and up, each ``[N, C, H_l, W_l]``; what is beyond P5 is not looked at.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px, float32 or float64.
        offsets: ``[K, 2, P, P]``, shift of each bin along x and y as a share of the RoI's size.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        strides: image px per cell of each level.
        legacy: as the authors' checkpoints were trained: RoIs are rounded to whole pixels, sample (a, b) lies
            at ``b / S`` and ``a / S``, and only samples in ``[-0.5, W - 0.5] x [-0.5, H - 0.5]`` are averaged.

    Returns:
        ``[K, C, P, P]`` of the features' type, channels-last in memory.
    """
    used, steps = pooled_levels(features, strides)
    check_rois(rois, used)
    check_grid(bins, samples)
    if offsets is not None:
        _check_offsets(offsets, rois, bins)
    levels = roi_levels(rois, len(used))
    pooled: Tensor = _deform_roi_pool(used, rois, levels, offsets, bins, samples, steps, legacy)
    return pooled


def _check_offsets(offsets: Tensor, rois: Tensor, bins: int) -> None:
    expected = (len(rois), 2, bins, bins)
    if tuple(offsets.shape) != expected or not offsets.is_floating_point():
        raise ValueError(f"offsets must be floating {expected}, got {offsets.dtype} {tuple(offsets.shape)}")
    if offsets.device != rois.device:
        raise ValueError(f"offsets on {offsets.device}, RoIs on {rois.device}")


@torch.library.custom_op("d2det::deform_roi_pool", mutates_args=(), device_types="cpu")
def _deform_roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    check_images(rois, len(features[0]))
    return cpu.deform_roi_pool(features, rois, levels, offsets, bins, samples, strides, legacy)


@_deform_roi_pool.register_kernel("cuda")
def _(features: Sequence[Tensor], *arguments: Any) -> Tensor:
    if not usable(features[0].device):
        return reference.deform_roi_pool(features, *arguments)
    from d2det_ops.deform_roi_pool import kernel

    return kernel.forward(features, *arguments)


@_deform_roi_pool.register_fake
def _(features: Sequence[Tensor], rois: Tensor, levels: Tensor, offsets: Tensor | None, bins: int, *_: Any) -> Tensor:
    return features[0].new_empty(len(rois), bins, bins, features[0].shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("d2det::deform_roi_pool_backward", mutates_args=(), device_types="cpu")
def _backward(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> list[Tensor]:
    return cpu.features_gradient(gradient, rois, levels, offsets, shape, samples, strides, legacy)


@_backward.register_kernel("cuda")
def _(gradient: Tensor, *arguments: Any) -> list[Tensor]:
    if not usable(gradient.device):
        return reference.features_gradient(gradient, *arguments)
    from d2det_ops.deform_roi_pool import kernel

    return kernel.features_gradient(gradient, *arguments, torch.are_deterministic_algorithms_enabled())


@_backward.register_fake
def _(
    gradient: Tensor, rois: Tensor, levels: Tensor, offsets: Tensor | None, shape: Sequence[int], *_: Any
) -> list[Tensor]:
    return sampling.empty_pyramid(gradient, shape)


@torch.library.custom_op("d2det::deform_roi_pool_offsets_backward", mutates_args=(), device_types="cpu")
def _offsets_backward(
    gradient: Tensor,
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    return cpu.offsets_gradient(gradient, features, rois, levels, offsets, samples, strides, legacy)


@_offsets_backward.register_kernel("cuda")
def _(gradient: Tensor, *arguments: Any) -> Tensor:
    if not usable(gradient.device):
        return reference.offsets_gradient(gradient, *arguments)
    from d2det_ops.deform_roi_pool import kernel

    return kernel.offsets_gradient(gradient, *arguments)


@_offsets_backward.register_fake
def _(gradient: Tensor, features: Sequence[Tensor], rois: Tensor, levels: Tensor, offsets: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(offsets, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, levels, offsets, _, *ctx.numbers = inputs
    ctx.shape = sampling.pyramid_shape(features)
    moving = offsets is not None and offsets.requires_grad  # only then are the features looked at again
    ctx.save_for_backward(rois, levels, offsets, *(features if moving else []))


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    rois, levels, offsets, *features = ctx.saved_tensors
    spread: Sequence[Tensor | None] = [None] * len(ctx.needs_input_grad[0])
    moved = None
    if any(ctx.needs_input_grad[0]):
        spread = _backward(gradient, rois, levels, offsets, ctx.shape, *ctx.numbers)
    if ctx.needs_input_grad[3]:
        moved = _offsets_backward(gradient, features, rois, levels, offsets, *ctx.numbers)
    return spread, None, None, moved, *[None] * 4


_deform_roi_pool.register_autograd(_differentiate, setup_context=_save)
