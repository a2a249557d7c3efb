"""The card of a bundle: what a configuration builds, and where it was trained."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from d2det_geo.config import Config, InferenceSettings, ModelSettings, SamplingSettings
from d2det_geo.model.backbones import normalisation
from d2det_geo.model.bundle import Card

UNMEASURED_SCORE = 0.5  # default of predict --score where neither the settings nor a validation gave one


def describe(config: Config) -> Card:
    """Write the card of the network a configuration builds, before anything was measured."""
    return network_card(
        config.model,
        config.sampling,
        config.inference,
        classes=config.classes,
        name=config.bundle.name,
        description=config.bundle.description,
        gsd_m=config.data.gsd_m,
        gsd_range_m=config.bundle.gsd_range_m,
        chip_size=config.inference.chip_size or config.data.chip_size,
        overlap=config.data.overlap,
        data=config.bundle.data,
    )


def network_card(
    model: ModelSettings,
    sampling: SamplingSettings,
    inference: InferenceSettings,
    *,
    classes: tuple[str, ...],
    **about: Any,
) -> Card:
    """Write the card of a network; ``about`` are fields of ``Card`` that do not follow from its settings."""
    mean, std = normalisation(model.backbone)
    not_parts = {"backbone_weights", "trainable_stages"}
    return Card(
        classes=classes,
        mean=mean,
        std=std,
        score=UNMEASURED_SCORE if inference.score is None else inference.score,
        architecture={"classes": len(classes), **model.model_dump(mode="json", exclude=not_parts)},
        proposals={
            "train_pre_nms": sampling.rpn_pre_nms,
            "train_post_nms": sampling.rpn_post_nms,
            "test_pre_nms": inference.rpn_pre_nms,
            "test_post_nms": inference.rpn_post_nms,
        },
        sampling=sampling.model_dump(exclude={"rpn_pre_nms", "rpn_post_nms"}),
        inference=inference.model_dump(exclude={"rpn_pre_nms", "rpn_post_nms", "score", "chip_size"}),
        **about,
    )


def machine(device: torch.device) -> str:
    """Name what a run computed on."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{torch.get_num_threads()} CPU threads, {platform.machine()}"


def git_revision() -> str:
    """Return the revision of the checkout this code runs from, ``-dirty`` if changed; empty where it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # an installed package may lie in somebody else's checkout
        return ""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
