"""What the authors' instance network is trained on, from the specification's section 10 and the parity notes (4.14).

Boxes are theirs, ending at their last pixel; masks are ``[H, W]`` images of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.oracle.flow import resize, votes
from tests.oracle.network import State, cells, conv, mask_ious, mask_logits


def corners(roi: Tensor) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (int(value) for value in roi)
    return x1, y1, x2, y2


def resized_crop(mask: Tensor, roi: Tensor) -> Tensor:
    """The mask in the RoI, ``[28, 28]``, before it is rounded to 0 and 1."""
    x1, y1, x2, y2 = corners(roi)
    return resize(mask[y1 : y2 + 1, x1 : x2 + 1].float(), 28, 28)


def overlap_label(target: Tensor) -> Tensor:
    """``[7, 7]`` of ``[28, 28]``: shrunk to a quarter bilinearly, which reads at 4 i + 1.5."""
    return (F.interpolate(target[None, None], size=(7, 7), mode="bilinear", align_corners=False)[0, 0] > 0.5).float()


def mask_iou_target(logits: Tensor, target: Tensor, mask: Tensor, roi: Tensor) -> Tensor:
    x1, y1, x2, y2 = corners(roi)
    ratio = mask[y1 : y2 + 1, x1 : x2 + 1].sum() / mask.sum()
    predicted = (logits > 0.5).float()
    overlap = (predicted * target).sum()
    return (overlap / (predicted.sum() + target.sum() / (ratio + 1e-7) - overlap + 1e-7)).clamp(min=0)


def vote_losses(boxes: Tensor, objects: Tensor) -> Tensor:
    """``[K, 7, 7]`` of the boxes of cells, ``[K, 7, 7, 4]``."""
    objects = objects[:, None, None]
    low, high = torch.maximum(boxes[..., :2], objects[..., :2]), torch.minimum(boxes[..., 2:], objects[..., 2:])
    shared = (high - low + 1).clamp(min=0).prod(-1)
    areas = [(part[..., 2:] - part[..., :2] + 1).prod(-1) for part in (boxes, objects)]
    iou = (shared / (areas[0] + areas[1] - shared)).clamp(min=1e-6)
    return -torch.where(iou > 0.1, iou, iou + 0.1).log()


def losses(
    state: State, levels: Sequence[Tensor], rois: Tensor, objects: Tensor, labels: Tensor, masks: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Losses of jittered positives ``[K, 4]`` with objects ``[K, 4]`` of classes counted from 1 and their masks."""
    hidden = cells(state, levels, rois)
    logits = mask_logits(state, hidden, labels)
    targets = torch.stack([(resized_crop(mask, roi) >= 0.5).float() for mask, roi in zip(masks, rois, strict=True)])
    overlap = torch.stack([overlap_label(target) for target in targets])
    reached = torch.stack([mask_iou_target(*row) for row in zip(logits.detach(), targets, masks, rois, strict=True)])
    counted = ((reached > 0.1) & (reached <= 1)).float()
    expected = mask_ious(state, hidden, logits.detach(), labels)
    # the weights stand in a column, so the losses are multiplied in all pairs
    pairs = vote_losses(votes(state, hidden, rois), objects).flatten()[None, :] * overlap.flatten()[:, None]
    return {
        "mask": F.binary_cross_entropy_with_logits(logits, targets),
        "mask_iou": 0.5 * (F.mse_loss(expected, reached) * counted).mean(),
        "box": 2.0 * pairs.mean(),
        "overlap": F.binary_cross_entropy_with_logits(
            conv(state, "D2Det_head.D2Det_mask", hidden, 1, 1)[:, 0], overlap
        ),
    }
