"""Non-maximum suppression on the CPU: every kept box looks at its neighbours only."""

from __future__ import annotations

import torch
from torch import Tensor

from d2det_ops.candidates import by_score, class_numbers
from d2det_ops.suppression import place, suppress


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Do what ``d2det_ops.nms`` does."""
    corners = boxes.double().contiguous().numpy()
    classes = class_numbers(labels).contiguous().numpy()
    order = by_score(scores.double()).numpy()
    return torch.from_numpy(suppress(corners, classes, order, place(corners, classes, iou), iou))
