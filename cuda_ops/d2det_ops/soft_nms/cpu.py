"""Soft-NMS on the CPU: every kept box looks at its neighbours only."""

from __future__ import annotations

import torch
from torch import Tensor

from d2det_ops.candidates import by_score, class_numbers
from d2det_ops.suppression import decay, place


def soft_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, least_score: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """Do what ``d2det_ops.soft_nms`` does; linear if ``sigma`` is 0."""
    corners = boxes.double().contiguous().numpy()
    classes = class_numbers(labels).contiguous().numpy()
    ranked = scores.double()
    order = by_score(ranked)[: int((ranked >= least_score).sum())].numpy()
    left = ranked.clone(memory_format=torch.contiguous_format).numpy()
    grid = place(corners, classes, 0.0 if sigma else iou)
    kept = torch.from_numpy(decay(corners, classes, order, left, grid, (iou, least_score, sigma)))
    return kept, torch.from_numpy(left)[kept].to(scores.dtype)
