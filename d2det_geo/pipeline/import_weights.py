"""The authors' checkpoints as bundles: ``predict`` and ``load_model`` then give the authors' results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from d2det_geo.config import InferenceSettings, ModelSettings, SamplingSettings
from d2det_geo.data.coco_classes import COCO_CLASSES
from d2det_geo.errors import InputError, OutputExistsError, UsageError
from d2det_geo.model.bundle import SUFFIX, Card, build_from_card, save_bundle
from d2det_geo.model.d2det import D2Det
from d2det_geo.model.official import read_official, translate
from d2det_geo.pipeline.card import git_revision, network_card
from d2det_geo.vector.output import atomic_path

Arch = Literal["r50", "r101", "r101-dcn", "r101-inst"]

CHIP_SIZE, OVERLAP = 800, 200  # px: the shorter side the authors' images have
SCORE = 0.3  # what the authors draw


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What was imported."""

    bundle: Path
    arch: Arch
    tensors: int


def import_weights(path: Path, arch: Arch, out: Path, *, overwrite: bool = False) -> ImportSummary:
    """Write the bundle of one of the authors' checkpoints: float32 weights, their test settings, COCO's classes.

    Args:
        path: ``.pth`` of the authors' code.
        arch: which of their four configurations it was trained with.
        out: bundle to write, complete or not at all.
        overwrite: replace it.

    Raises:
        OutputExistsError, D2DetError: ``out`` is there, or cannot be written.
        UsageError: ``out`` has the wrong suffix, or there is no such configuration.
        InputError: the checkpoint cannot be read, or is not of this configuration.
    """
    if arch not in get_args(Arch):
        raise UsageError(f"--arch {arch}: no such configuration; use one of {', '.join(get_args(Arch))}")
    if out.suffix != SUFFIX:
        raise UsageError(f"--out {out}: a bundle's name ends with {SUFFIX}")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out}: exists; pass --overwrite to replace it")
    with atomic_path(out):
        pass  # a folder that cannot be written to is found out before the work
    official = read_official(path)
    network = skeleton(arch)
    try:
        state = translate(official, network.state_dict())
    except InputError as error:
        raise InputError(f"{path}: not a checkpoint of --arch {arch}{_suggestion(official, arch)}: {error}") from error
    network.load_state_dict(state, assign=True)
    card = official_card(arch).model_copy(
        update={"training": {"imported from": path.name}, "git_revision": git_revision()}
    )
    with atomic_path(out) as temporary:
        save_bundle(temporary, network, card, half=False)
    return ImportSummary(out, arch, len(state))


def official_card(arch: Arch) -> Card:
    """Write the card of one of the authors' configurations, with their settings of training and test."""
    instance = arch == "r101-inst"
    return network_card(
        ModelSettings(
            backbone="resnet50" if arch == "r50" else "resnet101",
            deformable=arch == "r101-dcn",
            masks=instance,
            pool_samples=2 if arch == "r50" else 1,
            convention="legacy",
        ),
        SamplingSettings(regression_loss="official"),
        InferenceSettings(
            rpn_post_nms=700 if instance else 1000,
            class_score=0.05 if instance else 0.03,
            class_nms=0.3 if instance else 0.5,
            candidates=100 if instance else 125,
            detections=100,
            final_nms="none" if instance else "soft",
            score=SCORE,
        ),
        classes=COCO_CLASSES,
        name=f"coco-{arch}",
        description=f"D2Det {arch} of the authors, trained on COCO; everyday objects, not seen from above",
        chip_size=CHIP_SIZE,
        overlap=OVERLAP,
        data=("COCO train2017; weights by the authors of D2Det (github.com/JialeCao001/D2Det)",),
    )


def skeleton(arch: Arch) -> D2Det:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return build_from_card(official_card(arch))


def _suggestion(official: dict[str, torch.Tensor], arch: Arch) -> str:
    for other in get_args(Arch):
        try:
            translate(official, skeleton(other).state_dict())
        except InputError:
            continue
        return f" but of {other}" if other != arch else ""
    return ""
