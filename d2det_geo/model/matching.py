"""Which object a box belongs to."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from d2det_geo.model.convention import Convention

POSITIVE_ROI = 0.5  # IoU from which a proposal is an object


def match_rois(proposals: Tensor, objects: Tensor, convention: Convention) -> Tensor:
    """Match proposals ``[P, 4]``, and ``objects`` ``[G, 4]`` behind them, to the objects.

    Legacy proposals are matched without the objects among them, and the best of an object is always its own.

    Returns:
        ``[P + G]`` rows of ``objects``, negative for background.
    """
    if len(objects) == 0:
        return torch.full((len(proposals),), -1, device=proposals.device)
    if convention is Convention.LEGACY:
        matches = match_legacy(box_iou(objects, proposals), POSITIVE_ROI, POSITIVE_ROI)
        return torch.cat([matches, torch.arange(len(objects), device=objects.device)])
    matcher = Matcher(POSITIVE_ROI, POSITIVE_ROI, allow_low_quality_matches=False)
    aligned: Tensor = matcher(box_iou(objects, torch.cat([proposals, objects])))
    return aligned


def match_legacy(iou: Tensor, high: float, low: float) -> Tensor:
    """Match B boxes to G objects as the authors do.

    Args:
        iou: ``[G, B]``.
        high: from here on a box belongs to the object it overlaps most.
        low: below it a box is background; from here on an object takes the boxes that overlap it most
            (all of a tie), whatever else they overlap. The last object wins.

    Returns:
        ``[B]`` rows of objects, -1 for background, -2 for neither.
    """
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), Matcher.BELOW_LOW_THRESHOLD, device=iou.device)
    most, rows = iou.max(0)
    matches = rows.masked_fill(most < high, Matcher.BETWEEN_THRESHOLDS)
    matches = matches.masked_fill(most < low, Matcher.BELOW_LOW_THRESHOLD)
    best = iou.amax(1, keepdim=True)
    claims = (iou == best) & (best >= low)
    owner = torch.where(claims, torch.arange(len(iou), device=iou.device)[:, None], -1).amax(0)
    return torch.where(owner >= 0, owner, matches)
