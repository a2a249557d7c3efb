"""What a prediction will cost on a CPU, from figures measured once: rough, and said to be so.

Measured with the packaged model on one core of an AMD EPYC, chips of 256 to 2,048 px, one and four at
once, up to 145 objects a chip; the heavier backbones with the authors' heads at 640 and 1,024 px.
"""

from __future__ import annotations

import os
from pathlib import Path

from d2det_geo.model.bundle import Card
from d2det_geo.raster.layout import Layout
from d2det_geo.raster.scene import Scene

_CHIP_CORE_S, _MPX_CORE_S = 0.3, 1.6  # seconds of one core
_PROCESS_MB, _CHIP_MB, _MPX_MB = 925, 125, 235
_SLOWER = {"mobilenet_v2": 1, "resnet50": 8, "resnet101": 10}
_FULLER = {"mobilenet_v2": 1, "resnet50": 4, "resnet101": 4}  # activations
_LEAST_CACHE_MB, _MOST_CACHE_MB = 16, 256
_MIB = 2**20


def expected_memory_mb(card: Card, bundle: Path, scene: Scene, layout: Layout, chip_size: int, batch_size: int) -> int:
    """Estimate the peak of process, weights, activations, the blocks under a row of chips, and chips read ahead.

    Args:
        card: of the model.
        bundle: its file.
        scene: on the grid it is read at.
        layout: of its file.
        chip_size: side, grid px.
        batch_size: chips at once.

    Returns:
        Resident memory on a CPU, MiB.
    """
    width, height = min(chip_size, scene.grid_width), min(chip_size, scene.grid_height)
    mpx = width * height / _MIB
    weights = 4 * bundle.stat().st_size / _MIB  # float16 in the file; float32, and once more while it is loaded
    activations = batch_size * (_CHIP_MB + _MPX_MB * mpx) * _by_backbone(_FULLER, card)
    rows = height * scene.scale[1] + 2 * layout.block_height
    blocks = min(max(rows * scene.width * layout.bytes_per_pixel / _MIB, _LEAST_CACHE_MB), _MOST_CACHE_MB)
    ahead = 3 * batch_size * mpx * (4 + layout.bytes_per_pixel)
    return round(_PROCESS_MB + weights + activations + blocks + ahead)


def expected_seconds(card: Card, chips: int, chip_px: float) -> float:
    """Estimate the time of the network on the cores this process may use; expect a factor of two or three.

    A card whose ``training`` says ``seconds_per_chip`` is believed.
    """
    said = card.training.get("seconds_per_chip")
    if isinstance(said, float):
        return chips * said
    core_s = (_CHIP_CORE_S + _MPX_CORE_S * chip_px / _MIB) * _by_backbone(_SLOWER, card)
    return chips * core_s / (os.cpu_count() or 1)


def _by_backbone(factors: dict[str, int], card: Card) -> int:
    return factors.get(str(card.architecture.get("backbone")), max(factors.values()))
