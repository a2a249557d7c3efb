"""Test-time augmentation: an image at several scales and mirrored, each through the whole network (D2Det*).

The authors' own code falls back to a plain two-stage detector here; this one localises by dense votes in every view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from d2det_geo.detections import MASK_SIDE, Detections
from d2det_geo.model.backbones import SIDE_MULTIPLE
from d2det_geo.model.bundle import Card
from d2det_ops import nms

VOTE_IOU = 0.5  # views that agree at least so well describe one object


class Network(Protocol):
    """What augmentation asks of a network."""

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Find the objects of ``[N, 3, H, W]`` normalised images, in px of each."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the weights."""
        ...


class AugmentedDetector:
    """A network with test-time augmentation, to be used in its place."""

    def __init__(self, network: Network, card: Card, scales: Sequence[float], *, flip: bool) -> None:
        self.network, self.card = network, card
        self.scales, self.flip = tuple(scales), flip

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the network's weights."""
        return self.network.parameters()

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Find the objects of a batch in every view; see ``detect_augmented``."""
        cap = self.card.inference["detections"]
        return detect_augmented(self.network, images, image_sizes, self.scales, flip=self.flip, cap=cap)


@torch.no_grad()
def detect_augmented(
    network: Network,
    images: Tensor,
    image_sizes: Sequence[tuple[int, int]],
    scales: Sequence[float] = (1.0,),
    *,
    flip: bool = False,
    cap: int | None = None,
) -> list[Detections]:
    """Find the objects of a batch in every view of it and merge what the views say.

    Each view goes the whole way: proposals, classification, dense votes and masks. One object is what boxes of one
    class describe that overlap the best of them by IoU 0.5: its box and mask are the means of all, weighted by
    score; its score is the mean over the views, and what a view does not see has score 0 there. One scale of 1
    without ``flip`` is ``network.detect``.

    Args:
        network: in evaluation mode.
        images: ``[N, 3, H, W]`` float32, normalised, padded at the right and bottom.
        image_sizes: ``(h, w)`` of each valid part.
        scales: factors on the sides of the images.
        flip: see each scale mirrored left to right too.
        cap: of merged detections per image; None keeps all.

    Returns:
        As ``network.detect``: in px of the images, by descending score.

    Raises:
        ValueError: there is no scale, or one is not positive.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales must be positive and at least one, got {list(scales)}")
    views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
    found = [_detect_view(network, images, image_sizes, scale, mirrored) for scale, mirrored in views]
    if len(views) == 1:
        return found[0]
    return [merge_views(parts, cap) for parts in zip(*found, strict=True)]


