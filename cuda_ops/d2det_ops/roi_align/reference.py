"""RoIAlign over a pyramid in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from d2det_ops import sampling
from d2det_ops.sampling import Regions, choose_regions, precision


def roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Do what ``d2det_ops.roi_align`` does, with ``levels [K]`` given and gradients by autograd."""
    regions = place(rois, levels, strides, legacy, precision(features[0]))
    return sampling.sample_bins(features, regions, None, bins=bins, samples=samples, legacy=False)


def place(rois: Tensor, levels: Tensor, strides: Sequence[int], legacy: bool, dtype: torch.dtype) -> Regions:
    """Choose what to divide into bins; legacy RoIs lie half a cell to the right and below, and end where they begin."""
    regions = choose_regions(rois, levels, strides, dtype)
    if not legacy:
        return regions
    low, high, half = regions.boxes[:, :2], regions.boxes[:, 2:], regions.strides[:, None] / 2
    return replace(regions, boxes=torch.cat([low + half, torch.maximum(high, low) + half], 1))


def features_gradient(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> list[Tensor]:
    """Gradients of the levels of a pyramid of ``pyramid_shape``, for where autograd is off."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return sampling.features_gradient(gradient, shape, regions, None, samples=samples, legacy=False)
