"""The whole network: gradients, empty cases, detection, switches, learning one chip by heart."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from d2det_geo.metrics.geo import match_objects
from d2det_geo.metrics.scores import summarise
from d2det_geo.model.build import Architecture, ProposalLimits, build_model
from d2det_geo.model.d2det import Inference, Sampling
from d2det_geo.model.targets import Targets
from d2det_geo.vector.polygons import box_polygons, mask_polygons
from d2det_ops.pyramid import roi_levels

SMALL = Architecture(
    classes=2,
    backbone="mobilenet_v2",
    masks=True,
    discriminative_pooling=True,
    dense_regression=True,
    channels=32,
    anchor_sizes=(16, 32, 64, 128, 256),
    dlr_convs=2,
    dlr_channels=48,
    classifier_width=64,
    offset_width=24,
    mask_iou_width=40,
    pool_samples=1,
)
SIZES = [(96, 160), (90, 150)]
LOSSES = {"rpn_objectness", "rpn_box", "class", "box", "overlap", "mask", "mask_iou"}


def build(**changes):
    torch.manual_seed(0)
    return build_model(
        replace(SMALL, **changes),
        ProposalLimits(200, 100, 200, 60),
        Sampling(64, 0.5, 40, 0.1),
        Inference(0.02, 0.5, 50, "hard", 0.5),
    )


def truth(*boxes, ignored=(), labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(
        boxes,
        torch.arange(len(boxes)) % 2 if labels is None else torch.tensor(labels),
        torch.ones(len(boxes), 56, 56, dtype=torch.uint8),
        torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4),
    )


def images(count=2):
    return torch.randn(count, 3, 96, 160, generator=torch.Generator().manual_seed(1))


TARGETS = [truth((10, 10, 50, 60), (80, 20, 140, 80)), truth((5, 40, 40, 85))]


def test_every_tensor_that_learns_gets_a_gradient():
    network = build().train()
    # RoIs of all four levels, so that every level's own pooling is used
    large = [truth((0, 0, 20, 20), (10, 10, 140, 150), (0, 0, 300, 310), (5, 5, 600, 620), labels=[0, 1, 0, 1])]
    pixels = torch.randn(1, 3, 640, 640, generator=torch.Generator().manual_seed(1))
    losses = network(pixels, [(640, 640)], large)
    assert set(losses) == LOSSES
    sum(losses.values()).backward()
    without = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters() if value.grad is not None)


@pytest.mark.parametrize(
    "targets",
    [
        [truth(), truth()],
        [truth(), truth((5, 40, 40, 85))],
        [truth(ignored=[(0, 0, 160, 96)])] * 2,
        [truth((10, 10, 50, 60), ignored=[(60, 0, 160, 96)]), truth()],
        [truth((0, 0, 1, 1)), truth((30, 30, 30.5, 90))],
    ],
    ids=["no objects", "one empty image", "all ignored", "partly ignored", "tiny objects"],
)
@pytest.mark.parametrize("switches", [{}, {"masks": False}, {"dense_regression": False, "masks": False}])
def test_batches_with_little_to_learn_train_without_error(targets, switches):
    network = build(**switches).train()
    losses = network(images(), SIZES, targets)
    total = sum(losses.values())
    total.backward()
    assert bool(total.isfinite())
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters() if value.grad is not None)


@pytest.mark.parametrize("masks", [True, False])
def test_detections_are_in_the_image_sorted_and_shaped(masks):
    found = build(masks=masks).eval().detect(images(), SIZES)
    assert len(found) == 2
    assert sum(map(len, found)) > 0
    for detections, (height, width) in zip(found, SIZES, strict=True):
        assert detections.boxes.dtype == np.float64
        assert (detections.boxes >= 0).all()
        assert (detections.boxes[:, 2] <= width).all()
        assert (detections.boxes[:, 3] <= height).all()
        assert (np.diff(detections.scores) <= 0).all()
        assert set(detections.labels.tolist()) <= {0, 1}
        assert (detections.masks is not None) == masks
        if masks:
            assert detections.masks.shape == (len(detections), 28, 28)
            assert ((detections.masks >= 0) & (detections.masks <= 1)).all()


def test_detect_refuses_a_network_in_training_mode():
    with pytest.raises(ValueError, match="eval"):
        build().train().detect(images(), SIZES)


def test_given_proposals_replace_the_rpn_and_images_without_any_are_empty():
    network = build().eval()
    given = [torch.tensor([[10.0, 10, 60, 70], [100, 20, 150, 80]]), torch.zeros(0, 4)]
    first, second = network.detect(images(), SIZES, given)
    assert len(first) > 0
    assert len(second) == 0
    assert second.masks.shape == (0, 28, 28)
    assert [len(part) for part in network.detect(images(), SIZES, [torch.zeros(0, 4)] * 2)] == [0, 0]


def test_the_cap_and_the_final_nms_are_obeyed():
    network = build().eval()
    given = [torch.tensor([[10.0, 10, 60, 70]]) + torch.arange(30)[:, None] * 2.5] * 2
    network.inference = Inference(0.0, 0.99, 7, "none", 0.5)
    assert [len(part) for part in network.detect(images(), SIZES, given)] == [7, 7]
    network.inference = Inference(0.0, 0.99, 50, "none", 0.5)
    every = network.detect(images(), SIZES, given)[0]
    for final in ("hard", "soft"):
        network.inference = Inference(0.0, 0.99, 50, final, 0.1)
        fewer = network.detect(images(), SIZES, given)[0]
        assert len(fewer) < len(every) or fewer.scores.sum() < every.scores.sum()


def test_a_cap_that_was_reached_shows_even_when_the_final_nms_leaves_fewer():
    network = build().eval()
    given = [torch.tensor([[10.0, 10, 60, 70]]) + torch.arange(30)[:, None] * 2.5, torch.zeros(0, 4)]
    network.inference = Inference(0.0, 0.99, 7, "hard", 0.1)
    crowded, nothing = network.detect(images(), SIZES, given)
    assert len(crowded) < 7
    assert crowded.capped
    assert not nothing.capped
    network.inference = Inference(0.0, 0.99, 5, "none", 0.5, candidates=20)
    assert len(network.detect(images(), SIZES, given)[0]) == 5
    network.inference = Inference(0.0, 0.99, 500, "hard", 0.5, candidates=400)
    assert not network.detect(images(), SIZES, given)[0].capped


def fill(network):
    """Give every weight a value that depends on its name and shape only; the norms stay as they are."""
    for name, value in network.named_parameters():
        if "Norm" not in type(network.get_submodule(name.rpartition(".")[0])).__name__:
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.1
            value.data.copy_(torch.randn(value.shape, generator=generator) * scale)
    return network


def detect_given(network):
    """Detect at two given proposals, every class of each; in the order of the boxes, not of the scores."""
    network.inference = Inference(0.0, 1.0, 50, "none", 0.5)
    found = network.detect(images(), SIZES, [torch.tensor([[10.0, 10, 60, 70], [100, 20, 150, 80]])] * 2)[0]
    assert len(found) == 4
    return found.select(np.lexsort([found.labels, *found.boxes.T]))


def test_discriminative_pooling_changes_scores_alone():
    on, off = (fill(build(discriminative_pooling=state, masks=False)).eval() for state in (True, False))
    with_it, without = detect_given(on), detect_given(off)
    assert np.array_equal(with_it.boxes, without.boxes)
    assert np.abs(with_it.scores - without.scores).min() > 1e-3
    for part in ("offsets", "gate"):  # each has its share in it
        weakened = fill(build(masks=False)).eval()
        for level in weakened.classifier.pooling.levels:
            for weight in getattr(level, part).parameters():
                weight.data.zero_()
        assert np.abs(detect_given(weakened).scores - with_it.scores).max() > 1e-4
    on.classifier.pooling = off.classifier.pooling  # all else is the same
    np.testing.assert_allclose(detect_given(on).scores, without.scores, rtol=1e-6)


def test_dense_regression_changes_boxes_alone():
    on, off = (detect_given(fill(build(dense_regression=state, masks=False)).eval()) for state in (True, False))
    assert np.abs(on.boxes - off.boxes).max(axis=1).min() > 1
    np.testing.assert_array_equal(np.sort(on.scores), np.sort(off.scores))


def test_offsets_and_gate_start_as_plain_average_pooling():
    network = build()
    pooling = network.classifier.pooling
    features = [torch.randn(1, 32, 24, 40)]
    rois = torch.tensor([[0, 10.0, 10, 60, 70]])
    from d2det_ops import discriminative_pool, roi_align  # noqa: PLC0415

    plain = roi_align(features, rois, bins=14, samples=1, strides=[4])
    torch.testing.assert_close(pooling(features, rois), discriminative_pool(plain, torch.zeros_like(plain)))
    assert pooling.levels[0].offsets(torch.randn(2, 32, 3, 3)).abs().max() == 0


def test_discriminative_pooling_gives_each_roi_its_level_and_its_place():
    pooling = fill(build()).eval().classifier.pooling
    features = [torch.randn(1, 32, side, side) for side in (160, 80, 40, 20, 10)]
    sides = torch.tensor([500.0, 30, 250, 150, 40, 600])
    rois = torch.stack([torch.zeros(6), sides / 40, sides / 50, sides, sides + 9], 1)
    alone = [pooling(features, rois[index : index + 1]) for index in range(6)]
    torch.testing.assert_close(pooling(features, rois), torch.cat(alone), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooling(features, rois)[0], pooling(features, rois[[5, 0, 1]])[1], atol=1e-5, rtol=1e-5)
    assert pooling(features, rois[:0]).shape == (0, 32, 7, 7)


def test_levels_change_at_112_224_448():
    sides = torch.tensor([20.0, 111.9, 112.0, 223.9, 224.0, 447.0, 448.0, 5000.0])
    rois = torch.stack([torch.zeros(8), torch.zeros(8), torch.zeros(8), sides, sides], 1)
    assert roi_levels(rois).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_backbones_statistics_stay_as_they_are():
    network = build().train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(images(), SIZES, TARGETS)
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_every_backbone_gives_five_levels(name):
    network = build(backbone=name).eval()
    levels = network.pyramid(torch.zeros(1, 3, 64, 96)).values()
    assert [tuple(level.shape) for level in levels] == [
        (1, 32, 64 // stride, max(96 // stride, 1) + (stride == 64)) for stride in (4, 8, 16, 32, 64)
    ]


def overfit(masks, steps):
    """Learn one chip of 160 px with four objects by heart; return the scores on it."""
    from shapely.geometry import Polygon  # noqa: PLC0415

    outlines = [
        [(8, 10), (48, 10), (48, 40), (8, 40)],
        [(60, 12), (96, 12), (96, 30), (78, 30), (78, 52), (60, 52)],
        [(110, 30), (150, 30), (150, 70), (110, 70)],
        [(20, 80), (70, 80), (70, 140), (45, 140), (45, 110), (20, 110)],
    ]
    polygons = np.array([Polygon(outline) for outline in outlines], dtype=object)
    from PIL import Image, ImageDraw  # noqa: PLC0415

    picture = Image.new("RGB", (160, 160), (40, 90, 50))
    for index, outline in enumerate(outlines):
        ImageDraw.Draw(picture).polygon(outline, fill=(200, 60 + 40 * index, 90))
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    from d2det_geo.data.cells import object_cells  # noqa: PLC0415

    boxes = np.array([polygon.bounds for polygon in polygons])
    target = Targets(
        torch.from_numpy(boxes).float(),
        torch.zeros(4, dtype=torch.long),
        torch.from_numpy(object_cells(polygons, boxes, 56)) if masks else None,
        torch.zeros(0, 4),
    )
    network = build(classes=1, masks=masks).train()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(network(pixels, [(160, 160)], [target]).values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    network.eval().inference = Inference(0.05, 0.5, 50, "hard", 0.5)
    found = network.detect(pixels, [(160, 160)])[0]
    shapes = mask_polygons(found) if masks else box_polygons(found.boxes)
    truths = polygons if masks else box_polygons(boxes)
    return summarise([match_objects(truths, np.zeros(4, int), None, shapes, found.labels, found.scores)])


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_one_chip_is_learnt_by_heart(masks):
    scores = overfit(masks, 200)  # at 140 rounding decides whether AP75 is whole
    assert scores.ap50 == pytest.approx(1.0)
    assert scores.ap75 == pytest.approx(1.0)
