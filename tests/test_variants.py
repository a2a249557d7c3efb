"""Variants of the network: deformable stages, masks, the rows of the paper's ablation, half precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from d2det_geo.errors import InputError
from d2det_geo.model.backbones import build_pyramid
from d2det_geo.model.build import Architecture, ProposalLimits, build_model
from d2det_geo.model.convention import Convention, mask_frame
from d2det_geo.model.d2det import Inference, Sampling
from d2det_geo.model.deformable import DeformableConv
from d2det_geo.model.targets import Targets, stack_rois
from d2det_geo.model.weights import load_backbone

SMALL = Architecture(
    classes=3,
    backbone="mobilenet_v2",
    masks=True,
    discriminative_pooling=True,
    dense_regression=True,
    channels=32,
    anchor_sizes=(16, 32, 64, 128, 256),
    dlr_convs=2,
    dlr_channels=48,
    classifier_width=40,
    offset_width=24,
    mask_iou_width=56,
    pool_samples=2,
    convention=Convention.LEGACY,
)
SIZES = [(90, 150)]
PROPOSALS = [torch.tensor([[10.0, 10, 60, 70], [100, 20, 150, 80], [12, 14, 63, 77], [0, 0, 1, 1]])]


def build(**changes):
    torch.manual_seed(0)
    inference = Inference(0.0, 0.3, 20, "none", 0.5, candidates=25)
    return build_model(
        replace(SMALL, **changes),
        ProposalLimits(200, 100, 200, 60),
        Sampling(64, 0.25, 40, 0.15, "official"),
        inference,
    )


def picture():
    return torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(1))


def test_a_deformable_convolution_starts_as_half_a_plain_one():
    conv = DeformableConv(3, 5, 2)
    pixels = torch.randn(2, 3, 11, 13)
    torch.testing.assert_close(conv(pixels), F.conv2d(pixels, conv.weight, None, 2, 1) / 2, atol=1e-5, rtol=1e-5)


def test_its_taps_move_down_then_right_and_then_come_the_weights():
    conv = DeformableConv(3, 5, 1)
    with torch.no_grad():
        conv.conv_offset.bias[18:] = 20.0  # every tap counts whole
        conv.conv_offset.bias[:18] = torch.tensor([2.0, 1.0]).repeat(9)
    pixels = torch.randn(1, 3, 11, 13)
    moved = F.conv2d(F.pad(pixels, (0, 1, 0, 2)), conv.weight, None, 1, 1)[:, :, 2:, 1:]
    # outside the image there is nothing for either, so only the inner pixels see the same taps
    torch.testing.assert_close(conv(pixels)[:, :, 1:8, 1:11], moved[:, :, 1:8, 1:11], atol=1e-5, rtol=1e-4)


def test_deformable_stages_are_the_last_three_and_learn():
    pyramid = build_pyramid("resnet50", 32, 3, deformable=True)
    names = [name for name, module in pyramid.body.named_modules() if isinstance(module, DeformableConv)]
    assert names[0] == "layer2.0.conv2"
    assert len(names) == 4 + 6 + 3
    assert not [name for name in names if not name.endswith(".conv2")]
    pyramid(torch.randn(1, 3, 64, 96))["3"].sum().backward()
    assert pyramid.body["layer4"][0].conv2.conv_offset.weight.grad is not None
    with pytest.raises(ValueError, match="mobilenet_v2"):
        build_pyramid("mobilenet_v2", 32, deformable=True)


def test_plain_weights_fill_a_deformable_backbone(tmp_path):
    plain = build_pyramid("resnet50", 32)
    path = tmp_path / "plain.npz"
    np.savez(path, **{name: value.numpy() for name, value in plain.body.state_dict().items()})
    deformable = build_pyramid("resnet50", 32, deformable=True)
    load_backbone(deformable, path)
    assert torch.equal(deformable.body["layer3"][1].conv2.weight, plain.body["layer3"][1].conv2.weight)
    assert deformable.body["layer3"][1].conv2.conv_offset.bias.abs().sum() == 0
    with pytest.raises(InputError, match="lacks"):
        load_backbone(build_pyramid("resnet101", 32, deformable=True), path)


def test_masks_are_read_a_second_time_on_the_refined_boxes():
    network = build().eval()
    (found,) = network.detect(picture(), SIZES, PROPOSALS)
    assert 0 < len(found) <= 20
    levels = list(network.pyramid(picture().contiguous(memory_format=torch.channels_last)).values())
    rois = stack_rois([torch.from_numpy(found.boxes).float()])
    with torch.no_grad():
        masks, ious = network.localiser.masks(levels, rois, torch.from_numpy(found.labels))
    np.testing.assert_allclose(found.masks, masks, atol=1e-5)
    np.testing.assert_allclose(found.mask_scores, found.scores + 0.3 * ious.numpy(), atol=1e-5)
    assert (np.diff(found.scores) <= 0).all()  # ranked by the box's score, whatever the mask's says


@pytest.mark.parametrize("convention", list(Convention))
@pytest.mark.parametrize(("pooling", "votes"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_rows_of_the_ablation_train_and_detect(convention, pooling, votes):
    network = build(convention=convention, discriminative_pooling=pooling, dense_regression=votes, masks=False)
    truth = Targets(
        torch.tensor([[10.0, 10, 50, 60], [80, 20, 140, 80]]), torch.tensor([0, 2]), None, torch.zeros(0, 4)
    )
    losses = network.train()(picture(), SIZES, [truth])
    assert ("overlap" in losses) == votes
    sum(losses.values()).backward()
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters() if value.grad is not None)
    (found,) = network.eval().detect(picture(), SIZES)
    assert len(found) > 0
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize("convention", list(Convention))
def test_half_precision_gives_numbers_even_where_the_weights_are_extreme(convention):
    network = build(convention=convention)
    for level in network.classifier.pooling.levels:
        nn.init.normal_(level.gate[0].weight, std=50.0)
        nn.init.constant_(level.gate[1].weight, 50.0)
    truth = Targets(torch.tensor([[10.0, 10, 50, 60]]), torch.tensor([1]), torch.ones(1, 56, 56), torch.zeros(0, 4))
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.train()(picture(), SIZES, [truth])
        (found,) = network.eval().detect(picture(), SIZES)
    sum(losses.values()).backward()
    assert all(bool(value.isfinite()) for value in losses.values())
    gradients = [value.grad for value in network.classifier.pooling.parameters() if value.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.mask_scores).all()


def test_proposals_are_not_rounded_in_half_precision():
    network = build().eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        features = network.pyramid(picture())
        (proposals,), _ = network.rpn(ImageList(picture(), SIZES), features)
    assert features["0"].dtype == torch.bfloat16
    assert proposals.dtype == torch.float32
    assert (proposals != proposals.bfloat16()).any()


def test_a_legacy_mask_spans_whole_pixels():
    boxes = torch.tensor([[10.9, 20.2, 31.4, 40.9], [5.0, 5.0, 5.2, 5.3]])
    assert mask_frame(boxes, Convention.LEGACY).tolist() == [[10, 20, 31, 40], [5, 5, 6, 6]]
    assert torch.equal(mask_frame(boxes, Convention.ALIGNED), boxes)
