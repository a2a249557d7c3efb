"""One training step with what the authors drew at random in theirs, and everything to compare of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from d2det_geo.model import d2det
from d2det_geo.model.d2det import D2Det
from d2det_geo.model.official import official_name
from d2det_geo.model.targets import Positives, SampledRoIs, Targets, stack_rois
from tests.golden.goldens import golden
from tests.golden.network import IMAGE_SIZE, images, our_boxes

STEP = golden("r50_train")


def truth(image: int) -> Targets:
    """Give the objects of an image."""
    return Targets(our_boxes(STEP[f"gt_bboxes_{image}"]), STEP[f"gt_labels_{image}"] - 1, None, torch.zeros(0, 4))


def their_sample(image: int) -> SampledRoIs:
    """Give the RoIs they drew."""
    positives, negatives = STEP[f"samp_pos_bboxes_{image}"], STEP[f"samp_neg_bboxes_{image}"]
    return SampledRoIs(
        our_boxes(torch.cat([positives, negatives])),
        STEP["cls_labels"][512 * image :][:512],
        torch.cat([STEP[f"samp_pos_assigned_gt_inds_{image}"], torch.zeros(len(negatives), dtype=torch.long)]),
        len(positives),
    )


def their_positives() -> Positives:
    """Give the jittered ones among them they localised."""
    chosen = STEP["sample_idx"]
    rois = stack_rois([our_boxes(STEP[f"jittered_pos_bboxes_{image}"]) for image in range(2)])
    objects = torch.cat([our_boxes(STEP[f"samp_pos_gt_bboxes_{image}"]) for image in range(2)])
    return Positives(rois[chosen], objects[chosen], STEP["pos_labels_sampled"] - 1, None)


def drawn_anchors(image: int) -> Tensor:
    """Give their label of each anchor, -1 where it was not drawn."""
    labels = torch.cat([STEP[f"rpn_labels_{level}"][image] for level in range(5)])
    weights = torch.cat([STEP[f"rpn_label_weights_{level}"][image] for level in range(5)])
    return torch.where(weights > 0, labels, -1)


class TheirDraw:
    """In place of the random choice of anchors; remembers what there was to choose from."""

    def __init__(self) -> None:
        self.labels: list[Tensor] = []

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        self.labels = labels
        drawn = [drawn_anchors(image) for image in range(len(labels))]
        return [label == 1 for label in drawn], [label == 0 for label in drawn]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a step computed."""

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    """of each trainable tensor, by the authors' names"""
    frozen: set[str]
    proposals: list[Tensor]
    anchor_labels: list[Tensor]
    """of each image: what there was to draw from"""
    outputs: dict[str, Any]
    """of the parts: ``rpn`` (objectness and deltas a level), ``classifier`` (logits), ``votes`` (offsets, overlap)"""
    sampled: tuple[list[Tensor], Tensor, Tensor, Tensor]
    """of discriminative pooling: features, RoIs, offsets, and the samples ``[K, C, 14, 14]`` with their gradient"""


def run_step(network: D2Det) -> Step:
    """Run their step: forward with what they drew, and backward."""
    draw, proposals, outputs = TheirDraw(), [], {}
    parts = [their_sample(image) for image in range(2)]

    def draw_rois(boxes: Tensor, *_: Any) -> SampledRoIs:
        proposals.append(boxes)
        return parts[len(proposals) - 1]

    pooling, sampled = network.classifier.pooling, []
    sample = pooling.sample

    def watch(features: list[Tensor], rois: Tensor, offsets: Tensor) -> Tensor:
        sampled.append((features, rois, offsets, sample(features, rois, offsets)))
        sampled[0][-1].retain_grad()
        return sampled[0][-1]

    watched = {"rpn": network.rpn.head, "classifier": network.classifier, "votes": network.localiser.votes}
    hooks = [
        part.register_forward_hook(lambda *call, name=name: outputs.update({name: call[-1]}))
        for name, part in watched.items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.rpn, "fg_bg_sampler", draw)
        patch.setattr(d2det, "sample_rois", draw_rois)
        patch.setattr(d2det, "gather_positives", lambda *_: their_positives())
        patch.setattr(pooling, "sample", watch)
        network.train()
        losses = network(images(), [IMAGE_SIZE] * 2, [truth(0), truth(1)])
        sum(losses.values()).backward()
    for hook in hooks:
        hook.remove()
    network.eval()
    named = {official_name(name): value for name, value in network.named_parameters()}
    gradients = {name: value.grad for name, value in named.items() if value.requires_grad}
    frozen = {name for name, value in named.items() if not value.requires_grad}
    network.zero_grad(set_to_none=True)
    values = {name: value.detach() for name, value in losses.items()}
    return Step(values, gradients, frozen, proposals, draw.labels, outputs, sampled[0])
