"""Photographs as the authors' COCO detectors are shown them: short side 800 px, long side at most 1333 px.

Pixels, boxes and masks are resized to the last bit as their code did with OpenCV, so that what comes out of an imported
checkpoint, and what one is trained on, is comparable with published numbers. Scenes are never resized like this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2det_geo.detections import Detections
from d2det_geo.model.convention import Convention, clip_boxes, from_corners, to_corners
from d2det_geo.model.d2det import D2Det
from d2det_geo.pipeline.device import device_of
from d2det_geo.pipeline.network import normalised

LONG, SHORT = 1333, 800  # px
WEIGHT_BITS = 11  # OpenCV's bilinear weights are whole 2048ths


@dataclass(frozen=True, slots=True)
class Enlargement:
    """One factor for both sides, and the size it leads to."""

    factor: float
    size: tuple[int, int]
    """(h, w), px"""


def fit(height: int, width: int, long: int = LONG, short: int = SHORT) -> Enlargement:
    """Bring the short side of ``height`` x ``width`` px to ``short``, or the long one to ``long`` if that is less."""
    factor = min(long / max(height, width), short / min(height, width))
    return Enlargement(factor, (int(height * factor + 0.5), int(width * factor + 0.5)))


def enlarge(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize ``[C, H, W]`` to ``size`` (h, w) bilinearly, with the whole-number arithmetic of OpenCV."""
    height, width = pixels.shape[1:]
    left, right, shares = _neighbours(width, size[1])
    wide = pixels.astype(np.int32)
    across = (wide[:, :, left] * shares[0] + wide[:, :, right] * shares[1]) >> 4
    top, bottom, shares = _neighbours(height, size[0])
    upper, lower = (across[:, rows] * share[:, None] >> 16 for rows, share in zip((top, bottom), shares, strict=True))
    resized: NDArray[np.uint8] = ((upper + lower + 2) >> 2).astype(np.uint8)
    return resized


def _neighbours(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32]]:
    """The pixels on either side of each new one, and their shares ``[2, new_length]``; the edge is repeated."""
    position = ((np.arange(new_length) + 0.5) / (new_length / length) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.intp)
    second_share = position - first.astype(np.float32)
    shares = np.stack([1 - second_share, second_share]) * np.float32(1 << WEIGHT_BITS)
    return first.clip(0, length - 1), (first + 1).clip(0, length - 1), np.rint(shares).astype(np.int32)


def enlarge_boxes(boxes: Tensor, to: Enlargement, convention: Convention = Convention.LEGACY) -> Tensor:
    """Resize the boxes of objects, ``[D, 4]`` px of the photograph, and clip them to the enlarged one."""
    return clip_boxes(scale_boxes(boxes, to.factor, convention), to.size, convention)


def scale_boxes(boxes: Tensor, factor: float, convention: Convention) -> Tensor:
    """Multiply ``[D, 4]`` boxes by ``factor``; the authors multiply first and last pixel."""
    return from_corners(to_corners(boxes, convention) * factor, convention)


def enlarge_masks(masks: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize ``[D, H, W]`` to ``size`` (h, w), each pixel from the nearest one above and to the left."""
    rows, columns = (
        np.minimum(np.arange(new) * (1 / (new / old)), old - 1).astype(np.intp)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows[:, None], columns]


def detect_photograph(network: D2Det, pixels: NDArray[np.uint8], long: int = LONG, short: int = SHORT) -> Detections:
    """Find the objects of a photograph as the authors' test does.

    Args:
        network: in evaluation mode, from ``load_model``.
        pixels: ``[3, H, W]`` red, green, blue.
        long: most px its long side is brought to.
        short: px its short side is brought to, if ``long`` allows.

    Returns:
        Objects in px of the photograph, by descending score.
    """
    height, width = pixels.shape[1:]
    to = fit(height, width, long, short)
    images = normalised([enlarge(pixels, to.size)], network.card, device_of(network))
    (found,) = network.detect(images, [to.size])
    boxes = scale_boxes(torch.from_numpy(found.boxes), 1 / to.factor, network.convention)
    return replace(found, boxes=boxes.numpy())
