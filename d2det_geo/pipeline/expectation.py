"""What a prediction will cost on a CPU, from figures measured once: rough, and said to be so.

Measured with the packaged model on one core of an AMD EPYC, chips of 256 to 2,048 px, one and four at
once, up to 145 objects a chip; the heavier backbones with the authors' heads at 640 and 1,024 px.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.budget import share_memory
from d2det_geo.raster.scene import Scene

_CHIP_CORE_S, _MPX_CORE_S = 0.3, 1.6  # seconds of one core
_PROCESS_MB, _CHIP_MB, _MPX_MB = 1150, 125, 235
_SLOWER = {"mobilenet_v2": 1, "resnet50": 8, "resnet101": 10}
_FULLER = {"mobilenet_v2": 1, "resnet50": 4, "resnet101": 4}  # activations
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Chips:
    """How a scene is cut."""

    size: int
    """side, grid px"""
    overlap: int
    """grid px"""
    at_once: int
    """in a batch"""
    views: tuple[float, ...] = (1.0,)
    """px of each view of a chip that the network sees, one after the other, as multiples of the chip's"""


def expected_memory(card: Card, bundle: Path, scene: Scene, chips: Chips, limit: int | None) -> int:
    """Estimate the peak of process, weights, activations, the blocks GDAL keeps, and chips read ahead.

    Args:
        card: of the model.
        bundle: its file.
        scene: on the grid it is read at.
        chips: how it is cut.
        limit: ``--max-memory``, bytes.

    Returns:
        Bytes resident on a CPU.

    Raises:
        UsageError: the limit leaves too little to read the scene at all.
    """
    width, height = min(chips.size, scene.grid_width), min(chips.size, scene.grid_height)
    weights = 4 * bundle.stat().st_size  # float16 in the file; float32, and once more while it is loaded
    mpx = width * height * max(chips.views) / _MIB
    activations = chips.at_once * (_CHIP_MB + _MPX_MB * mpx) * _by_backbone(_FULLER, card)
    used = weights + round((_PROCESS_MB + activations) * _MIB)
    chip = 4 * chips.size**2
    budget = share_memory(
        limit,
        used,
        cache_wanted=scene.cache_wanted(chips.size, chips.size),
        row=chip * -(-scene.grid_width // (chips.size - chips.overlap)),
        batch=chip * chips.at_once,
    )
    return used + budget.cache + budget.ahead


def expected_seconds(card: Card, chips: int, chip_px: float, views: Sequence[float] = (1.0,)) -> float:
    """Estimate the time of the network on the cores this process may use; expect a factor of two or three.

    A card whose ``training`` says ``seconds_per_chip`` is believed.

    Args:
        card: of the model.
        chips: how many.
        chip_px: of each.
        views: px of each view of a chip, as multiples of the chip's.
    """
    said = card.training.get("seconds_per_chip")
    if isinstance(said, int | float):
        return chips * said * sum(views)
    view_s = (_CHIP_CORE_S + _MPX_CORE_S * chip_px * view / _MIB for view in views)
    return chips * sum(view_s) * _by_backbone(_SLOWER, card) / _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_backbone(factors: dict[str, int], card: Card) -> int:
    return factors.get(str(card.architecture.get("backbone")), max(factors.values()))
