"""Deformable RoI pooling over a pyramid, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from d2det_ops import gather
from d2det_ops.deform_roi_pool.reference import place
from d2det_ops.sampling import precision


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
    """Pool ``[K, 5]`` RoIs to ``[K, C, P, P]``."""
    regions = place(rois, levels, strides, legacy, precision(features[0]))
    return gather.sample_bins(features, regions, offsets, bins=bins, samples=samples, legacy=legacy)


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
    """Spread the gradient of what was pooled over the levels of a pyramid of ``pyramid_shape``."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return gather.features_gradient(gradient, shape, regions, offsets, samples=samples, legacy=legacy)


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
    """How what was pooled changes with the offsets, ``[K, 2, P, P]``, along its gradient."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return gather.offsets_gradient(gradient, features, regions, offsets, samples=samples, legacy=legacy)
