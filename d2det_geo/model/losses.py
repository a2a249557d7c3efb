"""The losses of the second stage. Each returns 0 with a gradient path when it has nothing to judge."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

CLASS_WEIGHT = 2.0
REGRESSION_WEIGHT = 2.0
MASK_IOU_WEIGHT = 0.5

Reading = Literal["masked", "official"]
"""Which cells a loss with per-cell weights trains: ``masked`` those with a weight, as the paper's text has it;
``official`` all, by the mean weight, as the authors' code does (section 8)."""


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Softmax cross-entropy over ``[K, M + 1]`` logits, averaged over RoIs, times 2 (section 5.4)."""
    if len(classes) == 0:
        return logits.sum() * 0.0
    return CLASS_WEIGHT * F.cross_entropy(logits.float(), classes)


def vote_loss(votes: Tensor, objects: Tensor) -> Tensor:
    """Loss of each vote: ``-ln IoU``, eased to ``-ln(IoU + 0.1)`` where the IoU is at most 0.1 (section 8).

    Args:
        votes: ``[K, 7, 7, 4]`` decoded boxes.
        objects: ``[K, 4]``.

    Returns:
        ``[K, 7, 7]``.
    """
    truth = objects[:, None, None, :]
    low = torch.maximum(votes[..., :2], truth[..., :2])
    high = torch.minimum(votes[..., 2:], truth[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (votes[..., 2:] - votes[..., :2]).prod(-1)
    union = area + (truth[..., 2:] - truth[..., :2]).prod(-1) - shared
    iou = (shared / union.clamp(min=1e-6)).clamp(min=1e-6)
    return -torch.where(iou > 0.1, iou, iou + 0.1).log()


def regression_loss(votes: Tensor, objects: Tensor, overlap: Tensor, reading: Reading) -> Tensor:
    """Mean vote loss over the cells that lie on the object, times 2: what the paper's text describes.

    The ``official`` loss is the mean over all cells times the share of cells on objects.

    Args:
        votes: ``[K, 7, 7, 4]`` decoded boxes.
        objects: ``[K, 4]``.
        overlap: ``[K, 7, 7]`` labels of the cells.
        reading: which cells count.
    """
    if reading == "official":
        return REGRESSION_WEIGHT * _product_of_means(vote_loss(votes, objects), overlap)
    total = (vote_loss(votes, objects) * overlap).sum()
    return REGRESSION_WEIGHT * total / overlap.sum().clamp(min=1.0)


def overlap_loss(logits: Tensor, overlap: Tensor) -> Tensor:
    """Binary cross-entropy of the ``[K, 7, 7]`` overlap logits, averaged over all cells."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits.float(), overlap)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of ``[K, 28, 28]`` mask logits, averaged over all pixels (section 10.3)."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def mask_iou_loss(predicted: Tensor, targets: Tensor, reading: Reading) -> Tensor:
    """Squared error of ``[K]`` mask IoUs over those above 0.1, averaged over all, times 0.5 (section 10.3)."""
    if len(predicted) == 0:
        return predicted.sum() * 0.0
    error, counted = (predicted.float() - targets) ** 2, ((targets > 0.1) & (targets <= 1)).float()
    if reading == "official":
        return MASK_IOU_WEIGHT * _product_of_means(error, counted)
    return MASK_IOU_WEIGHT * (error * counted).mean()


def _product_of_means(losses: Tensor, weights: Tensor) -> Tensor:
    """What the mean of every loss times every weight comes to, without making them all."""
    return losses.sum() * weights.sum() / max(losses.numel() * weights.numel(), 1)
