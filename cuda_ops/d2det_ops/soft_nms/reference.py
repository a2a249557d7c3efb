"""Soft-NMS in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou: float = 0.5,
    least_score: float = 1e-3,
    method: str = "linear",
    sigma: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Do what ``d2det_ops.soft_nms`` does with all pairs at once, ``[D, D]``."""
    overlap = box_iou(boxes.double(), boxes.double())
    if method == "linear":
        decay = torch.where(overlap > iou, (1 - overlap).clamp(min=0), 1.0)
    else:
        decay = torch.where(overlap > 0, (-(overlap**2) / sigma).exp(), 1.0)
    decay = torch.where(labels[:, None] == labels[None, :], decay, 1.0)
    left = scores.double()
    waiting = left >= least_score
    order, kept = [], []
    while bool(waiting.any()):
        best = int(torch.where(waiting, left, -1.0).argmax())
        order.append(best)
        kept.append(float(left[best]))
        waiting[best] = False
        left = torch.where(waiting, left * decay[best], left)
        waiting &= left >= least_score
    index = torch.tensor(order, dtype=torch.int64, device=scores.device)
    return index, torch.tensor(kept, dtype=torch.float64, device=scores.device).to(scores.dtype)
