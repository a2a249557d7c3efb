"""RoI pooling over the pyramid: plain, and discriminative (D2Det specification, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from d2det_geo.model.backbones import STRIDES
from d2det_geo.model.convention import Convention
from d2det_ops import discriminative_pool, roi_pool
from d2det_ops.pyramid import LEVELS, roi_levels

OFFSET_SHARE = 0.1  # gamma: a predicted offset of 1 moves a bin by a tenth of the RoI

LevelPool = Callable[[Tensor, Tensor], Tensor]


def pool_by_level(features: Sequence[Tensor], rois: Tensor, pools: Sequence[LevelPool], bins: int) -> Tensor:
    """Pool each RoI from its own level with that level's pool.

    Args:
        features: P2 to P5 (further levels are not looked at), each ``[N, C, H, W]``.
        rois: ``[K, 5]`` as (image, x1, y1, x2, y2), image px.
        pools: one a level: (features, RoIs) to ``[k, C, bins, bins]`` float32.
        bins: bins per side.

    Returns:
        ``[K, C, bins, bins]`` float32 in the order of ``rois``.
    """
    levels = roi_levels(rois)
    pooled = features[0].new_zeros((len(rois), features[0].shape[1], bins, bins), dtype=torch.float32)
    for level, pool in enumerate(pools):
        index = (levels == level).nonzero()[:, 0]
        if len(index):
            pooled = pooled.index_copy(0, index, pool(features[level], rois[index]))
    return pooled


class PlainPooling(nn.Module):
    """RoIAlign over the pyramid, 2x2 samples per bin."""

    def __init__(self, bins: int, convention: Convention) -> None:
        super().__init__()
        self.bins, self.convention = bins, convention

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool ``[K, 5]`` RoIs to ``[K, C, bins, bins]``."""
        return pool_by_level(features, rois, [partial(self.pool, level) for level in range(LEVELS)], self.bins)

    def pool(self, level: int, features: Tensor, rois: Tensor) -> Tensor:
        """Pool ``[k, 5]`` RoIs of ``level``, whose map is ``features``, to ``[k, C, bins, bins]``."""
        stride = STRIDES[level]
        return roi_pool(features, _placed(rois, stride, self.convention), bins=self.bins, samples=2, stride=stride)


def _placed(rois: Tensor, stride: int, convention: Convention) -> Tensor:
    """Put ``[K, 5]`` RoIs where RoIAlign reads them: legacy ones lie half a cell to the right and below."""
    if convention is Convention.ALIGNED:
        return rois
    low = rois[:, 1:3]
    return torch.cat([rois[:, :1], low + stride / 2, torch.maximum(rois[:, 3:], low) + stride / 2], 1)


class LevelDiscriminativePooling(nn.Module):
    """Discriminative RoI pooling of one level: learned offsets, then learned weights."""

    def __init__(self, channels: int, stride: int, bins: int, samples: int, width: int, convention: Convention) -> None:
        super().__init__()
        self.stride, self.bins, self.samples = stride, bins, samples
        self.legacy = convention is Convention.LEGACY
        self.coarse = bins // 2
        self.offsets = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * self.coarse**2, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, 2 * bins**2),
        )
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.InstanceNorm2d(channels, affine=True)
        )
        for layer in (self.offsets[-1], self.gate[0]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)  # starts as plain average pooling of an undeformed grid

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool ``[K, 5]`` RoIs of this level to ``[K, C, bins, bins]`` (section 5.2, 5.3)."""
        glance = self._sample(features, rois, self.coarse)
        offsets = self.offsets(glance).view(-1, 2, self.bins, self.bins).float() * OFFSET_SHARE
        fine = offsets.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the samples of a sub-region move together
        samples = self._sample(features, rois, 2 * self.bins, fine)
        return discriminative_pool(samples, self.gate(samples))

    def _sample(self, features: Tensor, rois: Tensor, bins: int, offsets: Tensor | None = None) -> Tensor:
        return roi_pool(
            features,
            rois,
            bins=bins,
            samples=self.samples,
            stride=self.stride,
            offsets=offsets,
            legacy=self.legacy,
        )


class DiscriminativePooling(nn.Module):
    """Discriminative RoI pooling over the pyramid; the levels share nothing."""

    def __init__(self, channels: int, bins: int, samples: int, width: int, convention: Convention) -> None:
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(
            LevelDiscriminativePooling(channels, stride, bins, samples, width, convention)
            for stride in STRIDES[:LEVELS]
        )

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool ``[K, 5]`` RoIs to ``[K, C, bins, bins]``."""
        return pool_by_level(features, rois, list(self.levels), self.bins)
