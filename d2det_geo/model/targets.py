"""What the second stage is asked to predict: sampled RoIs, votes, overlap labels and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from d2det_geo.detections import MASK_SIDE
from d2det_geo.model.convention import Convention, clip_boxes, from_corners, mask_frame, to_corners
from d2det_geo.model.matching import match_rois

CELLS = 7  # votes per side of a RoI
_TINY = 1e-7  # keeps the authors' quotients finite
IGNORED_SHARE = 0.5  # a box with more of its area than this in an ignore region is left out


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The truth of one image, in its pixels."""

    boxes: Tensor
    """``[G, 4]`` float32 xyxy."""
    labels: Tensor
    """``[G]`` int64 from 0."""
    masks: Tensor | None
    """``[G, M, M]`` uint8 or bool, spanning each box from edge to edge; None without outlines."""
    ignored: Tensor
    """``[I, 4]`` float32 xyxy: what lies in there is neither object nor background."""

    def to(self, device: torch.device) -> Targets:
        """Move every tensor to ``device``."""
        masks = None if self.masks is None else self.masks.to(device)
        return Targets(self.boxes.to(device), self.labels.to(device), masks, self.ignored.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class SampledRoIs:
    """The RoIs of one image the losses see: K in all, positives first."""

    boxes: Tensor
    """``[K, 4]`` xyxy px."""
    classes: Tensor
    """``[K]`` class index plus one; 0 is background."""
    matches: Tensor
    """``[K]`` row of the matched object; only positives mean anything."""
    positives: int
    """How many of the first rows are objects."""


def inside_ignored(boxes: Tensor, ignored: Tensor) -> Tensor:
    """Tell which of ``boxes`` ``[B, 4]`` lie mostly inside one of ``ignored`` ``[I, 4]``; ``[B]`` bool."""
    if len(ignored) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    low = torch.maximum(boxes[:, None, :2], ignored[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)
    inside: Tensor = (shared > IGNORED_SHARE * area[:, None]).any(1)
    return inside


def sample_rois(
    proposals: Tensor, targets: Targets, count: int, positive_fraction: float, convention: Convention
) -> SampledRoIs:
    """Label proposals by IoU 0.5 and draw ``count`` of them (section 4); objects join the proposals.

    Uses torch's global random generator.
    """
    boxes = torch.cat([proposals, targets.boxes])
    matches = match_rois(proposals, targets.boxes, convention)
    classes = torch.zeros_like(matches)
    if len(targets.boxes):
        classes = torch.where(matches >= 0, targets.labels[matches.clamp(min=0)] + 1, 0)
    usable = torch.where((classes == 0) & inside_ignored(boxes, targets.ignored), -1, classes)
    positive, negative = BalancedPositiveNegativeSampler(count, positive_fraction)([usable])
    chosen = torch.cat([positive[0].nonzero()[:, 0], negative[0].nonzero()[:, 0]])
    return SampledRoIs(boxes[chosen], classes[chosen], matches[chosen].clamp(min=0), int(positive[0].sum()))


def jitter_boxes(boxes: Tensor, amount: float, image_size: tuple[int, int], convention: Convention) -> Tensor:
    """Shift and stretch ``[K, 4]`` boxes by up to ``amount`` of their size, clipped to the image (section 7.2)."""
    noise = (torch.rand(len(boxes), 4, device=boxes.device) * 2 - 1) * amount
    return clip_boxes(move_boxes(boxes, noise, convention), image_size, convention)


def move_boxes(boxes: Tensor, noise: Tensor, convention: Convention) -> Tensor:
    """Shift ``[K, 4]`` boxes by ``noise[:, :2]`` of their size and stretch them by ``noise[:, 2:]``."""
    corners = to_corners(boxes, convention)
    size = corners[:, 2:] - corners[:, :2]
    centre = (corners[:, :2] + corners[:, 2:]) / 2 + size * noise[:, :2]
    half = size * (1 + noise[:, 2:]) / 2
    return from_corners(torch.cat([centre - half, centre + half], 1), convention)


def cell_centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the 7x7 cells of ``[K, 4]`` boxes: x ``[K, 1, 7]`` and y ``[K, 7, 1]`` (section 7.4)."""
    steps = (torch.arange(CELLS, device=boxes.device, dtype=boxes.dtype) + 0.5) / CELLS
    size = boxes[:, 2:] - boxes[:, :2]
    x = boxes[:, 0, None] + size[:, 0, None] * steps
    y = boxes[:, 1, None] + size[:, 1, None] * steps
    return x[:, None, :], y[:, :, None]


def overlap_labels(boxes: Tensor, objects: Tensor, convention: Convention) -> Tensor:
    """Label the cells of ``boxes`` that lie inside ``objects`` by a margin (section 7.6).

    The margin is a sixth of the box on each side: for a box on its object 25 of 49 cells are 1.

    Args:
        boxes: ``[K, 4]`` RoIs.
        objects: ``[K, 4]`` their matched objects.
        convention: decides the width of a RoI and where an object ends.

    Returns:
        ``[K, 7, 7]`` float32 of 0 and 1.
    """
    boxes, objects = to_corners(boxes, convention), to_corners(objects, convention)
    x, y = cell_centres(boxes)
    margin = (boxes[:, 2:] - boxes[:, :2]) / (CELLS - 1)
    left, top, right, bottom = (edge[:, None, None] for edge in objects.unbind(1))
    margin_x, margin_y = (side[:, None, None] for side in margin.unbind(1))
    inside_x = (x - left >= margin_x) & (right - x >= margin_x)
    inside_y = (y - top >= margin_y) & (bottom - y >= margin_y)
    return (inside_x & inside_y).float()


def mask_targets(boxes: Tensor, objects: Tensor, masks: Tensor, convention: Convention) -> Tensor:
    """Sample each object's mask at the 28x28 cell centres of its RoI.

    Args:
        boxes: ``[K, 4]`` RoIs.
        objects: ``[K, 4]`` boxes the masks span.
        masks: ``[K, M, M]``.
        convention: decides what the 28x28 cells span; a legacy RoI looks at no pixel but its own.

    Returns:
        ``[K, 28, 28]`` float32 of 0 and 1; nothing lies outside the object's box.
    """
    boxes = mask_frame(boxes, convention)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    steps = (torch.arange(MASK_SIDE, device=boxes.device, dtype=torch.float32) + 0.5) / MASK_SIDE
    points = low + (high - low) * steps[None, :, None]
    if convention is Convention.LEGACY:  # the authors crop the mask before they resize it
        points = points.clamp(low + 0.5, high - 0.5)
    size = (objects[:, 2:] - objects[:, :2]).clamp(min=1e-6)
    unit = (points - objects[:, None, :2]) / size[:, None] * 2 - 1
    x = unit[:, None, :, 0].expand(-1, MASK_SIDE, -1)
    y = unit[:, :, None, 1].expand(-1, -1, MASK_SIDE)
    sampled = F.grid_sample(masks[:, None].float(), torch.stack([x, y], -1), align_corners=False)
    return (sampled[:, 0] >= 0.5).float()


def overlap_from_masks(masks: Tensor) -> Tensor:
    """Label the 7x7 cells by the central 2x2 of each 4x4 block of ``[K, 28, 28]``: at least 3 set (section 10.2)."""
    blocks = masks.view(len(masks), CELLS, 4, CELLS, 4)
    return (blocks[:, :, 1:3, :, 1:3].mean((2, 4)) > 0.5).float()


def mask_iou_targets(logits: Tensor, targets: Tensor, frames: Tensor, objects: Tensor, masks: Tensor) -> Tensor:
    """IoU of each predicted mask with the whole object, also the part outside the RoI (section 10.2).

    The cells of the whole object are those in the RoI over the share of the object that lies in there.

    Args:
        logits: ``[K, 28, 28]`` of the object's class.
        targets: ``[K, 28, 28]`` from ``mask_targets``.
        frames: ``[K, 4]`` what the 28x28 cells span.
        objects: ``[K, 4]`` boxes the masks span.
        masks: ``[K, M, M]``.

    Returns:
        ``[K]`` from 0 to 1, and a rounding error.
    """
    predicted = (logits > 0.5).float()  # the authors threshold the logit, not the probability
    whole = targets.sum((1, 2)) / (_share_inside(masks.float(), objects, frames) + _TINY)
    shared = (predicted * targets).sum((1, 2))
    reached: Tensor = shared / (predicted.sum((1, 2)) + whole - shared + _TINY)
    return reached.clamp(min=0)


def _share_inside(masks: Tensor, objects: Tensor, frames: Tensor) -> Tensor:
    """Share of the mask ``[K, M, M]`` over each object ``[K, 4]`` that lies in its frame ``[K, 4]``; ``[K]``."""
    side = masks.shape[-1]
    cell = ((objects[:, 2:] - objects[:, :2]) / side).clamp(min=1e-6)[:, None]
    steps = torch.arange(side, device=masks.device, dtype=objects.dtype)[None, :, None]
    start = objects[:, None, :2] + steps * cell
    covered = torch.minimum(start + cell, frames[:, None, 2:]) - torch.maximum(start, frames[:, None, :2])
    columns, rows = (covered / cell).clamp(0, 1).unbind(-1)
    return torch.einsum("kyx,ky,kx->k", masks, rows, columns) / masks.sum((1, 2)).clamp(min=1)


@dataclass(frozen=True, slots=True, eq=False)
class Positives:
    """The jittered positive RoIs of a batch that are localised, with their objects."""

    rois: Tensor
    """``[K, 5]`` as (image, x1, y1, x2, y2)."""
    objects: Tensor
    """``[K, 4]`` matched boxes."""
    labels: Tensor
    """``[K]`` from 0."""
    masks: Tensor | None
    """``[K, M, M]`` of the objects, spanning their boxes; None where an image has none."""


def gather_positives(
    sampled: Sequence[SampledRoIs],
    targets: Sequence[Targets],
    image_sizes: Sequence[tuple[int, int]],
    jitter: float,
    cap: int,
    convention: Convention,
) -> Positives:
    """Jitter the positives of a batch and keep a random ``cap`` of them (section 7.1 to 7.3)."""
    boxes, objects, labels, masks = [], [], [], []
    for part, target, size in zip(sampled, targets, image_sizes, strict=True):
        rows = part.matches[: part.positives]
        boxes.append(jitter_boxes(part.boxes[: part.positives], jitter, size, convention))
        objects.append(target.boxes[rows])
        labels.append(target.labels[rows])
        masks.append(None if target.masks is None else target.masks[rows])
    rois, truth = stack_rois(boxes), torch.cat(objects)
    least_side = (rois[:, 3:] - rois[:, 1:3]).amin(1)
    chosen = (least_side > 0).nonzero()[:, 0]  # clipping can leave nothing of a box
    chosen = chosen[torch.randperm(len(chosen), device=chosen.device)[:cap]]
    outlines = [mask for mask in masks if mask is not None]
    return Positives(
        rois[chosen],
        truth[chosen],
        torch.cat(labels)[chosen],
        torch.cat(outlines)[chosen] if len(outlines) == len(masks) else None,
    )


def stack_rois(boxes: Sequence[Tensor]) -> Tensor:
    """Join the boxes of each image, ``[k, 4]``, to RoIs ``[K, 5]`` as (image, x1, y1, x2, y2)."""
    return torch.cat([F.pad(part, (1, 0), value=float(index)) for index, part in enumerate(boxes)])
