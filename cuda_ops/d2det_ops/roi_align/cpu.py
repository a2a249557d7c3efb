"""RoIAlign over a pyramid, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from d2det_ops import gather
from d2det_ops.roi_align.reference import place
from d2det_ops.sampling import precision


def roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    bins: int,
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> Tensor:
    """Pool ``[K, 5]`` RoIs to ``[K, C, P, P]``."""
    regions = place(rois, levels, strides, legacy, precision(features[0]))
    return gather.sample_bins(features, regions, None, bins=bins, samples=samples, legacy=False)


def features_gradient(
    gradient: Tensor,
    rois: Tensor,
    levels: Tensor,
    shape: Sequence[int],
    samples: int,
    strides: Sequence[int],
    legacy: bool,
) -> list[Tensor]:
    """Spread the gradient of what was pooled over the levels of a pyramid of ``pyramid_shape``."""
    regions = place(rois, levels, strides, legacy, precision(gradient))
    return gather.features_gradient(gradient, shape, regions, None, samples=samples, legacy=False)
