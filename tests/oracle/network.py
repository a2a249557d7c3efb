"""The authors' networks as functions of their state dict, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from tests.oracle.sampling import deformable_pool, level_of, roi_align

STRIDES = (4, 8, 16, 32, 64)
BLOCKS = (3, 4, 23, 3)  # of a ResNet-101
State = Mapping[str, Tensor]


def norm(state: State, name: str, maps: Tensor) -> Tensor:
    parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(maps, *parts)


def conv(state: State, name: str, maps: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(maps, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)


def linear(state: State, name: str, rows: Tensor) -> Tensor:
    return F.linear(rows, state[f"{name}.weight"], state[f"{name}.bias"])


def middle(state: State, name: str, maps: Tensor, stride: int) -> Tensor:
    """The 3x3 convolution of a bottleneck, deformable where the checkpoint has offsets for it."""
    if f"{name}.conv_offset.weight" not in state:
        return conv(state, name, maps, stride, 1)
    moves = conv(state, f"{name}.conv_offset", maps, stride, 1)
    return deform_conv2d(
        maps, moves[:, :18], state[f"{name}.weight"], stride=stride, padding=1, mask=moves[:, 18:].sigmoid()
    )


def bottleneck(state: State, name: str, maps: Tensor, stride: int) -> Tensor:
    inner = norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", maps)).relu()
    inner = norm(state, f"{name}.bn2", middle(state, f"{name}.conv2", inner, stride)).relu()
    inner = norm(state, f"{name}.bn3", conv(state, f"{name}.conv3", inner))
    if f"{name}.downsample.0.weight" in state:
        maps = norm(state, f"{name}.downsample.1", conv(state, f"{name}.downsample.0", maps, stride))
    return (inner + maps).relu()


def pyramid(state: State, images: Tensor) -> list[Tensor]:
    """P2 to P6."""
    maps = norm(state, "backbone.bn1", conv(state, "backbone.conv1", images, 2, 3)).relu()
    maps = F.max_pool2d(maps, 3, 2, 1)
    stages = []
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            maps = bottleneck(state, f"backbone.layer{stage + 1}.{block}", maps, 2 if stage and not block else 1)
        stages.append(maps)
    merged = [conv(state, f"neck.lateral_convs.{level}.conv", maps) for level, maps in enumerate(stages)]
    for level in (2, 1, 0):
        merged[level] = merged[level] + F.interpolate(merged[level + 1], size=merged[level].shape[2:], mode="nearest")
    levels = [conv(state, f"neck.fpn_convs.{level}.conv", maps, 1, 1) for level, maps in enumerate(merged)]
    return [*levels, levels[3][:, :, ::2, ::2]]


def rpn_maps(state: State, level: Tensor) -> tuple[Tensor, Tensor]:
    """Scores ``[A]`` and deltas ``[A, 4]`` of one image's anchors, in the order row, column, ratio."""
    hidden = conv(state, "rpn_head.rpn_conv", level, 1, 1).relu()
    scores = conv(state, "rpn_head.rpn_cls", hidden)[0].permute(1, 2, 0).reshape(-1).sigmoid()
    deltas = conv(state, "rpn_head.rpn_reg", hidden)[0].permute(1, 2, 0).reshape(-1, 4)
    return scores, deltas


def class_scores(state: State, levels: Sequence[Tensor], rois: Tensor, samples: int) -> Tensor:
    """Softmax over background and the classes, ``[K, 81]``, of ``[K, 4]`` RoIs of the only image."""
    pooled = torch.stack([discriminative_pool(state, levels, roi, samples) for roi in rois])
    hidden = linear(state, "bbox_head.shared_fcs.0", pooled.flatten(1)).relu()
    hidden = linear(state, "bbox_head.shared_fcs.1", hidden).relu()
    return linear(state, "bbox_head.fc_cls", hidden).softmax(1)


def discriminative_pool(state: State, levels: Sequence[Tensor], roi: Tensor, samples: int) -> Tensor:
    index = level_of(roi)
    name = f"bbox_roi_extractor.roi_layers.{index}"
    feature, scale = levels[index][0], 1 / STRIDES[index]
    glance = deformable_pool(feature, roi, scale, 3, samples, torch.zeros(2, 3, 3))
    hidden = linear(state, f"{name}.offset_fc.0", glance.flatten()).relu()
    hidden = linear(state, f"{name}.offset_fc.2", hidden).relu()
    moves = linear(state, f"{name}.offset_fc.4", hidden).view(1, 2, 7, 7)
    fine = F.interpolate(moves, scale_factor=2, mode="nearest")[0]
    read = deformable_pool(feature, roi, scale, 14, samples, 0.1 * fine)[None]
    gate = conv(state, f"{name}.awp.weight.conv", read, 1, 1)
    gate = F.instance_norm(
        gate, weight=state[f"{name}.awp.weight.bn.weight"], bias=state[f"{name}.awp.weight.bn.bias"], eps=1e-5
    )
    weight = (12 * gate.sigmoid()).exp()
    return (F.avg_pool2d(read * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1))[0]


def cells(state: State, levels: Sequence[Tensor], rois: Tensor) -> Tensor:
    """The 576 channels of the 7x7 cells of ``[K, 4]`` RoIs of the only image."""
    maps = torch.stack([roi_align(levels[level_of(roi)][0], roi, 1 / STRIDES[level_of(roi)], 14, 2) for roi in rois])
    for index in range(8):
        name = f"D2Det_head.convs.{index}"
        maps = conv(state, f"{name}.conv", maps, 1 if index else 2, 1)
        maps = F.group_norm(maps, 36, state[f"{name}.gn.weight"], state[f"{name}.gn.bias"]).relu()
    return maps


def mask_logits(state: State, hidden: Tensor, labels: Tensor) -> Tensor:
    """``[K, 28, 28]`` of the classes ``labels``, counted from 1."""
    name = "D2Det_head"
    up = F.conv_transpose2d(hidden, state[f"{name}.deconv1.weight"], state[f"{name}.deconv1.bias"], 2)
    up = F.group_norm(up, 16, state[f"{name}.norm1.weight"], state[f"{name}.norm1.bias"]).relu()
    up = F.conv_transpose2d(up, state[f"{name}.deconv2.weight"], state[f"{name}.deconv2.bias"], 2).relu()
    every = conv(state, f"{name}.D2Det_instance", up, 1, 1)
    return torch.stack([maps[label] for maps, label in zip(every, labels, strict=True)])


def mask_ious(state: State, hidden: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """``[K]``: how well masks of the classes ``labels``, counted from 1, are expected to fit."""
    glance = F.max_pool2d(logits[:, None], 4, 4, padding=1).sigmoid()
    rows = torch.cat([hidden, glance], 1).flatten(1)
    for layer in ("fcs.0", "fcs.1"):
        rows = linear(state, f"D2Det_head.{layer}", rows).relu()
    every = linear(state, "D2Det_head.fc_instance_iou", rows)
    return torch.stack([row[label] for row, label in zip(every, labels, strict=True)])
