"""RoIAlign over a pyramid in Triton."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from d2det_ops.launches import Places, average, spread


def forward(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Do what ``reference.roi_align`` does, without gradients; nothing waits for the device."""
    return average(features, _places(rois, levels, samples, strides, legacy), bins)


def backward(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
    deterministic: bool,
) -> list[Tensor]:
    """Do what ``reference.features_gradient`` does; to be ``deterministic`` costs memory and time."""
    return spread(gradient, _places(rois, levels, samples, strides, legacy), shape, deterministic)


def _places(rois: Tensor, levels: Tensor, samples: int, strides: Sequence[int], legacy: bool) -> Places:
    return Places(rois, levels, None, samples, strides, "placed" if legacy else "aligned")
