"""A detector that sees bright targets on dark ground, exactly, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import rasterio.features
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2det_geo.detections import MASK_IOU_SHARE, MASK_SIDE, Detections
from d2det_geo.model.bundle import Card

BRIGHT = 255  # grey level of a target; the ground is 0
CLASS = "target"
_FILLED = 0.97  # a blob that fills its box this much is an upright rectangle


class Oracle:
    """Stands in for the network of a bundle: same chips, same normalisation, known answers."""

    def __init__(self, card: Card) -> None:
        """Take over what a card says about chips, GSD and normalisation."""
        self.card = card.model_copy(update={"name": "selftest", "classes": (CLASS,), "score": 0.5})

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give no weights."""
        return iter(())

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Outline the bright blobs of ``[N, 3, H, W]`` normalised images, in px of each."""
        grey = images[:, 0].cpu().numpy() * self.card.std[0] + self.card.mean[0]
        light = np.clip(grey / BRIGHT, 0, 1)
        return [_blobs(image[:rows, :columns]) for image, (rows, columns) in zip(light, image_sizes, strict=True)]


def _blobs(light: NDArray[np.float32]) -> Detections:
    bright = light >= 0.5
    if not bright.any():
        return Detections.empty(masks=True)
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    bright = bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most of a chip is dark
    corner = np.array([columns[0], rows[0]])
    found = [
        _outlined(light, np.array(shape["coordinates"][0], np.int64) + corner)
        for shape, _ in rasterio.features.shapes(bright.astype(np.uint8), mask=bright)
    ]
    scores = np.ones(len(found), np.float32)
    return Detections(
        boxes=np.array([box for box, _ in found]),
        scores=scores,
        labels=np.zeros(len(found), np.int64),
        masks=np.array([mask for _, mask in found]),
        mask_scores=scores * np.float32(1 + MASK_IOU_SHARE),
    )


def _outlined(light: NDArray[np.float32], ring: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Box ``[4]`` and mask of the blob inside a ring of pixel corners."""
    (x1, y1), (x2, y2) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    inside = light[y1:y2, x1:x2] >= 0.5
    if inside.mean() >= _FILLED:
        return _sharpened(light, x1, y1, x2, y2), np.ones((MASK_SIDE, MASK_SIDE), np.float32)
    rows, columns = (
        np.minimum(((np.arange(MASK_SIDE) + 0.5) * side / MASK_SIDE).astype(np.int64), side - 1)
        for side in inside.shape
    )
    return np.array([x1, y1, x2, y2], np.float64), inside[np.ix_(rows, columns)].astype(np.float32)


def _sharpened(light: NDArray[np.float32], x1: int, y1: int, x2: int, y2: int) -> NDArray[np.float64]:
    """Move each edge of an upright rectangle by the light that resampling spilt over it, along its middle lines."""
    column, row = (x1 + x2) // 2, (y1 + y2) // 2
    across, down = light[row].astype(np.float64), light[:, column].astype(np.float64)
    return np.array(
        [
            column - across[max(x1 - 2, 0) : column].sum(),
            row - down[max(y1 - 2, 0) : row].sum(),
            column + across[column : x2 + 2].sum(),
            row + down[row : y2 + 2].sum(),
        ]
    )
