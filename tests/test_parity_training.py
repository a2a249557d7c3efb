"""One training step of the authors' R50: assignments, samples, targets, every loss, every gradient."""

import pytest
import torch

from d2det_geo.model import d2det
from d2det_geo.model.convention import Convention, to_corners
from d2det_geo.model.official import official_name
from d2det_geo.model.rpn import assign_legacy
from d2det_geo.model.targets import (
    Positives,
    SampledRoIs,
    Targets,
    move_boxes,
    overlap_labels,
    sample_rois,
    stack_rois,
)
from tests.golden.goldens import golden
from tests.golden.network import IMAGE_SIZE, images, our_boxes

LEGACY = Convention.LEGACY
STEP = golden("r50_train")
ANCHORS = (15360, 3840, 960, 240, 60)  # of each level
LOSSES = {
    "rpn_objectness": "LOSS_loss_rpn_cls",
    "rpn_box": "LOSS_loss_rpn_bbox",
    "class": "LOSS_loss_cls",
    "box": "LOSS_loss_reg",
    "overlap": "LOSS_loss_mask",
}


def truth(image):
    return Targets(our_boxes(STEP[f"gt_bboxes_{image}"]), STEP[f"gt_labels_{image}"] - 1, None, torch.zeros(0, 4))


def their_sample(image):
    """The RoIs they drew."""
    positives, negatives = STEP[f"samp_pos_bboxes_{image}"], STEP[f"samp_neg_bboxes_{image}"]
    return SampledRoIs(
        our_boxes(torch.cat([positives, negatives])),
        STEP["cls_labels"][512 * image :][:512],
        torch.cat([STEP[f"samp_pos_assigned_gt_inds_{image}"], torch.zeros(len(negatives), dtype=torch.long)]),
        len(positives),
    )


def their_positives():
    """The jittered ones among them they localised."""
    chosen = STEP["sample_idx"]
    rois = stack_rois([our_boxes(STEP[f"jittered_pos_bboxes_{image}"]) for image in range(2)])
    objects = torch.cat([our_boxes(STEP[f"samp_pos_gt_bboxes_{image}"]) for image in range(2)])
    return Positives(rois[chosen], objects[chosen], STEP["pos_labels_sampled"] - 1, None)


def drawn_anchors(image):
    """Their label of each anchor, -1 where it was not drawn."""
    labels = torch.cat([STEP[f"rpn_labels_{level}"][image] for level in range(5)])
    weights = torch.cat([STEP[f"rpn_label_weights_{level}"][image] for level in range(5)])
    return torch.where(weights > 0, labels, -1)


class TheirDraw:
    """In place of the random choice of anchors; remembers what there was to choose from."""

    def __init__(self):
        self.labels = []

    def __call__(self, labels):
        self.labels = labels
        drawn = [drawn_anchors(image) for image in range(len(labels))]
        return [label == 1 for label in drawn], [label == 0 for label in drawn]


@pytest.fixture(scope="module")
def step(official_r50):
    """Run their step: forward with what they drew at random, and backward."""
    network, draw = official_r50, TheirDraw()
    proposals, parts = [], [their_sample(image) for image in range(2)]

    def draw_rois(boxes, *_):
        proposals.append(boxes)
        return parts[len(proposals) - 1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.rpn, "fg_bg_sampler", draw)
        patch.setattr(d2det, "sample_rois", draw_rois)
        patch.setattr(d2det, "gather_positives", lambda *_: their_positives())
        network.train()
        losses = network(images(), [IMAGE_SIZE] * 2, [truth(0), truth(1)])
        sum(losses.values()).backward()
    network.eval()
    gradients = {official_name(name): value.grad for name, value in network.named_parameters() if value.requires_grad}
    frozen = {official_name(name) for name, value in network.named_parameters() if not value.requires_grad}
    network.zero_grad(set_to_none=True)
    return {name: value.detach() for name, value in losses.items()}, gradients, frozen, proposals, draw.labels


def test_every_loss(step):
    losses = step[0]
    assert losses.keys() == LOSSES.keys()
    for name, theirs in LOSSES.items():
        STEP.close(theirs, losses[name], 0, 1e-5)
    STEP.close("LOSS_total", sum(losses.values()), 0, 1e-5)


def test_the_same_tensors_learn(step):
    _, gradients, frozen, _, _ = step
    with_gradient = {name for name, value in gradients.items() if value is not None}
    assert with_gradient == set(STEP.arrays["grad_names"].tolist())
    without = gradients.keys() - with_gradient
    assert without  # no RoI of the step is so large that it is pooled from P5
    assert all(name.startswith("bbox_roi_extractor.roi_layers.3.") for name in without)
    assert frozen == {name for name in STEP.arrays["frozen_names"].tolist() if "running" not in name}


def test_the_gradient_norm_of_every_tensor(step):
    names = STEP.arrays["grad_names"].tolist()
    norms = torch.stack([step[1][name].norm() for name in names])
    STEP.close("grad_norm", norms, 1e-7, 2e-3)


@pytest.mark.parametrize("name", [key.removeprefix("grad.") for key in STEP.arrays if key.startswith("grad.")])
def test_whole_gradients(step, name):
    gradient = step[1][name]
    # A sample on the edge of a cell has either side's slope: of 1024 RoIs a few lie there to the last bit.
    share = 5e-3 if "offset_fc" in name else 5e-4
    STEP.close(f"grad.{name}", gradient, share * gradient.abs().max().item())


def test_proposals_of_training(step):
    for image, boxes in enumerate(step[3]):
        theirs = STEP[f"proposals_{image}"][:, :4]
        apart = torch.cdist(theirs, to_corners(boxes, LEGACY), p=float("inf"))
        assert len(set(apart.argmin(1).tolist())) == len(theirs) == len(boxes)
        assert apart.amin(1).max() < 5e-3


@pytest.mark.parametrize("image", [0, 1])
def test_anchors_are_assigned_alike(official_r50, step, image):
    labels, drawn = step[4][image], drawn_anchors(image)
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
