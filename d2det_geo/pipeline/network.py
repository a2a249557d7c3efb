"""Chips through the network: a batch of bytes in, detections in grid px out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor

from d2det_geo.detections import MASK_IOU_SHARE, Detections
from d2det_geo.model.backbones import SIDE_MULTIPLE
from d2det_geo.pipeline.device import device_of
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.windows import scene_windows

if TYPE_CHECKING:
    from d2det_geo.model.bundle import Card

Chip = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""Pixels ``[3, H, W]`` and which of them are valid ``[H, W]``."""
Part = tuple[Detections, Window]
"""Detections in grid px, and the window they were made in."""


class Detector(Protocol):
    """What prediction asks of a network."""

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Find the objects of ``[N, 3, H, W]`` normalised images, in px of each."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the weights, whose device the images are sent to."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ChipNetwork:
    """A network, and how chips are fed to it."""

    detector: Detector
    card: Card
    overlap: int
    """Of neighbouring chips, and of the quarters of one, grid px."""
    batch_size: int
    labels: NDArray[np.int64] | None = None
    """Labels that are wanted; None means all."""
    score: float = 0.0
    """Least score that is wanted: what a cap cuts off below it is not missed."""

    def detect(self, batch: Sequence[tuple[Window, Chip]], tally: Tally) -> list[Part]:
        """Find the objects of at most ``batch_size`` chips of one size.

        A chip where the network reaches its cap of detections, so that wanted ones may be missing, is looked at
        again in overlapping quarters, behind the chip itself: to the seam merger they are windows like any other.
        """
        parts: list[Part] = []
        tally.chips += len(batch)
        for found, (window, chip) in zip(self._run(batch, tally), batch, strict=True):
            parts.append((found, window))
            if found.capped:
                parts += self._quartered(window, chip, tally)
        return parts

    def rehearse(self, shape: tuple[int, int]) -> None:
        """Look at a full batch of noise, chips of ``(height, width)`` px, so that the memory a batch takes shows."""
        noise = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
        chip = (Window(0, 0, shape[1], shape[0]), (noise, np.ones(shape, np.bool_)))
        self._run([chip] * self.batch_size, Tally())

    def _quartered(self, window: Window, chip: Chip, tally: Tally) -> list[Part]:
        """Look at the quarters of a chip, which share as much as chips do."""
        longest = max(window.width, window.height)
        size = -(-(longest + self.overlap) // 2)
        if size >= longest:
            tally.capped_chips += 1
            return []
        quarters = [_cut(chip, window, part) for part in scene_windows(window.width, window.height, size, self.overlap)]
        tally.split_chips += 1
        parts: list[Part] = []
        for start in range(0, len(quarters), self.batch_size):
            some = quarters[start : start + self.batch_size]
            parts += zip(self._run(some, tally), (place for place, _ in some), strict=True)
        tally.capped_chips += sum(found.capped for found, _ in parts)
        return parts

    def _run(self, batch: Sequence[tuple[Window, Chip]], tally: Tally) -> list[Detections]:
        """Give the detections of each chip in grid px; ``capped`` where wanted ones may be missing."""
        chips = [pixels for _, (pixels, _) in batch]
        with torch.inference_mode():
            with tally.timed("read"):
                images = normalised(chips, self.card, device_of(self.detector))
            with tally.timed("network"):
                found = self.detector.detect(images, [chip.shape[1:] for chip in chips])
        return [
            self._kept(detections, valid, tally).moved(offset=(window.col_off, window.row_off))
            for detections, (window, (_, valid)) in zip(found, batch, strict=True)
        ]

    def _kept(self, found: Detections, valid: NDArray[np.bool_], tally: Tally) -> Detections:
        """Drop what is centred where there is no image or of no wanted class; coarsen masks to what a ledger keeps."""
        capped = self._saturated(found)
        seen = _on_image(found.boxes, valid)
        tally.drop("invalid", int((~seen).sum()))
        if self.labels is not None:
            seen &= np.isin(found.labels, self.labels)
        kept = found.select(seen)
        if kept.masks is not None:
            kept = replace(kept, masks=kept.masks.astype(np.float16).astype(np.float32))
        return replace(kept, capped=capped)

    def _saturated(self, found: Detections) -> bool:
        """Tell whether the network reached its cap, and what it cut off could have had the least score."""
        limits = self.card.inference
        if not (found.capped or len(found) >= limits["detections"]):
            return False
        if len(found) == 0 or limits.get("final_nms") == "soft":  # which lowers scores: they bound nothing
            return True
        best_cut_off = float(found.scores.min())  # the cap keeps the best
        if found.mask_scores is not None:
            best_cut_off = (best_cut_off + MASK_IOU_SHARE) / (1 + MASK_IOU_SHARE)  # as ``Detections.ranked``
        return best_cut_off >= self.score


def normalised(chips: Sequence[NDArray[np.uint8]], card: Card, device: torch.device) -> Tensor:
    """Stack chips of one size as the network wants them.

    Args:
        chips: N of ``[3, H, W]``; they travel to the device as bytes.
        card: mean and standard deviation of each band, in grey levels.
        device: of the network.

    Returns:
        ``[N, 3, H', W']`` float32, zero (the mean colour) beyond H and W, whose multiples of 32 H' and W' are.
    """
    if device.type == "cpu":
        return torch.from_numpy(_normalised(np.stack(chips), card))
    pixels = torch.from_numpy(np.stack(chips)).to(device)
    mean = torch.tensor(card.mean, device=device).reshape(3, 1, 1)
    std = torch.tensor(card.std, device=device).reshape(3, 1, 1)
    height, width = pixels.shape[2:]
    images = torch.zeros((len(chips), 3, _multiple(height), _multiple(width)), device=device)
    images[:, :, :height, :width].copy_(pixels).sub_(mean).div_(std)
    return images


def _normalised(pixels: NDArray[np.uint8], card: Card) -> NDArray[np.float32]:
    """Do it on one thread: torch's would wait for each other, busily, beside those that read."""
    mean = np.array(card.mean, np.float32).reshape(3, 1, 1)
    std = np.array(card.std, np.float32).reshape(3, 1, 1)
    count, _, height, width = pixels.shape
    images = np.zeros((count, 3, _multiple(height), _multiple(width)), np.float32)
    inside = images[:, :, :height, :width]
    np.subtract(pixels, mean, out=inside, dtype=np.float32)
    np.divide(inside, std, out=inside)
    return images


def _multiple(side: int) -> int:
    return -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE


def _cut(chip: Chip, window: Window, part: Window) -> tuple[Window, Chip]:
    """Cut a part, in px of the chip, out of the chip of a window."""
    pixels, valid = chip
    rows, columns = part.toslices()
    place = Window(window.col_off + part.col_off, window.row_off + part.row_off, part.width, part.height)
    return place, (np.ascontiguousarray(pixels[:, rows, columns]), valid[rows, columns])


def _on_image(boxes: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which boxes have their centre in a valid pixel of their chip."""
    height, width = valid.shape
    column = np.clip((boxes[:, 0] + boxes[:, 2]) / 2, 0, width - 1).astype(np.intp)
    row = np.clip((boxes[:, 1] + boxes[:, 3]) / 2, 0, height - 1).astype(np.intp)
    seen: NDArray[np.bool_] = valid[row, column]
    return seen
