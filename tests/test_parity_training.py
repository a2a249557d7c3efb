"""One training step of the authors' R50: assignments, samples, targets, outputs, every loss, every gradient."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from d2det_geo.model.backbones import STRIDES
from d2det_geo.model.convention import Convention, to_corners
from d2det_geo.model.heads import decode_votes
from d2det_geo.model.losses import regression_loss, vote_loss
from d2det_geo.model.pooling import OFFSET_SHARE
from d2det_geo.model.rpn import assign_legacy
from d2det_geo.model.targets import cell_centres, move_boxes, overlap_labels, sample_rois
from d2det_ops.pyramid import roi_levels
from tests.golden.network import IMAGE_SEED, IMAGE_SIZE, SEED, images, our_boxes
from tests.golden.step import STEP, drawn_anchors, run_step, their_positives, truth

LEGACY = Convention.LEGACY
LOSSES = {
    "rpn_objectness": "LOSS_loss_rpn_cls",
    "rpn_box": "LOSS_loss_rpn_bbox",
    "class": "LOSS_loss_cls",
    "box": "LOSS_loss_reg",
    "overlap": "LOSS_loss_mask",
}


@pytest.fixture(scope="module")
def step(official_r50):
    """Run their step."""
    return run_step(official_r50)


def test_it_is_the_step_of_the_numbers():
    assert (STEP["weight_seed"].item(), STEP["image_seed"].item()) == (SEED, IMAGE_SEED)
    if STEP.whole:
        STEP.close("image", images(), 0)


def test_every_loss(step):
    losses = step.losses
    assert losses.keys() == LOSSES.keys()
    for name, theirs in LOSSES.items():
        STEP.close(theirs, losses[name], 0, 1e-5)
    STEP.close("LOSS_total", sum(losses.values()), 0, 1e-5)


def test_the_losses_of_the_proposals_level_by_level(step):
    anchors = [STEP[f"rpn_labels_{level}"].shape[1] for level in range(5)]
    labels = torch.stack([drawn_anchors(image).float() for image in range(2)]).split(anchors, 1)
    drawn = [int(sum((part == kind).sum() for part in labels)) for kind in (1, 0)]
    assert drawn == STEP["rpn_num_pos_neg"].tolist()
    class_losses, box_losses = [], []
    for level, (scores, deltas) in enumerate(zip(*step.outputs["rpn"], strict=True)):
        logits, chosen = scores.permute(0, 2, 3, 1).flatten(1), labels[level] >= 0
        codes = deltas.unflatten(1, (3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        wrong = F.binary_cross_entropy_with_logits(logits[chosen], labels[level][chosen], reduction="sum")
        positive = labels[level] == 1
        apart = F.smooth_l1_loss(
            codes[positive], STEP[f"rpn_bbox_targets_{level}"][positive], beta=1 / 9, reduction="sum"
        )
        class_losses.append(wrong / sum(drawn))
        box_losses.append(apart / sum(drawn))
    STEP.close("LOSS_per_level_loss_rpn_cls", torch.stack(class_losses), 1e-7, 1e-4)
    STEP.close("LOSS_per_level_loss_rpn_bbox", torch.stack(box_losses), 1e-7, 1e-4)


def test_classes_of_the_drawn(step):
    logits, labels = step.outputs["classifier"].detach(), STEP["cls_labels"]
    STEP.close("cls_score", logits, 2e-4)
    STEP.close("LOSS_acc", 100 * (logits.argmax(1) == labels).float().mean(), 1e-4)
    assert bool((STEP["cls_label_weights"] == 1).all())  # each counts alike


def test_votes_of_the_drawn(step):
    positives = their_positives()
    boxes, objects = positives.rois[:, 1:], positives.objects
    offsets, logits = (part.detach() for part in step.outputs["votes"])
    STEP.close("reg_pred", offsets, 2e-4)
    STEP.close("overlap_logit", logits[:, None], 2e-4)
    votes, labels = decode_votes(offsets, boxes, LEGACY), STEP["overlap_target"][:, 0]
    STEP.close("reg_decoded_pred", to_corners(votes, LEGACY).flatten(0, 2), 0.01)
    each = vote_loss(votes, objects).flatten()
    STEP.close("reg_iou_loss_elem", each, 1e-6, 1e-4)
    assert torch.equal(STEP["reg_weight"], labels.flatten())
    STEP.close("LOSSVAR_reg_official_broadcast", regression_loss(votes, objects, labels, "official"), 0, 1e-5)
    STEP.close("LOSSVAR_reg_masked_mean", regression_loss(votes, objects, labels, "masked"), 0, 1e-5)
    # The third reading, which we do not offer: masked, but averaged over all cells.
    STEP.close("LOSSVAR_reg_masked_over_all", 2 * (each * labels.flatten()).mean(), 0, 1e-5)


def test_the_same_tensors_learn(step):
    gradients = step.gradients
    with_gradient = {name for name, value in gradients.items() if value is not None}
    assert with_gradient == set(STEP.arrays["grad_names"].tolist())
    without = gradients.keys() - with_gradient
    assert without  # no RoI of the step is so large that it is pooled from P5
    assert all(name.startswith("bbox_roi_extractor.roi_layers.3.") for name in without)
    assert step.frozen == {name for name in STEP.arrays["frozen_names"].tolist() if "running" not in name}


def test_the_gradient_norm_of_every_tensor(step):
    names = STEP.arrays["grad_names"].tolist()
    norms = torch.stack([step.gradients[name].norm() for name in names])
    STEP.close("grad_norm", norms, 1e-7, 2e-3)
    sums = torch.stack([step.gradients[name].sum() for name in names])
    whole = torch.stack([step.gradients[name].abs().sum() for name in names])
    assert bool(((sums - STEP["grad_sum"]).abs() <= 5e-4 * whole).all())


OFFSETS = "bbox_roi_extractor.roi_layers.0.offset_fc.4.bias"
WHOLE = {key.removeprefix("grad.") for key in STEP.arrays if key.startswith("grad.")}


@pytest.mark.parametrize("name", sorted(WHOLE - {OFFSETS}))
def test_whole_gradients(step, name):
    gradient = step.gradients[name]
    STEP.close(f"grad.{name}", gradient, 5e-4 * gradient.abs().max().item())


def test_the_gradient_of_offsets(official_r50, step):
    """Where a sample lies on a cell's centre its slope jumps, and float32 decides on which side it lies.

    Jumps within the noise of float32 are what moving every sample by that much either way changes.
    """
    apart = (step.gradients[OFFSETS] - STEP[f"grad.{OFFSETS}"]).abs()
    low, high = (offset_gradient(official_r50, step, shift) for shift in (-1e-5, 1e-5))  # cells
    torch.testing.assert_close(offset_gradient(official_r50, step, 0.0).sum(0), step.gradients[OFFSETS])
    jumps = (high - low).abs().sum(0)
    largest = STEP[f"grad.{OFFSETS}"].abs().max()
    assert bool((apart <= 1e-4 * largest + jumps).all())
    assert (jumps > 5e-4 * largest).sum() <= 5  # of 98: the others are compared as tightly as any gradient


def offset_gradient(network, step, shift):
    """Gradient of the bias of the offsets of P2, from each RoI, with samples moved by ``shift`` cells."""
    features, rois, offsets, samples = step.sampled
    rows = roi_levels(rois) == 0
    size = (rois[rows, 3:] - rois[rows, 1:3]) / STRIDES[0]
    moved = (offsets[rows].detach() + (shift / size)[..., None, None]).requires_grad_()
    pooled = network.classifier.pooling.sample([level.detach() for level in features], rois[rows], moved)
    (gradient,) = torch.autograd.grad(pooled, moved, samples.grad[rows])
    return OFFSET_SHARE * gradient.flatten(1)


def test_proposals_of_training(step):
    for image, boxes in enumerate(step.proposals):
        theirs = STEP[f"proposals_{image}"][:, :4]
        apart = torch.cdist(theirs, to_corners(boxes, LEGACY), p=float("inf"))
        assert len(set(apart.argmin(1).tolist())) == len(theirs) == len(boxes)
        assert apart.amin(1).max() < 5e-3


@pytest.mark.parametrize("image", [0, 1])
def test_anchors_are_assigned_alike(official_r50, step, image):
    labels, drawn = step.anchor_labels[image], drawn_anchors(image)
    assert bool((labels[drawn >= 0] == drawn[drawn >= 0]).all())
    anchors = official_r50.rpn.anchor_generator.grid_anchors(
        [[64, 80], [32, 40], [16, 20], [8, 10], [4, 5]], [[torch.tensor(1)] * 2] * 5
    )
    boxes = torch.cat(anchors)
    truths = {"boxes": truth(image).boxes, "size": torch.tensor(IMAGE_SIZE)}
    (again,), (matched,) = assign_legacy([boxes], [truths])
    assert torch.equal(again, labels)
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = ((low >= 0) & (high <= torch.tensor([310, 250]))).all(1)
    STEP.close(f"rpn_assign_anchor_inside_{image}", to_corners(boxes[inside], LEGACY), 0)
    theirs = STEP[f"rpn_assign_gt_inds_{image}"]  # -1 for neither, 0 for background, then objects from 1
    assert bool((labels[~inside] == -1).all())
    assert torch.equal(labels[inside], theirs.clamp(max=1).float())
    assert torch.equal(matched[inside][theirs > 0], truth(image).boxes[theirs[theirs > 0].long() - 1])
    targets = torch.cat([STEP[f"rpn_bbox_targets_{level}"][image] for level in range(5)])
    codes = official_r50.rpn.box_coder.encode_single(matched, boxes)
    torch.testing.assert_close(codes[drawn == 1], targets[drawn == 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("image", [0, 1])
def test_proposals_are_matched_alike(image):
    torch.manual_seed(0)
    proposals, target = our_boxes(STEP[f"proposals_{image}"][:, :4]), truth(image)
    count = len(proposals) + len(target.boxes)
    sampled = sample_rois(proposals, target, 2 * count, 0.5, LEGACY)  # all of them
    theirs = STEP[f"rcnn_assign_gt_inds_{image}"].long()
    every = torch.cat([proposals, target.boxes])
    objects = torch.cat([theirs, torch.arange(len(target.boxes)) + 1])
    positives = (objects > 0).nonzero()[:, 0]
    assert sampled.positives == len(positives)
    assert torch.equal(sampled.boxes[: sampled.positives], every[positives])
    assert torch.equal(sampled.matches[: sampled.positives], objects[positives] - 1)
    assert torch.equal(sampled.classes[: sampled.positives], target.labels[objects[positives] - 1] + 1)


@pytest.mark.parametrize("image", [0, 1])
def test_what_they_drew_was_there_to_draw(image):
    proposals, target = our_boxes(STEP[f"proposals_{image}"][:, :4]), truth(image)
    STEP.close(f"rcnn_assign_max_overlaps_{image}", box_iou(proposals, target.boxes).amax(1), 1e-5)
    every = torch.cat([target.boxes, proposals])  # objects are proposals too, and come first with them
    positives, negatives = STEP[f"samp_pos_inds_{image}"], STEP[f"samp_neg_inds_{image}"]
    assert torch.equal(every[positives], our_boxes(STEP[f"samp_pos_bboxes_{image}"]))
    assert torch.equal(every[negatives], our_boxes(STEP[f"samp_neg_bboxes_{image}"]))
    best, match = box_iou(every, target.boxes).max(1)
    assert best[positives].min() >= 0.5 > best[negatives].max()
    assert torch.equal(match[positives], STEP[f"samp_pos_assigned_gt_inds_{image}"])
    assert torch.equal(target.labels[match[positives]] + 1, STEP[f"samp_pos_gt_labels_{image}"])
    assert torch.equal(target.boxes[match[positives]], our_boxes(STEP[f"samp_pos_gt_bboxes_{image}"]))


@pytest.mark.parametrize("image", [0, 1])
def test_jittered_boxes_are_ones_we_could_draw(image):
    boxes, moved = our_boxes(STEP[f"samp_pos_bboxes_{image}"]), our_boxes(STEP[f"jittered_pos_bboxes_{image}"])
    height, width = IMAGE_SIZE
    before, after = to_corners(boxes, LEGACY), to_corners(moved, LEGACY)
    whole = (after[:, :2] > 0).all(1) & (after[:, 2:] < torch.tensor([width - 1, height - 1])).all(1)
    size = before[:, 2:] - before[:, :2]
    shift = ((after[:, :2] + after[:, 2:]) - (before[:, :2] + before[:, 2:])) / 2 / size
    noise = torch.cat([shift, (after[:, 2:] - after[:, :2]) / size - 1], 1)[whole]
    assert len(noise) > 5
    assert noise.abs().max() < 0.1501
    torch.testing.assert_close(move_boxes(boxes[whole], noise, LEGACY), moved[whole], atol=1e-3, rtol=0)
    assert after[:, 2].max() <= width - 1


def test_overlap_targets():
    positives = their_positives()
    labels = overlap_labels(positives.rois[:, 1:], positives.objects, LEGACY)
    assert torch.equal(labels, STEP["overlap_target"][:, 0])


def test_cells_and_what_they_should_vote_for():
    positives = their_positives()
    corners, objects = to_corners(positives.rois[:, 1:], LEGACY), to_corners(positives.objects, LEGACY)
    x, y = (part.expand(-1, 7, 7) for part in cell_centres(corners))
    size = (corners[:, 2:] - corners[:, :2])[..., None, None].expand(-1, -1, 7, 7)
    STEP.close("reg_points", torch.cat([torch.stack([x, y], 1), size], 1), 1e-4)
    left, top, right, bottom = (edge[:, None, None] for edge in objects.unbind(1))
    STEP.close("reg_targets", torch.stack([x - left, right - x, y - top, bottom - y], 1), 1e-4)
    STEP.close("reg_decoded_target", objects.repeat_interleave(49, 0), 1e-4)
