"""Feature pyramids on torchvision's backbones."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torchvision import models
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from d2det_geo.model.deformable import deform

BackboneName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"]

STRIDES = (4, 8, 16, 32, 64)  # of P2 to P6
SIDE_MULTIPLE = 32  # px: images are padded to whole cells of P5, of which P6 takes every other
RESNET_STAGES: tuple[tuple[str, ...], ...] = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
MOBILENET_STAGES: tuple[tuple[str, ...], ...] = (
    ("0", "1"),
    ("2", "3"),
    ("4", "5", "6"),
    tuple(map(str, range(7, 14))),
    tuple(map(str, range(14, 18))),
)


def build_pyramid(
    name: BackboneName, channels: int, trainable_stages: int = 3, *, deformable: bool = False
) -> BackboneWithFPN:
    """Build a backbone with a feature pyramid P2 to P6 on top.

    P6 is P5 subsampled by two. Weights are random: ``weights.load_backbone`` brings pretrained ones.

    Args:
        name: torchvision's name of the backbone.
        channels: channels of every pyramid level.
        trainable_stages: how many of the five stages learn, counted from the top.
        deformable: make the 3x3 convolutions of a ResNet's stages c3 to c5 deformable.

    Raises:
        ValueError: ``deformable`` with a backbone that has no bottlenecks.
    """
    if deformable and name not in {"resnet50", "resnet101"}:
        raise ValueError(f"deformable convolutions need resnet50 or resnet101, got {name}")
    if name == "mobilenet_v2":
        body: nn.Module = models.mobilenet_v2(weights=None).features
        taps, widths, stages = {"3": "0", "6": "1", "13": "2", "17": "3"}, [24, 32, 96, 320], MOBILENET_STAGES
    else:
        body = getattr(models, name)(weights=None)
        base = 64 if name in {"resnet18", "resnet34"} else 256
        taps = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
        widths, stages = [base * 2**level for level in range(4)], RESNET_STAGES
        if deformable:
            deform(body)
    pyramid = BackboneWithFPN(body, taps, widths, channels)
    for stage in stages[: len(stages) - trainable_stages]:
        for child in stage:
            pyramid.body[child].requires_grad_(requires_grad=False)
    return pyramid


def freeze_statistics(module: nn.Module) -> None:
    """Keep every batch norm on its stored mean and variance; scale and shift go on learning."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eval()


Triple = tuple[float, float, float]


def normalisation(name: BackboneName) -> tuple[Triple, Triple]:
    """Mean and standard deviation, grey levels of red, green and blue, the pretrained weights were trained with."""
    if name == "mobilenet_v2":
        return (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
    return (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