def _detect_view(
    network: Network, images: Tensor, image_sizes: Sequence[tuple[int, int]], scale: float, mirrored: bool
) -> list[Detections]:
    if scale == 1 and not mirrored:
        return network.detect(images, image_sizes)
    sizes = [(max(round(height * scale), 1), max(round(width * scale), 1)) for height, width in image_sizes]
    sides = [-(-max(side) // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in zip(*sizes, strict=True)]
    view = images.new_zeros((*images.shape[:2], *sides))
    for row, image, (height, width), (new_height, new_width) in zip(view, images, image_sizes, sizes, strict=True):
        part = image[None, :, :height, :width]
        if (new_height, new_width) != (height, width):
            part = F.interpolate(part, (new_height, new_width), mode="bilinear", antialias=True)
        row[:, :new_height, :new_width] = part.flip(-1)[0] if mirrored else part[0]
    return [
        _back(found, (width / new_width, height / new_height), width if mirrored else None)
        for found, (height, width), (new_height, new_width) in zip(
            network.detect(view, sizes), image_sizes, sizes, strict=True
        )
    ]


def _back(found: Detections, scale: tuple[float, float], width: int | None) -> Detections:
    """Map a view's detections to the image; ``width`` is the image's if the view is mirrored."""
    found = found.moved(scale)
    if width is None:
        return found
    x1, y1, x2, y2 = found.boxes.T
    masks = None if found.masks is None else found.masks[:, :, ::-1].copy()
    return replace(found, boxes=np.stack([width - x2, y1, width - x1, y2], 1), masks=masks)


def merge_views(views: Sequence[Detections], cap: int | None = None) -> Detections:
    """Make one detection of what several views of an image say of one object.

    Args:
        views: detections in px of the image.
        cap: of what is returned; None keeps all.

    Returns:
        By descending score, ties by label; ``capped`` if a view or the result reached a cap.
    """
    every = Detections.concatenate(views)
    if len(every) == 0:
        return every
    boxes, scores, labels = map(torch.from_numpy, (every.boxes, every.scores.astype(np.float64), every.labels))
    best = nms(boxes, scores, labels, VOTE_IOU)
    agrees = _agreement(boxes, labels, best)
    share = (agrees * scores / (agrees * scores).sum(1, keepdim=True)).numpy()
    voted = share @ every.boxes
    merged = _rescored(every.select(best.numpy()), agrees * scores, [len(view) for view in views])
    masks = None if every.masks is None else _merge_masks(every.boxes, every.masks, voted, share)
    merged = replace(merged, boxes=voted, masks=masks)
    order = np.lexsort((merged.labels, -merged.scores))
    return replace(merged.select(order[:cap]), capped=every.capped or (cap is not None and len(order) >= cap))


def _agreement(boxes: Tensor, labels: Tensor, best: Tensor) -> Tensor:
    """Tell ``[D, V]`` which of V boxes each of the D ``best`` is; what two of them overlap is the nearest."""
    overlap = box_iou(boxes[best], boxes) * (labels[best][:, None] == labels[None, :])
    agrees: Tensor = (overlap >= VOTE_IOU) & (overlap >= overlap.amax(0, keepdim=True))
    return agrees


def _rescored(best: Detections, votes: Tensor, counts: Sequence[int]) -> Detections:
    """Give each detection the mean over all views of the best of its votes ``[D, V]``, 0 where a view has none."""
    parts = [
        part.amax(1) if part.shape[1] else part.new_zeros(len(part)) for part in torch.split(votes, list(counts), 1)
    ]
    scores: NDArray[np.float32] = torch.stack(parts).mean(0).float().numpy()
    mask_scores = None if best.mask_scores is None else best.mask_scores - best.scores + scores
    return replace(best, scores=scores, mask_scores=mask_scores)


def _merge_masks(
    boxes: NDArray[np.float64], masks: NDArray[np.float32], voted: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average ``[V, 28, 28]`` masks over ``[V, 4]`` boxes in the frames of ``[D, 4]`` others, by shares ``[D, V]``."""
    row, column = share.nonzero()
    sampled = _reframed(torch.from_numpy(masks[column]), boxes[column], voted[row]).numpy()
    merged = np.zeros((len(voted), MASK_SIDE, MASK_SIDE), np.float32)
    np.add.at(merged, row, sampled * share[row, column, None, None].astype(np.float32))
    return merged


def _reframed(masks: Tensor, old: NDArray[np.float64], new: NDArray[np.float64]) -> Tensor:
    """Sample ``[K, 28, 28]`` masks that span ``old`` boxes at the cell centres of ``new`` ones; beyond, the edge."""
    steps = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    points = new[:, :2, None] + (new[:, 2:] - new[:, :2])[:, :, None] * steps
    size = np.maximum(old[:, 2:] - old[:, :2], 1e-6)
    unit = torch.from_numpy((points - old[:, :2, None]) / size[:, :, None] * 2 - 1).float()
    x = unit[:, 0, None, :].expand(-1, MASK_SIDE, -1)
    y = unit[:, 1, :, None].expand(-1, -1, MASK_SIDE)
    grid = torch.stack([x, y], -1)
    sampled: Tensor = F.grid_sample(masks[:, None], grid, align_corners=False, padding_mode="border")[:, 0]
    return sampled
