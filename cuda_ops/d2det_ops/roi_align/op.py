"""RoIAlign for torch: arguments, schema, gradient and one kernel per device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2det_ops import sampling
from d2det_ops.gpu import usable
from d2det_ops.pyramid import check_grid, check_images, check_rois, pooled_levels, roi_levels
from d2det_ops.roi_align import cpu, reference


def roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    *,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool = False,
) -> Tensor:
    """Average S x S bilinear samples in each of P x P bins of every RoI, from the level its size belongs to.

    On that level it is ``torchvision.ops.roi_align(aligned=True, sampling_ratio=S)``: samples outside
    ``[-1, W] x [-1, H]`` count as zero. RoIs that are not numbers give zero; those of images beyond the batch
    are refused on the CPU, and give zero on GPUs, where looking would wait. Positions and sums are float32,
    float64 for float64 features. The gradient reaches the features, not the RoIs; on GPUs it adds up in any
    order, unless ``torch.use_deterministic_algorithms`` asks for one.

    Args:
        features: P2 and up, each ``[N, C, H_l, W_l]``; what is beyond P5 is not looked at. Channels-last is
            not copied.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px, float32 or float64.
        bins: bins per side, P.
        samples: samples per side of a bin, S.
        strides: image px per cell of each level.
        legacy: as the authors' checkpoints were trained: half a cell further to the right and below.

    Returns:
        ``[K, C, P, P]`` of the features' type, channels-last in memory.
    """
    used, steps = pooled_levels(features, strides)
    check_rois(rois, used)
    check_grid(bins, samples)
    pooled: Tensor = _roi_align(used, rois, roi_levels(rois, len(used)), bins, samples, steps, legacy)
    return pooled


@torch.library.custom_op("d2det::roi_align", mutates_args=(), device_types="cpu")
def _roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    check_images(rois, len(features[0]))
    return cpu.roi_align(features, rois, levels, bins, samples, strides, legacy)


@_roi_align.register_kernel("cuda")
def _(features: Sequence[Tensor], *arguments: Any) -> Tensor:
    if not usable(features[0].device):
        return reference.roi_align(features, *arguments)
    from d2det_ops.roi_align import kernel

    return kernel.forward(features, *arguments)


@_roi_align.register_fake
def _(features: Sequence[Tensor], rois: Tensor, levels: Tensor, bins: int, *_: Any) -> Tensor:
    return features[0].new_empty(len(rois), bins, bins, features[0].shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("d2det::roi_align_backward", mutates_args=(), device_types="cpu")
def _backward(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> list[Tensor]:
    return cpu.features_gradient(gradient, rois, levels, shape, samples, strides, legacy)


@_backward.register_kernel("cuda")
def _(gradient: Tensor, *arguments: Any) -> list[Tensor]:
    if not usable(gradient.device):
        return reference.features_gradient(gradient, *arguments)
    from d2det_ops.roi_align import kernel

    arguments = (*arguments, torch.are_deterministic_algorithms_enabled())
    return kernel.backward(gradient, *arguments)


@_backward.register_fake
def _(gradient: Tensor, rois: Tensor, levels: Tensor, shape: Sequence[int], *_: Any) -> list[Tensor]:
    return sampling.empty_pyramid(gradient, shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, levels, _, *ctx.numbers = inputs
    ctx.shape = sampling.pyramid_shape(features)
    ctx.save_for_backward(rois, levels)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    return _backward(gradient, *ctx.saved_tensors, ctx.shape, *ctx.numbers), *[None] * 6


_roi_align.register_autograd(_differentiate, setup_context=_save)
