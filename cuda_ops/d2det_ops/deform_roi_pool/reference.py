"""Deformable RoI pooling over a pyramid in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from d2det_ops import sampling
from d2det_ops.sampling import Regions, choose_regions, precision


def deform_roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Do what ``d2det_ops.deform_roi_pool`` does, with ``levels [K]`` given and gradients by autograd."""
    regions = place(rois, levels, strides, legacy, precision(features[0]))
    return sampling.sample_bins(features, regions, offsets, bins=bins, samples=samples, legacy=legacy)


def place(rois: Tensor, levels: Tensor, strides: Sequence[int], legacy: bool, dtype: torch.dtype) -> Regions:
    """Choose what to divide into bins; legacy RoIs are whole pixels, at least a tenth of a cell wide and high."""
    regions = choose_regions(rois, levels, strides, dtype)
    if not legacy:
        return regions
    ends = regions.boxes - regions.boxes.new_tensor([0, 0, 1, 1])  # the authors' last pixel, which is rounded
    whole = ends.sign() * (ends.abs() + 0.5).floor()  # as C rounds, halves away from zero
    low, high = whole[:, :2], whole[:, 2:] + 1
    return replace(regions, boxes=torch.cat([low, torch.maximum(high, low + 0.1 * regions.strides[:, None])], 1))


def features_gradient(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> list[Tensor]:
    """Gradients of the levels of a pyramid of ``pyramid_shape``, for where autograd is off."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return sampling.features_gradient(gradient, shape, regions, offsets, samples=samples, legacy=legacy)


def offsets_gradient(
    gradient: Tensor,
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Gradient of the offsets, ``[K, 2, P, P]``, for where autograd is off."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return sampling.offsets_gradient(gradient, features, regions, offsets, samples=samples, legacy=legacy)
