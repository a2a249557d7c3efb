"""Anchors, box arithmetic, targets and losses in the authors' convention against numbers from their code."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from d2det_geo.model.anchors import Anchors
from d2det_geo.model.backbones import STRIDES
from d2det_geo.model.coder import DeltaCoder
from d2det_geo.model.convention import Convention, clip_boxes, clip_refined, to_corners
from d2det_geo.model.heads import combine_votes, decode_votes
from d2det_geo.model.losses import class_loss, overlap_loss, regression_loss, vote_loss
from d2det_geo.model.matching import match_legacy
from d2det_geo.model.rpn import assign_legacy
from d2det_geo.model.targets import cell_centres, overlap_labels
from d2det_ops import nms
from d2det_ops.pyramid import roi_levels
from tests.golden.goldens import golden
from tests.golden.network import our_boxes

LEGACY = Convention.LEGACY
BOXES, LOSSES = golden("boxes_nms_decode_golden"), golden("targets_losses_golden")


@pytest.mark.parametrize("level", range(5))
def test_anchors(level):
    generator = Anchors((32, 64, 128, 256, 512), LEGACY)
    ignored = [[torch.tensor(1), torch.tensor(1)]] * 5  # a legacy level keeps its own stride, whatever was padded
    grid = generator.grid_anchors([[3, 4]] * 5, ignored)[level]
    stride = STRIDES[level]
    assert torch.equal(to_corners(generator.cell_anchors[level], LEGACY), BOXES[f"base_anchors_{stride}"])
    assert torch.equal(to_corners(grid, LEGACY), BOXES[f"grid_anchors_{stride}_3x4"])


def test_deltas_to_boxes_and_back():
    coder = DeltaCoder((1.0, 1.0, 1.0, 1.0), LEGACY)
    rois = our_boxes(BOXES["d2b_rois"])
    decoded = coder.decode_single(BOXES["d2b_deltas"], rois)
    limit = clip_limit(BOXES["d2b_out"])
    BOXES.close("d2b_out", to_corners(clip_boxes(decoded, limit, LEGACY), LEGACY), 1e-3)
    BOXES.close("b2d_out", coder.encode_single(our_boxes(BOXES["b2d_gt"]), rois), 1e-5)


def clip_limit(clipped):
    """Recover the image from boxes that were clipped to it: the largest corners touch it."""
    return int(clipped[:, 3].max()) + 1, int(clipped[:, 2].max()) + 1


def test_shrinking_is_limited_like_growing():
    coder = DeltaCoder((1.0, 1.0, 1.0, 1.0), LEGACY)
    box = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    shrunk = coder.decode_single(torch.tensor([[0.0, 0.0, -9.0, -9.0]]), box)
    assert (shrunk[:, 2] - shrunk[:, 0]).item() == pytest.approx(64 * 16 / 1000)
    aligned = DeltaCoder((1.0, 1.0, 1.0, 1.0), Convention.ALIGNED).decode_single(torch.tensor([[0, 0, -9.0, 0]]), box)
    assert (aligned[:, 2] - aligned[:, 0]).item() < 0.02


def test_clipping_keeps_a_pixel_and_leaves_refined_boxes_alone():
    boxes = torch.tensor([[-9.0, -9.0, -5.0, -3.0], [500.0, 3.0, 600.0, 400.0]])
    assert clip_boxes(boxes, (100, 200), LEGACY).tolist() == [[0, 0, 1, 1], [199, 3, 200, 100]]
    assert torch.equal(clip_refined(boxes, (100, 200), LEGACY), boxes)
    assert clip_refined(boxes, (100, 200), Convention.ALIGNED).tolist() == [[0, 0, 0, 0], [200, 3, 200, 100]]


def test_iou():
    BOXES.close("iou_ab", box_iou(our_boxes(BOXES["d2b_rois"]), our_boxes(BOXES["b2d_gt"])), 1e-5)


def test_levels():
    assert roi_levels(our_boxes(BOXES["lvl_rois"])).tolist() == BOXES["lvl_out"].tolist()


@pytest.mark.parametrize(("case", "score", "iou", "cap"), [("det", 0.03, 0.5, 125), ("inst", 0.05, 0.3, 100)])
def test_class_nms(case, score, iou, cap):
    boxes, scores = our_boxes(BOXES["mcnms_boxes"]), BOXES["mcnms_scores"][:, 1:]
    rows, labels = (scores > score).nonzero().unbind(1)
    kept = nms(boxes[rows], scores[rows, labels], labels, iou)[:cap]
    found = torch.cat([to_corners(boxes[rows], LEGACY), scores[rows, labels, None]], 1)[kept]
    theirs = BOXES[f"mcnms_{case}_dets"]
    order = theirs[:, 4].argsort(descending=True, stable=True)
    torch.testing.assert_close(found, theirs[order], atol=1e-4, rtol=0)
    assert labels[kept].tolist() == BOXES[f"mcnms_{case}_labels"][order].tolist()


def test_decoded_votes():
    boxes = our_boxes(BOXES["dec_in"][:, :4])
    votes = decode_votes(BOXES["dec_reg"], boxes, LEGACY)
    decoded = combine_votes(votes, BOXES["dec_logit"][:, 0], boxes, LEGACY)
    theirs = BOXES["dec_out"][:, :4]
    torch.testing.assert_close(to_corners(decoded, LEGACY), theirs, atol=2e-4, rtol=0)
    empty = (BOXES["dec_logit"] <= 0).flatten(1).all(1)
    assert to_corners(decoded[empty], LEGACY).abs().sum() == 0


def test_a_box_without_positive_cells_becomes_the_first_pixel():
    boxes = torch.tensor([[10.0, 10.0, 60.0, 60.0]])
    votes, nowhere = torch.rand(1, 7, 7, 4) * 100, torch.full((1, 7, 7), -1.0)
    assert combine_votes(votes, nowhere, boxes, LEGACY).tolist() == [[0, 0, 1, 1]]
    assert torch.equal(combine_votes(votes, nowhere, boxes, Convention.ALIGNED), boxes)


def positives():
    return our_boxes(LOSSES["pos_bboxes"]), our_boxes(LOSSES["pos_gt_bboxes"])


def test_cells_and_overlap_targets():
    boxes, objects = positives()
    corners = to_corners(boxes, LEGACY)
    x, y = (part.expand(-1, 7, 7) for part in cell_centres(corners))
    size = (corners[:, 2:] - corners[:, :2])[..., None, None].expand(-1, -1, 7, 7)
    LOSSES.close("reg_points", torch.cat([torch.stack([x, y], 1), size], 1), 1e-4)
    left, top, right, bottom = (edge[:, None, None] for edge in to_corners(objects, LEGACY).unbind(1))
    distances = torch.stack([part.expand(-1, 7, 7) for part in (x - left, right - x, y - top, bottom - y)], 1)
    LOSSES.close("reg_targets", distances, 1e-4)
    assert torch.equal(overlap_labels(boxes, objects, LEGACY), LOSSES["overlap_target"][:, 0])


def test_decoded_votes_and_their_loss():
    boxes, objects = positives()
    votes = decode_votes(LOSSES["reg_pred"], boxes, LEGACY)
    corners = to_corners(votes, LEGACY).permute(0, 3, 1, 2)
    LOSSES.close("decoded_pred", corners, 1e-4)
    LOSSES.close("iou_loss_elem", vote_loss(votes, objects).flatten(), 1e-5)


@pytest.mark.parametrize(
    ("reading", "value", "gradient"),
    [
        ("official", "loss_reg_official_broadcast", "grad_reg_official"),
        ("masked", "loss_reg_masked_mean", "grad_reg_masked_mean"),
    ],
)
def test_regression_loss_and_its_gradient(reading, value, gradient):
    boxes, objects = positives()
    offsets = LOSSES["reg_pred"].clone().requires_grad_()
    votes = decode_votes(offsets, boxes, LEGACY)
    loss = regression_loss(votes, objects, LOSSES["overlap_target"][:, 0], reading)
    LOSSES.close(value, loss, 0, 1e-5)
    loss.backward()
    LOSSES.close(gradient, offsets.grad, 1e-7, 1e-4)


def test_the_reading_of_the_loss_we_do_not_offer():
    boxes, objects = positives()
    each = vote_loss(decode_votes(LOSSES["reg_pred"], boxes, LEGACY), objects)
    LOSSES.close("loss_reg_masked_over_all", 2 * (each * LOSSES["overlap_target"][:, 0]).mean(), 0, 1e-5)


def test_the_official_loss_is_the_mean_of_the_authors_matrix():
    generator = torch.Generator().manual_seed(3)
    votes = torch.rand(2, 7, 7, 4, generator=generator) * 50
    votes[..., 2:] += 50
    objects = torch.tensor([[20.0, 20, 70, 80], [10, 10, 60, 90]])
    overlap = (torch.rand(2, 7, 7, generator=generator) > 0.6).float()
    matrix = vote_loss(votes, objects).flatten() * overlap.flatten()[:, None]
    torch.testing.assert_close(regression_loss(votes, objects, overlap, "official"), 2 * matrix.mean())


def test_overlap_loss_and_its_gradient():
    logits = LOSSES["overlap_logit"].clone().requires_grad_()
    loss = overlap_loss(logits[:, 0], LOSSES["overlap_target"][:, 0])
    LOSSES.close("loss_mask", loss, 0, 1e-5)
    loss.backward()
    LOSSES.close("grad_overlap_logit", logits.grad, 1e-8, 1e-5)


def test_box_loss_of_any_boxes():
    predicted, truth = our_boxes(LOSSES["iou_pred"]), our_boxes(LOSSES["iou_tgt"])
    LOSSES.close("iou_loss", vote_loss(predicted[:, None, None], truth)[:, 0, 0], 1e-5)
    LOSSES.close("iou_aligned", box_iou(predicted, truth).diagonal(), 1e-5)


def test_class_and_rpn_losses():
    LOSSES.close("ce_loss", class_loss(LOSSES["ce_logit"], LOSSES["ce_label"]), 0, 1e-5)
    smooth = F.smooth_l1_loss(LOSSES["sl1_pred"], LOSSES["sl1_tgt"], beta=1 / 9, reduction="sum") / 40
    LOSSES.close("sl1_loss_avg40", smooth, 0, 1e-5)


def test_matching_by_hand():
    iou = torch.tensor(
        [  # three objects, six boxes
            [0.80, 0.45, 0.10, 0.00, 0.20, 0.75],
            [0.10, 0.50, 0.10, 0.50, 0.00, 0.76],
            [0.00, 0.00, 0.25, 0.00, 0.29, 0.00],
        ]
    )
    # The first takes box 0; the second its best, 5; the third overlaps nothing by 0.3 and takes nothing.
    assert match_legacy(iou, 0.7, 0.3).tolist() == [0, -2, -1, -2, -1, 1]
    iou[2, 4] = 0.30
    assert match_legacy(iou, 0.7, 0.3).tolist() == [0, -2, -1, -2, 2, 1]
    iou[2] = torch.tensor([0.4, 0.0, 0.0, 0.4, 0.0, 0.0])  # both of a tie, one of them the first object's
    assert match_legacy(iou, 0.7, 0.3).tolist() == [2, -2, -1, 2, -1, 1]
    assert match_legacy(iou[:0], 0.7, 0.3).tolist() == [-1] * 6
    assert match_legacy(iou[:, :0], 0.7, 0.3).tolist() == []


def test_without_objects_every_anchor_inside_is_background():
    anchors = torch.tensor([[0.0, 0, 20, 20], [-1, 0, 9, 9], [10, 10, 31, 20]])
    (labels,), (matched,) = assign_legacy([anchors], [{"boxes": torch.zeros(0, 4), "size": torch.tensor([20, 30])}])
    assert labels.tolist() == [0, -1, -1]
    assert matched.abs().sum() == 0
