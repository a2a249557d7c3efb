"""From sizes to a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from d2det_geo.model.backbones import BackboneName, build_pyramid
from d2det_geo.model.convention import Convention
from d2det_geo.model.d2det import D2Det, Inference, Sampling
from d2det_geo.model.heads import (
    ClassificationHead,
    DenseLocalRegression,
    DenseTrunk,
    GlobalRegression,
    MaskHead,
    MaskIoUHead,
)
from d2det_geo.model.localiser import Localiser
from d2det_geo.model.pooling import DiscriminativePooling, PlainPooling
from d2det_geo.model.rpn import build_rpn
from d2det_geo.model.targets import CELLS


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides which tensors a network has. ``config.ModelSettings`` documents the fields."""

    classes: int
    backbone: BackboneName
    masks: bool
    discriminative_pooling: bool
    dense_regression: bool
    channels: int
    anchor_sizes: tuple[int, ...]
    dlr_convs: int
    dlr_channels: int
    classifier_width: int
    offset_width: int
    mask_iou_width: int
    pool_samples: int
    deformable: bool = False
    convention: Convention = Convention.ALIGNED


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """Proposals per level before NMS and per image after it."""

    train_pre_nms: int
    train_post_nms: int
    test_pre_nms: int
    test_post_nms: int


def build_model(
    parts: Architecture,
    limits: ProposalLimits,
    sampling: Sampling,
    inference: Inference,
    *,
    trainable_stages: int = 5,
) -> D2Det:
    """Build a network with random weights, laid out channels last: its convolutions take a quarter less time."""
    rpn = build_rpn(
        parts.channels,
        parts.anchor_sizes,
        {"training": limits.train_pre_nms, "testing": limits.test_pre_nms},
        {"training": limits.train_post_nms, "testing": limits.test_post_nms},
        parts.convention,
    )
    pooling = (
        DiscriminativePooling(parts.channels, CELLS, parts.pool_samples, parts.offset_width, parts.convention)
        if parts.discriminative_pooling
        else PlainPooling(CELLS, parts.convention)
    )
    network = D2Det(
        build_pyramid(parts.backbone, parts.channels, trainable_stages, deformable=parts.deformable),
        rpn,
        ClassificationHead(pooling, parts.channels, parts.classifier_width, parts.classes),
        _build_localiser(parts),
        sampling,
        inference,
        parts.convention,
    )
    return network.to(memory_format=torch.channels_last)


def _build_localiser(parts: Architecture) -> Localiser:
    width, convention = parts.dlr_channels, parts.convention
    needs_trunk = parts.dense_regression or parts.masks
    return Localiser(
        trunk=DenseTrunk(parts.channels, width, parts.dlr_convs, convention) if needs_trunk else None,
        votes=DenseLocalRegression(width) if parts.dense_regression else None,
        plain=None if parts.dense_regression else GlobalRegression(parts.channels, parts.classifier_width, convention),
        mask=MaskHead(width, parts.channels, parts.classes) if parts.masks else None,
        mask_iou=MaskIoUHead(width, parts.mask_iou_width, parts.classes) if parts.masks else None,
        convention=convention,
    )
