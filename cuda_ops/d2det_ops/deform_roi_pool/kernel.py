"""Deformable RoI pooling over a pyramid in Triton."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from d2det_ops.launches import Places, average, move, spread


def forward(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Do what ``reference.deform_roi_pool`` does, without gradients; nothing waits for the device."""
    return average(features, _places(rois, levels, offsets, samples, strides, legacy), bins)


def features_gradient(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    offsets: Tensor | None,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
    deterministic: bool,
) -> list[Tensor]:
    """Do what ``reference.features_gradient`` does; to be ``deterministic`` costs memory and time."""
    return spread(gradient, _places(rois, levels, offsets, samples, strides, legacy), shape, deterministic)


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
    """Do what ``reference.offsets_gradient`` does."""
    return move(gradient, features, _places(rois, levels, offsets, samples, strides, legacy), offsets)


def _places(
    rois: Tensor, levels: Tensor, offsets: Tensor | None, samples: int, strides: Sequence[int], legacy: bool
) -> Places:
    return Places(rois, levels, offsets, samples, strides, "whole" if legacy else "aligned")
