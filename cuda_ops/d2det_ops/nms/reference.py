"""Non-maximum suppression in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from d2det_ops.candidates import by_score


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Do what ``d2det_ops.nms`` does with all pairs at once, ``[D, D]``."""
    overlap = box_iou(boxes.double(), boxes.double())
    suppresses = (overlap > iou) & (labels[:, None] == labels[None, :])
    order = by_score(scores.double())
    waiting = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    kept = []
    for best in order.tolist():
        if waiting[best]:
            kept.append(best)
            waiting &= ~suppresses[best]
    return torch.tensor(kept, dtype=torch.int64, device=scores.device)
