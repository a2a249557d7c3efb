"""RoI pooling over the pyramid: plain, and discriminative (D2Det specification, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from d2det_geo.model.backbones import STRIDES
from d2det_geo.model.convention import Convention
from d2det_ops import deform_roi_pool, discriminative_pool, roi_align
from d2det_ops.pyramid import LEVELS, roi_levels

OFFSET_SHARE = 0.1  # gamma: a predicted offset of 1 moves a bin by a tenth of the RoI


class PlainPooling(nn.Module):
    """RoIAlign over the pyramid, 2x2 samples per bin."""

    def __init__(self, bins: int, convention: Convention) -> None:
        super().__init__()
        self.bins, self.legacy = bins, convention is Convention.LEGACY

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool ``[K, 5]`` RoIs to ``[K, C, bins, bins]``."""
        return roi_align(features, rois, bins=self.bins, samples=2, strides=STRIDES, legacy=self.legacy)


class LevelLayers(nn.Module):
    """What discriminative pooling learns for one level: where to look, and what counts there."""

    def __init__(self, channels: int, bins: int, width: int) -> None:
        super().__init__()
        self.offsets = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * (bins // 2) ** 2, width),
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


class DiscriminativePooling(nn.Module):
    """Discriminative RoI pooling over the pyramid: learned offsets, then learned weights; levels share nothing."""

    def __init__(self, channels: int, bins: int, samples: int, width: int, convention: Convention) -> None:
        super().__init__()
        self.bins, self.samples = bins, samples
        self.legacy = convention is Convention.LEGACY
        self.levels = nn.ModuleList(LevelLayers(channels, bins, width) for _ in STRIDES[:LEVELS])

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool ``[K, 5]`` RoIs to ``[K, C, bins, bins]`` (section 5.2, 5.3)."""
        levels = roi_levels(rois, min(len(features), LEVELS))
        order = levels.argsort(stable=True)  # RoIs of a level lie together: its layers get a view, not a copy
        counts = levels.bincount(minlength=LEVELS).tolist()
        offsets = self.predict_offsets(self.glance(features, rois[order]), counts)
        samples = self.sample(features, rois[order], offsets)
        pooled = self.weigh(samples, counts)
        return pooled[order.argsort()]

    def glance(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Pool to half as many bins a side, ``[K, C, bins // 2, bins // 2]``."""
        return self._pool(features, rois, None, self.bins // 2)

    def predict_offsets(self, glances: Tensor, counts: Sequence[int]) -> Tensor:
        """Shift of each bin as a share of the RoI, ``[K, 2, bins, bins]``; ``counts`` RoIs of each level in turn."""
        parts = zip(self._layers(), torch.split(glances, list(counts)), strict=True)
        # A level without RoIs is left alone: zero gradients would let the optimiser decay its weights.
        offsets = [level.offsets(part) for level, part in parts if len(part)]
        if not offsets:
            return glances.new_zeros(0, 2, self.bins, self.bins, dtype=torch.float32)
        return torch.cat(offsets).view(-1, 2, self.bins, self.bins).float() * OFFSET_SHARE

    def sample(self, features: Sequence[Tensor], rois: Tensor, offsets: Tensor) -> Tensor:
        """Pool to twice as many bins a side, ``[K, C, 2 bins, 2 bins]``; four neighbours move together."""
        return self._pool(features, rois, offsets.repeat_interleave(2, 2).repeat_interleave(2, 3), 2 * self.bins)

    def weigh(self, samples: Tensor, counts: Sequence[int]) -> Tensor:
        """Average samples by learned weights, ``[K, C, bins, bins]``; ``counts`` RoIs of each level in turn."""
        parts = zip(self._layers(), torch.split(samples, list(counts)), strict=True)
        pooled = [discriminative_pool(part, level.gate(part)) for level, part in parts if len(part)]
        return torch.cat(pooled) if pooled else samples.new_zeros(0, samples.shape[1], self.bins, self.bins)

    def _layers(self) -> list[LevelLayers]:
        return cast("list[LevelLayers]", list(self.levels))

    def _pool(self, features: Sequence[Tensor], rois: Tensor, offsets: Tensor | None, bins: int) -> Tensor:
        return deform_roi_pool(
            features, rois, offsets, bins=bins, samples=self.samples, strides=STRIDES, legacy=self.legacy
        )
