"""The authors' test-time pipeline for one image, in their frame: boxes end at their last pixel, classes from 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.oracle.network import (
    STRIDES,
    State,
    cells,
    class_scores,
    conv,
    mask_ious,
    mask_logits,
    pyramid,
    rpn_maps,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration of theirs says about test time."""

    proposals: int
    score: float
    iou: float
    candidates: int
    soft: bool
    detections: int = 100
    samples: int = 1
    """per side of a bin, in the pooling of the classifier"""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """D objects."""

    boxes: Tensor
    """``[D, 4]``"""
    scores: Tensor
    labels: Tensor
    masks: list[Tensor]
    """``[h, w]`` bool of the image, each; empty without masks"""
    mask_scores: Tensor | None


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low + 1).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(-1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Rows that no better box overlaps by more than ``iou``, ascending."""
    overlap = pairwise_iou(boxes, boxes) > iou
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    kept = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if not gone[row]:
            kept.append(row)
            gone |= overlap[row]
    return torch.tensor(sorted(kept), dtype=torch.long)


def soft_nms(boxes: Tensor, scores: Tensor, iou: float, least: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Rows in the order they are taken, and their scores then."""
    left, order, kept = scores.clone(), [], []
    while len(left) and left.max() >= least:
        best = int(left.argmax())
        order.append(best)
        kept.append(float(left[best]))
        overlap = pairwise_iou(boxes[best : best + 1], boxes)[0]
        left = torch.where(overlap > iou, left * (1 - overlap), left)
        left[order] = -1
    return torch.tensor(order, dtype=torch.long), torch.tensor(kept)


def anchors(stride: int, rows: int, columns: int) -> Tensor:
    """``[rows * columns * 3, 4]``."""
    centre, cell = (stride - 1) / 2, []
    for ratio in (0.5, 1.0, 2.0):
        width, height = 8 * stride / math.sqrt(ratio), 8 * stride * math.sqrt(ratio)
        corner = [
            centre - (width - 1) / 2,
            centre - (height - 1) / 2,
            centre + (width - 1) / 2,
            centre + (height - 1) / 2,
        ]
        cell.append(torch.tensor(corner).round())
    y, x = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
    shift = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (shift + torch.stack(cell)).reshape(-1, 4)


def moved(boxes: Tensor, deltas: Tensor, image_size: tuple[int, int]) -> Tensor:
    size = boxes[:, 2:] - boxes[:, :2] + 1
    limit = abs(math.log(16 / 1000))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + size * deltas[:, :2]
    size = size * deltas[:, 2:].clamp(-limit, limit).exp()
    corners = torch.cat([centre - size / 2 + 0.5, centre + size / 2 - 0.5], 1)
    last = torch.tensor([image_size[1] - 1.0, image_size[0] - 1.0]).repeat(2)
    return torch.minimum(corners.clamp(min=0), last)


def propose(state: State, levels: Sequence[Tensor], image_size: tuple[int, int], count: int) -> Tensor:
    boxes, scores = [], []
    for stride, level in zip(STRIDES, levels, strict=True):
        score, deltas = rpn_maps(state, level)
        rows = score.topk(1000).indices if len(score) > 1000 else torch.arange(len(score))
        box = moved(anchors(stride, *level.shape[2:])[rows], deltas[rows], image_size)
        kept = nms(box, score[rows], 0.7)
        boxes.append(box[kept])
        scores.append(score[rows][kept])
    best = torch.cat(scores).argsort(descending=True, stable=True)[:count]
    return torch.cat(boxes)[best]


def classify(scores: Tensor, boxes: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress class by class where the proposals stand; boxes, scores and labels."""
    rows, labels = [], []
    for label in range(1, scores.shape[1]):
        passed = (scores[:, label] > settings.score).nonzero()[:, 0]
        kept = passed[nms(boxes[passed], scores[passed, label], settings.iou)] if len(passed) else passed
        rows.append(kept)
        labels.append(torch.full_like(kept, label))
    row, label = torch.cat(rows), torch.cat(labels)
    if len(row) > settings.candidates:
        best = scores[row, label].argsort(descending=True, stable=True)[: settings.candidates]
        row, label = row[best], label[best]
    return boxes[row], scores[row, label], label


def votes(state: State, hidden: Tensor, boxes: Tensor) -> Tensor:
    """The box of each of the cells ``[K, 576, 7, 7]`` of ``boxes [K, 4]``; ``[K, 7, 7, 4]``."""
    left, right, top, bottom = conv(state, "D2Det_head.D2Det_reg", hidden, 1, 1).relu().unbind(1)
    width, height = ((boxes[:, 2 + axis] - boxes[:, axis])[:, None, None] for axis in (0, 1))
    steps = (torch.arange(7) + 0.5) / 7
    x = boxes[:, 0, None, None] + width * steps[None, None, :]
    y = boxes[:, 1, None, None] + height * steps[None, :, None]
    return torch.stack([x - left * width, y - top * height, x + right * width, y + bottom * height], -1)


def refine(state: State, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Average the boxes of the cells that lie on the object."""
    hidden = cells(state, levels, boxes)
    on_object = conv(state, "D2Det_head.D2Det_mask", hidden, 1, 1)[:, 0] > 0
    total = (votes(state, hidden, boxes) * on_object[..., None]).sum((1, 2))
    return total / (on_object.sum((1, 2))[:, None] + 1e-5)


def suppress_softly(boxes: Tensor, scores: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    rows, kept = [], []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        order, score = soft_nms(boxes[own], scores[own], 0.5)
        rows.append(own[order])
        kept.append(score)
    row, score = torch.cat(rows), torch.cat(kept)
    best = score.argsort(descending=True, stable=True)[:count]
    return boxes[row[best]], score[best], labels[row[best]]


def resize(values: Tensor, height: int, width: int) -> Tensor:
    """Resize ``[H, W]`` bilinearly as OpenCV does: pixel centres on pixel centres, the border repeated."""
    return share_of(values.shape[0], height) @ values @ share_of(values.shape[1], width).T


def share_of(cells_in: int, cells_out: int) -> Tensor:
    place = (torch.arange(cells_out) + 0.5) * cells_in / cells_out - 0.5
    place = place.clamp(0, cells_in - 1)
    return (1 - (place[:, None] - torch.arange(cells_in)).abs()).clamp(min=0)


def paste(mask: Tensor, box: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Draw the probabilities ``[28, 28]`` of a box into an image."""
    height, width = image_size
    x1, y1, x2, y2 = (int(value) for value in box)
    x1, x2 = min(max(x1, 0), width - 1), min(max(x2, 0), width - 1)
    y1, y2 = min(max(y1, 0), height - 1), min(max(y2, 0), height - 1)
    columns, rows = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    image = torch.zeros(image_size, dtype=torch.bool)
    image[y1 : y1 + rows, x1 : x1 + columns] = resize(mask, rows, columns) > 0.5
    return image


@torch.no_grad()
def detect(
    state: State, image: Tensor, image_size: tuple[int, int], settings: Settings, proposals: Tensor | None = None
) -> Found:
    """Find the objects of ``image [1, 3, H, W]`` whose valid part is ``image_size``."""
    levels = pyramid(state, image)
    if proposals is None:
        proposals = propose(state, levels, image_size, settings.proposals)
    scores = class_scores(state, levels, proposals, settings.samples)
    boxes, score, labels = classify(scores, proposals, settings)
    boxes = refine(state, levels, boxes)
    if settings.soft:
        boxes, score, labels = suppress_softly(boxes, score, labels, settings.detections)
    if "D2Det_head.deconv1.weight" not in state:
        return Found(boxes, score, labels, [], None)
    hidden = cells(state, levels, boxes)
    logits = mask_logits(state, hidden, labels)
    masks = [paste(mask, box, image_size) for mask, box in zip(logits.sigmoid(), boxes, strict=True)]
    return Found(boxes, score, labels, masks, score + 0.3 * mask_ious(state, hidden, logits, labels))
