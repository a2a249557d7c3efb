"""Non-maximum suppression for torch: arguments, schema and one kernel per device."""

from __future__ import annotations

import torch
from torch import Tensor

from d2det_ops.candidates import check_candidates
from d2det_ops.gpu import usable
from d2det_ops.nms import cpu

MOST = 65536  # boxes: above, the bits of all pairs would fill more than 512 MiB of a GPU


def nms(boxes: Tensor, scores: Tensor, labels: Tensor | None, iou: float) -> Tensor:
    """Take the best box again and again, and drop those of its class that overlap it by more than ``iou``.

    Overlaps are computed in float64, in the order of ``torchvision.ops.nms``: what is kept of a class is what
    that keeps of float64 boxes. A box that is empty or not finite overlaps nothing; a score that is not a
    number is worse than all others. Has no gradient. On GPUs more than 65 536 boxes go through the CPU.

    Args:
        boxes: ``[D, 4]`` xyxy px.
        scores: ``[D]``.
        labels: ``[D]``, or None if all are of one class. Boxes of different classes never suppress each other.
        iou: overlap above which the worse of two boxes is dropped, from 0 to 1.

    Returns:
        Positions ``[kept]`` int64 of what is kept, by descending score, ties by lower position.
    """
    labels = check_candidates(boxes, scores, labels, iou)
    kept: Tensor = _nms(boxes.detach(), scores.detach(), labels, iou)
    return kept


@torch.library.custom_op("d2det::nms", mutates_args=(), device_types="cpu")
def _nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    return cpu.nms(boxes, scores, labels, iou)


@_nms.register_kernel("cuda")
def _(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    if len(boxes) > MOST or not usable(boxes.device):
        return cpu.nms(boxes.cpu(), scores.cpu(), labels.cpu(), iou).to(boxes.device)
    from d2det_ops.nms import kernel

    return kernel.nms(boxes, scores, labels, iou)


@_nms.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    return scores.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)
