"""Targets and losses of the second stage: the cases of the D2Det specification, worked by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.model.convention import Convention
from d2det_geo.model.heads import combine_votes, decode_votes
from d2det_geo.model.losses import (
    class_loss,
    mask_iou_loss,
    mask_loss,
    overlap_loss,
    regression_loss,
    vote_loss,
)
from d2det_geo.model.targets import (
    Targets,
    cell_centres,
    gather_positives,
    inside_ignored,
    jitter_boxes,
    mask_iou_targets,
    mask_targets,
    overlap_from_masks,
    overlap_labels,
    sample_rois,
)

BOX = torch.tensor([[0.0, 0.0, 140.0, 140.0]])


def truth(boxes, labels=None, masks=None, ignored=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.long) if labels is None else torch.tensor(labels)
    ignored = torch.zeros(0, 4) if ignored is None else torch.tensor(ignored, dtype=torch.float32)
    return Targets(boxes, labels, masks, ignored)


def perfect_offsets(boxes, objects):
    x, y = cell_centres(boxes)
    width, height = (side[:, None, None] for side in (boxes[:, 2:] - boxes[:, :2]).unbind(1))
    left, top, right, bottom = (edge[:, None, None] for edge in objects.unbind(1))
    shape = (len(boxes), 7, 7)
    parts = [(x - left) / width, (right - x) / width, (y - top) / height, (bottom - y) / height]
    return torch.stack([part.expand(shape) for part in parts], 1)


def test_cells_offsets_and_overlap_of_a_box_on_its_object():
    x, y = cell_centres(BOX)
    assert (x[0, 0, 0].item(), y[0, 0, 0].item()) == (10.0, 10.0)
    offsets = perfect_offsets(BOX, BOX)
    assert offsets[0, 0, 0, 0].item() == pytest.approx(10 / 140)
    assert offsets[0, 1, 0, 0].item() == pytest.approx(130 / 140)
    overlap = overlap_labels(BOX, BOX, Convention.ALIGNED)
    assert overlap.sum().item() == 25
    assert overlap[0, 1:6, 1:6].min().item() == 1


def test_overlap_follows_the_object_not_the_box():
    overlap = overlap_labels(BOX, torch.tensor([[70.0, 0.0, 280.0, 140.0]]), Convention.ALIGNED)
    # centres at 10, 30, ..., 130; a margin of 140 / 6 = 23.3: x >= 93.3, 23.3 <= y <= 116.7
    assert overlap[0].nonzero().tolist() == [[row, column] for row in range(1, 6) for column in (5, 6)]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_perfect_offsets_decode_to_the_object(seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(3, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + 20 + torch.rand(3, 2, generator=generator) * 100], 1)
    objects = boxes + (torch.rand(3, 4, generator=generator) - 0.5) * 10
    votes = decode_votes(perfect_offsets(boxes, objects), boxes, Convention.ALIGNED)
    torch.testing.assert_close(votes, objects[:, None, None].expand_as(votes), atol=1e-3, rtol=1e-4)


def test_only_votes_with_a_positive_overlap_count():
    votes = torch.zeros(2, 7, 7, 4)
    votes[0, 2, 3] = torch.tensor([1.0, 2.0, 30.0, 40.0])
    votes[0, 4, 4] = torch.tensor([3.0, 4.0, 50.0, 60.0])
    overlap = torch.full((2, 7, 7), -1.0)
    overlap[0, 2, 3] = overlap[0, 4, 4] = 0.1
    kept = torch.tensor([[0.0, 0, 9, 9], [5, 6, 7, 8]])
    assert combine_votes(votes, overlap, kept, Convention.ALIGNED).tolist() == [
        [2.0, 3.0, 40.0, 50.0],
        [5.0, 6.0, 7.0, 8.0],
    ]


@pytest.mark.parametrize(("iou", "loss"), [(0.0, 2.3026), (0.05, 1.8971), (0.3, 1.2040), (0.5, 0.6931), (1.0, 0.0)])
def test_vote_loss_values(iou, loss):
    votes = torch.tensor([0.0, 0.0, 100 * iou, 10.0]).expand(1, 7, 7, 4)
    assert vote_loss(votes, torch.tensor([[0.0, 0.0, 100.0, 10.0]]))[0, 3, 3].item() == pytest.approx(loss, abs=1e-4)


def test_regression_loss_is_the_mean_over_cells_on_the_object():
    votes = torch.tensor([0.0, 0.0, 100.0, 10.0]).repeat(1, 7, 7, 1)
    votes[0, 0, 0, 2] = 50.0
    votes[0, 6, 6, 2] = 30.0  # not on the object: must not count
    overlap = torch.zeros(1, 7, 7)
    overlap[0, 0, 0] = overlap[0, 3, 3] = 1
    loss = regression_loss(votes, torch.tensor([[0.0, 0.0, 100.0, 10.0]]), overlap, "masked")
    assert loss.item() == pytest.approx(2.0 * 0.6931 / 2, abs=1e-4)


def test_mask_targets_sample_the_object_in_the_frame_of_the_roi():
    mask = torch.zeros(1, 56, 56, dtype=torch.uint8)
    mask[:, :, :28] = 1  # the left half of an object 56 px wide
    objects = torch.tensor([[10.0, 20.0, 66.0, 76.0]])
    same = mask_targets(objects, objects, mask, Convention.ALIGNED)
    assert same[0, :, :14].min() == 1
    assert same[0, :, 14:].max() == 0
    shifted = mask_targets(
        objects + torch.tensor([14.0, 0, 14, 0]), objects, mask, Convention.ALIGNED
    )  # a quarter to the right
    assert shifted[0, :, :7].min() == 1
    assert shifted[0, :, 7:].max() == 0
    assert mask_targets(objects + 1000, objects, mask, Convention.ALIGNED).sum() == 0


def test_overlap_from_masks_needs_three_of_the_central_four():
    mask = torch.zeros(1, 28, 28)
    mask[0, 1, 1] = mask[0, 1, 2] = mask[0, 2, 1] = 1
    mask[0, 5, 5] = mask[0, 5, 6] = 1
    assert overlap_from_masks(mask)[0].nonzero().tolist() == [[0, 0]]


def test_mask_iou_counts_what_the_roi_cuts_off():
    objects = torch.tensor([[0.0, 0.0, 56.0, 28.0]])
    mask = torch.ones(1, 56, 56)
    roi = torch.tensor([[0.0, 0.0, 28.0, 28.0]])  # the left half of the object
    targets = mask_targets(roi, objects, mask, Convention.ALIGNED)
    reached = mask_iou_targets(torch.full((1, 28, 28), 5.0), targets, roi, objects, mask)
    assert reached.item() == pytest.approx(0.5)
    # the authors threshold the logit at 0.5
    assert mask_iou_targets(torch.full((1, 28, 28), 0.4), targets, roi, objects, mask).item() == 0


def test_mask_iou_loss_skips_hopeless_masks_but_averages_over_all():
    loss = mask_iou_loss(torch.tensor([0.5, 0.9]), torch.tensor([0.7, 0.05]), "masked")
    assert loss.item() == pytest.approx(0.5 * 0.04 / 2)


def test_losses_of_nothing_are_zero_with_a_gradient_path():
    logits = torch.zeros(0, 3, requires_grad=True)
    cells = torch.zeros(0, 7, 7, requires_grad=True)
    masks = torch.zeros(0, 28, 28, requires_grad=True)
    total = (
        class_loss(logits, torch.zeros(0, dtype=torch.long))
        + overlap_loss(cells, torch.zeros(0, 7, 7))
        + mask_loss(masks, torch.zeros(0, 28, 28))
        + mask_iou_loss(cells.sum((1, 2)), torch.zeros(0), "masked")
        + regression_loss(cells[..., None].expand(0, 7, 7, 4), torch.zeros(0, 4), torch.zeros(0, 7, 7), "masked")
    )
    total.backward()
    assert total.item() == 0


def test_jitter_stays_within_its_share_and_the_image():
    torch.manual_seed(0)
    boxes = torch.tensor([[100.0, 100.0, 200.0, 150.0]]).repeat(2000, 1)
    moved = jitter_boxes(boxes, 0.15, (160, 220), Convention.ALIGNED)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    assert moved[:, 2].max() <= 220
    assert moved[:, 3].max() <= 160
    inside = (moved[:, 2] < 220) & (moved[:, 3] < 160)
    assert (centre[inside, 0] - 150).abs().max().item() == pytest.approx(15, abs=0.3)
    width = (moved[:, 2] - moved[:, 0])[inside]
    assert 85 <= width.min() < 86
    assert torch.equal(jitter_boxes(boxes[:1], 0.0, (160, 220), Convention.ALIGNED), boxes[:1])


def test_ignored_boxes_are_those_mostly_inside_a_region():
    boxes = torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10], [50, 50, 60, 60]])
    assert inside_ignored(boxes, torch.tensor([[0.0, 0, 10, 10]])).tolist() == [True, False, False]
    assert inside_ignored(boxes, torch.zeros(0, 4)).tolist() == [False] * 3


def test_sampling_puts_positives_first_and_leaves_ignored_out():
    torch.manual_seed(0)
    proposals = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [90, 90, 99, 99], [0, 0, 30, 30]])
    sampled = sample_rois(
        proposals, truth([[0, 0, 10, 10]], [4], ignored=[[85, 85, 100, 100]]), 512, 0.5, Convention.ALIGNED
    )
    assert sampled.positives == 3  # two proposals and the object itself
    assert sampled.classes.tolist() == [5, 5, 5, 0, 0]
    assert [90.0, 90.0, 99.0, 99.0] not in sampled.boxes.tolist()


def test_at_most_a_share_of_the_sample_is_positive():
    torch.manual_seed(0)
    proposals = torch.tensor([[0.0, 0, 10, 10]]).repeat(300, 1)
    background = torch.tensor([[50.0, 50, 90, 90]]).repeat(300, 1)
    sampled = sample_rois(torch.cat([proposals, background]), truth([[0, 0, 10, 10]]), 64, 0.25, Convention.ALIGNED)
    assert (sampled.positives, len(sampled.boxes)) == (16, 64)


def test_positives_of_a_batch_are_capped_and_matched():
    torch.manual_seed(0)
    targets = [truth([[0, 0, 40, 40]], [2]), truth([]), truth([[10, 10, 50, 90], [60, 60, 90, 95]], [0, 1])]
    sampled = [sample_rois(torch.zeros(0, 4), target, 8, 1.0, Convention.ALIGNED) for target in targets]
    positives = gather_positives(sampled, targets, [(100, 100)] * 3, 0.0, 192, Convention.ALIGNED)
    rows = sorted(zip(positives.rois[:, 0].tolist(), positives.labels.tolist(), strict=True))
    assert rows == [(0.0, 2), (2.0, 0), (2.0, 1)]
    assert torch.equal(positives.rois[:, 1:], positives.objects)
    assert len(gather_positives(sampled, targets, [(100, 100)] * 3, 0.1, 2, Convention.ALIGNED).rois) == 2
