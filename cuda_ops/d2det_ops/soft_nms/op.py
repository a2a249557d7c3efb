"""Soft-NMS for torch: arguments, schema and one kernel per device."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from d2det_ops.candidates import check_candidates
from d2det_ops.gpu import usable
from d2det_ops.soft_nms import cpu


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    *,
    iou: float = 0.5,
    least_score: float = 1e-3,
    method: Literal["linear", "gaussian"] = "linear",
    sigma: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Take the best box again and again, and lower the scores of its class it overlaps.

    D2Det specification, section 9 step 8. Overlaps and scores are computed in float64. A box that is empty or
    not finite overlaps nothing; a score that is not a number is dropped. Ties go to the lower position. Scores
    have no gradient: which box decays which is a choice.

    Args:
        boxes: ``[D, 4]`` xyxy px.
        scores: ``[D]``.
        labels: ``[D]``, or None if all are of one class. Boxes of different classes never touch each other's scores.
        iou: overlap above which a score decays, if ``linear``.
        least_score: boxes that fall below it are dropped, at least 0.
        method: ``linear`` scales by ``1 - IoU``, ``gaussian`` by ``exp(-IoU² / sigma)`` whatever the overlap.
        sigma: of the Gaussian, above 0.

    Returns:
        Positions ``[kept]`` int64 of the kept boxes and their decayed scores, both by descending score.
    """
    labels = check_candidates(boxes, scores, labels, iou)
    if method not in ("linear", "gaussian"):
        raise ValueError(f"method is linear or gaussian, got {method!r}")
    if not least_score >= 0 or not sigma > 0:
        raise ValueError(f"least_score must be at least 0 and sigma above 0, got {least_score} and {sigma}")
    spread = sigma if method == "gaussian" else 0.0
    index, kept = _soft_nms(boxes.detach(), scores.detach(), labels, iou, least_score, spread)
    return index, kept


@torch.library.custom_op("d2det::soft_nms", mutates_args=(), device_types="cpu")
def _soft_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, least_score: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """Sigma 0 is linear."""
    return cpu.soft_nms(boxes, scores, labels, iou, least_score, sigma)


@_soft_nms.register_kernel("cuda")
def _(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, least_score: float, sigma: float
) -> tuple[Tensor, Tensor]:
    if not usable(boxes.device):
        index, kept = cpu.soft_nms(boxes.cpu(), scores.cpu(), labels.cpu(), iou, least_score, sigma)
        return index.to(boxes.device), kept.to(boxes.device)
    from d2det_ops.soft_nms import kernel

    return kernel.soft_nms(boxes, scores, labels, iou, least_score, sigma)


@_soft_nms.register_fake
def _(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, least_score: float, sigma: float
) -> tuple[Tensor, Tensor]:
    kept = torch.library.get_ctx().new_dynamic_size()
    return scores.new_empty(kept, dtype=torch.int64), scores.new_empty(kept)
