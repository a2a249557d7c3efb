"""What both suppressions take: scored boxes of classes."""

from __future__ import annotations

import torch
from torch import Tensor


def check_candidates(boxes: Tensor, scores: Tensor, labels: Tensor | None, iou: float) -> Tensor:
    """Refuse what is no boxes ``[D, 4]``, scores ``[D]``, labels ``[D]`` or threshold; return labels, 0 if None."""
    if labels is None:
        labels = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [D, 4], got {list(boxes.shape)}")
    for name, values in (("scores", scores), ("labels", labels)):
        if values.ndim != 1 or values.shape[0] != boxes.shape[0]:
            raise ValueError(f"{name} must be [D], got {list(values.shape)} with boxes {list(boxes.shape)}")
        if values.device != boxes.device:
            raise ValueError(f"{name} on {values.device}, boxes on {boxes.device}")
    if not boxes.is_floating_point() or not scores.is_floating_point():
        raise ValueError(f"boxes and scores must be floating point, got {boxes.dtype} and {scores.dtype}")
    if not 0 <= iou <= 1:
        raise ValueError(f"an IoU is from 0 to 1, got {iou}")
    return labels


def by_score(scores: Tensor) -> Tensor:
    """Order ``[D]`` float64 scores: the best first, ties by position, what is not a number last."""
    ranked = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    return ranked.argsort(stable=True, descending=True)


def class_numbers(labels: Tensor) -> Tensor:
    """Give labels ``[D]`` of any type as int64; equal stays equal, and what is not a number differs from all."""
    if labels.is_floating_point():
        labels = torch.unique(labels, return_inverse=True)[1]
    return labels.to(torch.int64)


def solid(boxes: Tensor) -> Tensor:
    """Give boxes ``[D, 4]`` as float64, those that overlap nothing, not even themselves, as zeros."""
    boxes = boxes.double()
    sizes = boxes[:, 2:] - boxes[:, :2]
    area = sizes.prod(1)
    overlaps = (sizes > 0).all(1) & (area > 0) & (area < torch.inf)
    return torch.where(overlaps[:, None], boxes, 0.0)
