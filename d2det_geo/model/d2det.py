"""D2Det (CVPR 2020): classify proposals by discriminative pooling, localise them by dense votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList

from d2det_geo.detections import MASK_IOU_SHARE, Detections
from d2det_geo.model.backbones import freeze_statistics
from d2det_geo.model.bundle import Card
from d2det_geo.model.convention import Convention, clip_refined
from d2det_geo.model.heads import ClassificationHead
from d2det_geo.model.localiser import Localiser
from d2det_geo.model.losses import Reading, class_loss
from d2det_geo.model.rpn import ProposalNetwork
from d2det_geo.model.targets import Targets, gather_positives, sample_rois, stack_rois
from d2det_ops import nms, soft_nms


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which RoIs the losses of the second stage see (sections 4 and 7)."""

    rois: int
    """per image"""
    positive_fraction: float
    """largest share of objects among them"""
    dense_rois: int
    """positives that are localised, per batch"""
    jitter: float
    """largest shift and stretch of a localised positive, share of its size"""
    regression_loss: Reading = "masked"
    """which cells the votes are trained on"""


@dataclass(frozen=True, slots=True)
class Inference:
    """Thresholds and caps of the test-time flow (section 9)."""

    class_score: float
    """a proposal below it is dropped"""
    class_nms: float
    """IoU of the class-wise NMS on proposals"""
    detections: int
    """cap per chip"""
    final_nms: Literal["soft", "hard", "none"]
    """class-wise suppression of refined boxes"""
    final_iou: float
    """its IoU"""
    candidates: int | None = None
    """cap of boxes that are refined, per chip; None is ``detections``"""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Classified boxes of one image."""

    boxes: Tensor
    """``[D, 4]``"""
    scores: Tensor
    """``[D]``"""
    labels: Tensor
    """``[D]`` from 0"""
    capped: bool = False
    """whether a cap was reached on the way here"""

    def select(self, index: Tensor) -> Candidates:
        """Keep the rows of ``index``."""
        return Candidates(self.boxes[index], self.scores[index], self.labels[index], self.capped)

    def best(self, cap: int) -> Candidates:
        """Keep the first ``cap`` rows, and remember if there were as many."""
        reached = self.capped or len(self.boxes) >= cap
        return Candidates(self.boxes[:cap], self.scores[:cap], self.labels[:cap], reached)


class D2Det(nn.Module):
    """The two-stage detector, from parts: ``forward`` gives losses, ``detect`` objects."""

    card: Card
    """what the bundle it was loaded from says; ``load_model`` sets it"""

    def __init__(
        self,
        pyramid: BackboneWithFPN,
        rpn: ProposalNetwork,
        classifier: ClassificationHead,
        localiser: Localiser,
        sampling: Sampling,
        inference: Inference,
        convention: Convention,
    ) -> None:
        super().__init__()
        self.pyramid, self.rpn = pyramid, rpn
        self.classifier, self.localiser = classifier, localiser
        self.sampling, self.inference, self.convention = sampling, inference, convention

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return self.localiser.mask is not None

    def train(self, mode: bool = True) -> D2Det:
        """Switch modes; the backbone's batch norms keep their stored statistics in both."""
        super().train(mode)
        freeze_statistics(self.pyramid)
        return self

    def forward(
        self, images: Tensor, image_sizes: Sequence[tuple[int, int]], targets: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch; training minimises their sum.

        Args:
            images: ``[N, 3, H, W]`` normalised, padded at the right and bottom.
            image_sizes: ``(h, w)`` of each valid part.
            targets: the truth of each image.

        Returns:
            Scalars: rpn_objectness, rpn_box, class, box, and with dense votes overlap, with masks
            mask and mask_iou.
        """
        features = self.pyramid(images)
        truth = [
            {"boxes": target.boxes, "ignored": target.ignored, "size": torch.tensor(size)}
            for target, size in zip(targets, image_sizes, strict=True)
        ]
        proposals, rpn_losses = self.rpn(ImageList(images, list(image_sizes)), features, truth)
        levels = list(features.values())
        limits = self.sampling
        sampled = [
            sample_rois(boxes, target, limits.rois, limits.positive_fraction, self.convention)
            for boxes, target in zip(proposals, targets, strict=True)
        ]
        logits = self.classifier(levels, stack_rois([part.boxes for part in sampled]))
        positives = gather_positives(sampled, targets, image_sizes, limits.jitter, limits.dense_rois, self.convention)
        return {
            "rpn_objectness": rpn_losses["loss_objectness"],
            "rpn_box": rpn_losses["loss_rpn_box_reg"],
            "class": class_loss(logits, torch.cat([part.classes for part in sampled])),
            **self.localiser.losses(levels, positives, limits.regression_loss),
        }

    @torch.no_grad()
    def detect(
        self, images: Tensor, image_sizes: Sequence[tuple[int, int]], proposals: Sequence[Tensor] | None = None
    ) -> list[Detections]:
        """Find the objects of a batch (section 9, and 10.4 with masks). Switch to ``eval()`` first.

        Args:
            images: ``[N, 3, H, W]`` float32, normalised, padded at the right and bottom.
            image_sizes: ``(h, w)`` of each valid part.
            proposals: ``[P, 4]`` boxes of each image to use instead of the RPN's.

        Returns:
            One ``Detections`` per image in its pixels, by descending score, ties by label.
        """
        if self.training:
            raise ValueError("detect() on a network in training mode: call eval() first")
        features = self.pyramid(images.contiguous(memory_format=torch.channels_last))
        levels = list(features.values())
        if proposals is None:
            proposals, _ = self.rpn(ImageList(images, list(image_sizes)), features)
        candidates = self._classify(levels, proposals)
        refined = self._localise(levels, candidates, image_sizes)
        return self._with_masks(levels, [self._suppress(part) for part in refined])

    def _classify(self, levels: Sequence[Tensor], proposals: Sequence[Tensor]) -> list[Candidates]:
        """Score the proposals and keep the best, class by class, where they stand (section 9 steps 2, 3)."""
        scores = self.classifier(levels, stack_rois(proposals)).softmax(1)[:, 1:]
        counts = [len(boxes) for boxes in proposals]
        return [self._best(boxes, part) for boxes, part in zip(proposals, torch.split(scores, counts), strict=True)]

    def _best(self, boxes: Tensor, scores: Tensor) -> Candidates:
        rows, labels = (scores > self.inference.class_score).nonzero().unbind(1)
        found = Candidates(boxes[rows], scores[rows, labels], labels)
        return _class_nms(found, self.inference.class_nms).best(self.inference.candidates or self.inference.detections)

    def _localise(
        self, levels: Sequence[Tensor], candidates: Sequence[Candidates], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Candidates]:
        refined = self.localiser.refine(levels, stack_rois([part.boxes for part in candidates]))
        boxes = torch.split(refined, [len(part.boxes) for part in candidates])
        return [
            Candidates(clip_refined(box, size, self.convention), part.scores, part.labels, part.capped)
            for box, part, size in zip(boxes, candidates, image_sizes, strict=True)
        ]

    def _suppress(self, found: Candidates) -> Candidates:
        """Drop what clipping left empty and, after refinement, duplicates; best first, ties by label."""
        if self.convention is Convention.ALIGNED:  # the authors drop no box, whatever the votes made of it
            found = found.select(((found.boxes[:, 2:] - found.boxes[:, :2]) > 0).all(1))
        match self.inference.final_nms:
            case "soft":
                kept, scores = soft_nms(found.boxes, found.scores, found.labels, iou=self.inference.final_iou)
                found = Candidates(found.boxes[kept], scores, found.labels[kept], found.capped)
            case "hard":
                found = _class_nms(found, self.inference.final_iou)
            case "none":
                pass
        by_label = found.labels.argsort(stable=True)
        by_score = by_label[found.scores[by_label].argsort(descending=True, stable=True)]
        return found.select(by_score).best(self.inference.detections)

    def _with_masks(self, levels: Sequence[Tensor], found: Sequence[Candidates]) -> list[Detections]:
        counts = [len(part.boxes) for part in found]
        masks: Sequence[Tensor | None] = [None] * len(found)
        ious: Sequence[Tensor | None] = [None] * len(found)
        if self.has_masks:
            rois = stack_rois([part.boxes for part in found])
            all_masks, all_ious = self.localiser.masks(levels, rois, torch.cat([part.labels for part in found]))
            masks, ious = torch.split(all_masks, counts), torch.split(all_ious, counts)
        return [_detections(*parts) for parts in zip(found, masks, ious, strict=True)]


def _class_nms(found: Candidates, iou: float) -> Candidates:
    """Suppress class by class."""
    return found.select(nms(found.boxes, found.scores, found.labels, iou))


def _detections(found: Candidates, masks: Tensor | None, mask_ious: Tensor | None) -> Detections:
    scores = found.scores.float()
    return Detections(
        boxes=found.boxes.cpu().numpy().astype(np.float64),
        scores=scores.cpu().numpy(),
        labels=found.labels.cpu().numpy(),
        masks=None if masks is None else masks.float().cpu().numpy(),
        mask_scores=None if mask_ious is None else (scores + MASK_IOU_SHARE * mask_ious.float()).cpu().numpy(),
        capped=found.capped,
    )
