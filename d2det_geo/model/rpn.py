"""torchvision's region proposal network, taught about ignore regions."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from d2det_geo.model.targets import inside_ignored

RATIOS = (0.5, 1.0, 2.0)


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc] # torchvision is untyped
    """Faster R-CNN's RPN; background anchors mostly inside an ignore region count neither way."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Match anchors to objects: 1 is an object, 0 background, -1 left out of the loss."""
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


def build_rpn(
    channels: int, anchor_sizes: tuple[int, ...], pre_nms: dict[str, int], post_nms: dict[str, int]
) -> ProposalNetwork:
    """Build the RPN of the specification's section 3.

    Args:
        channels: of the pyramid.
        anchor_sizes: side of the square anchor of each level P2 to P6, px.
        pre_nms: proposals per level before NMS, for ``training`` and ``testing``.
        post_nms: proposals per image after it, likewise.
    """
    anchors = AnchorGenerator(tuple((size,) for size in anchor_sizes), (RATIOS,) * len(anchor_sizes))
    head = RPNHead(channels, len(RATIOS))
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return ProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, pre_nms, post_nms, nms_thresh=0.7)
