"""torchvision's region proposal network, taught about ignore regions and conventions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import box_iou

from d2det_geo.model.anchors import RATIOS, Anchors
from d2det_geo.model.coder import DeltaCoder
from d2det_geo.model.convention import Convention, clip_boxes
from d2det_geo.model.matching import match_legacy
from d2det_geo.model.targets import inside_ignored

OBJECT, BACKGROUND = 0.7, 0.3  # IoU from which an anchor is an object, and below which it is background


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc] # torchvision is untyped
    """Faster R-CNN's RPN; background anchors mostly inside an ignore region count neither way."""

    def __init__(
        self, anchors: Anchors, head: RPNHead, pre_nms: dict[str, int], post_nms: dict[str, int], convention: Convention
    ) -> None:
        super().__init__(anchors, head, OBJECT, BACKGROUND, 256, 0.5, pre_nms, post_nms, nms_thresh=0.7)
        self.convention = convention
        self.box_coder = DeltaCoder((1.0, 1.0, 1.0, 1.0), convention)
        if convention is Convention.LEGACY:
            self.min_size = 0.0  # no proposal is too small

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Keep the best proposals ``[N, A, 4]`` of each image and their scores."""
        if self.convention is Convention.LEGACY:  # before torchvision does it its way
            clipped = [
                clip_boxes(part, size, self.convention) for part, size in zip(proposals, image_shapes, strict=True)
            ]
            proposals = torch.stack(clipped)
        boxes, scores = super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        return boxes, scores

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Match anchors to objects: 1 is an object, 0 background, -1 left out of the loss."""
        if self.convention is Convention.LEGACY:
            labels, matched = assign_legacy(anchors, targets)
        else:
            labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            label[(label == 0) & inside_ignored(anchor, target["ignored"])] = -1.0
        return labels, matched

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Average both losses over sampled anchors; nothing to sample (all ignored) costs nothing."""
        if not any(bool((label >= 0).any()) for label in labels):
            return objectness.sum() * 0.0, deltas.sum() * 0.0
        objectness_loss, box_loss = super().compute_loss(objectness, deltas, labels, targets)
        return objectness_loss, box_loss


def assign_legacy(anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Match anchors that lie inside their image, an object's best ones only from the background's limit on."""
    labels, matched = [], []
    for boxes, target in zip(anchors, targets, strict=True):
        objects, size = target["boxes"], target["size"].to(boxes)
        label = torch.full((len(boxes),), -1.0, device=boxes.device)
        match = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        inside = ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= size.flip(0))).all(1)
        match[inside] = match_legacy(box_iou(objects, boxes[inside]), OBJECT, BACKGROUND)
        label[inside] = torch.where(match[inside] >= 0, 1.0, match[inside] + 1.0)  # -1 is background, -2 neither
        labels.append(label)
        matched.append(objects[match.clamp(min=0)] if len(objects) else torch.zeros_like(boxes))
    return labels, matched


def build_rpn(
    channels: int,
    anchor_sizes: tuple[int, ...],
    pre_nms: dict[str, int],
    post_nms: dict[str, int],
    convention: Convention,
) -> ProposalNetwork:
    """Build the RPN of the specification's section 3.

    Args:
        channels: of the pyramid.
        anchor_sizes: side of the square anchor of each level P2 to P6, px.
        pre_nms: proposals per level before NMS, for ``training`` and ``testing``.
        post_nms: proposals per image after it, likewise.
        convention: how anchors, clipping and matching count pixels.
    """
    head = RPNHead(channels, len(RATIOS))
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return ProposalNetwork(Anchors(anchor_sizes, convention), head, pre_nms, post_nms, convention)
