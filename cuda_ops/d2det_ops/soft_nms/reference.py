"""Linear soft-NMS in plain torch."""

import torch
from torch import Tensor
from torchvision.ops import box_iou


def soft_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, iou: float = 0.5, least_score: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Take the best box again and again, scaling the scores of its class it overlaps by ``1 - IoU``.

    D2Det specification, section 9 step 8. Ties go to the first box.

    Args:
        boxes: ``[D, 4]`` xyxy px.
        scores: ``[D]``.
        labels: ``[D]``; boxes of different classes never touch each other's scores.
        iou: overlap above which a score decays.
        least_score: boxes that fall below it are dropped.

    Returns:
        Positions of the kept boxes and their decayed scores, both by descending score.
    """
    scores = scores.clone()
    overlap = box_iou(boxes, boxes) * (labels[:, None] == labels[None, :])
    decay = torch.where(overlap > iou, 1 - overlap, 1.0).fill_diagonal_(1.0)
    waiting = scores >= least_score
    order, kept = [], []
    while bool(waiting.any()):
        best = int(torch.where(waiting, scores, -1.0).argmax())
        order.append(best)
        kept.append(scores[best].clone())
        waiting[best] = False
        scores = torch.where(waiting, scores * decay[best], scores)
        waiting &= scores >= least_score
    index = torch.tensor(order, dtype=torch.long, device=boxes.device)
    return index, torch.stack(kept) if kept else scores.new_zeros(0)
