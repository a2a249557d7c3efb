"""Test-time augmentation: views are mapped back and merged; an oracle that sees bright rectangles is the judge."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio.features
import shapely
import torch
from torch import nn
from torch.nn import functional as F

from d2det_cli.texts import parse_tta
from d2det_geo.detections import MASK_SIDE, Detections
from d2det_geo.errors import UsageError
from d2det_geo.model.build import Architecture, ProposalLimits, build_model
from d2det_geo.model.bundle import Card
from d2det_geo.model.d2det import Inference, Sampling
from d2det_geo.model.tta import AugmentedDetector, detect_augmented, merge_views
from d2det_geo.pipeline.predict import predict_scene

SIZES = [(90, 150), (70, 101)]
HALL, SHED = (20, 12, 68, 52), (100, 40, 140, 80)
CARD = Card(
    name="halls",
    classes=("hall",),
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
    chip_size=128,
    overlap=64,
    score=0.5,
    architecture={},
    proposals={},
    sampling={},
    inference={"detections": 40},
)


class Oracle(nn.Module):
    """Finds bright shapes on black: their bounds, and which parts of these are bright."""

    def __init__(self):
        super().__init__()
        self.card = CARD
        self.seen = []

    def detect(self, images, image_sizes):
        self.seen += [(tuple(image_sizes), tuple(images.shape[2:]))]
        return [self._shapes(image[0, :h, :w]) for image, (h, w) in zip(images, image_sizes, strict=True)]

    def _shapes(self, image):
        bright = (image > 0.5).numpy().astype(np.uint8)
        found = [shapely.geometry.shape(item).bounds for item, value in rasterio.features.shapes(bright) if value]
        boxes = np.array(found).reshape(-1, 4)
        masks = [
            F.interpolate(image[None, None, int(y1) : int(y2), int(x1) : int(x2)], (MASK_SIDE, MASK_SIDE))[0, 0]
            for x1, y1, x2, y2 in found
        ]
        return Detections(
            boxes,
            np.linspace(0.9, 0.8, len(found), dtype=np.float32),
            np.zeros(len(found), np.int64),
            np.array(masks, np.float32).reshape(-1, MASK_SIDE, MASK_SIDE),
            np.ones(len(found), np.float32),
        )


def halls():
    """Draw an L, whose mirror image is another shape, and a square; the second image is empty but for padding."""
    images = torch.zeros(2, 3, 96, 160)
    images[0, :, 12:52, 20:44] = 1
    images[0, :, 12:32, 20:68] = 1
    images[0, :, 40:80, 100:140] = 1
    return images


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0), (0.8, 1.0, 1.25), (2.0,)])
def test_an_object_is_found_once_where_it_is_whatever_the_views(scales, flip):
    oracle = Oracle()
    first, second = detect_augmented(oracle, halls(), SIZES, scales, flip=flip)
    assert len(oracle.seen) == len(scales) * (1 + flip)
    assert len(second) == 0
    boxes = first.boxes[np.argsort(first.boxes[:, 0])]
    np.testing.assert_allclose(boxes, [HALL, SHED], atol=1.3)
    hall = first.masks[np.argmin(first.boxes[:, 0])]
    assert hall[:12].min() > 0.5  # the upper half, and of the lower one the left
    assert hall[17:, :12].min() > 0.5
    assert hall[17:, 17:].max() < 0.5


def test_every_view_is_the_whole_image_padded_to_whole_strides():
    oracle = Oracle()
    detect_augmented(oracle, halls(), SIZES, (0.8, 1.0), flip=True)
    small = (((72, 120), (56, 81)), (96, 128))
    assert oracle.seen == [small, small, (tuple(SIZES), (96, 160)), (tuple(SIZES), (96, 160))]


def test_one_plain_view_is_detect_itself():
    plain = network().detect(noise(), SIZES)
    for one, other in zip(plain, detect_augmented(network(), noise(), SIZES), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.masks, other.masks)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_that_make_no_sense_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be positive"):
        detect_augmented(Oracle(), halls(), SIZES, scales)


def network():
    torch.manual_seed(3)
    parts = Architecture(
        classes=2,
        backbone="mobilenet_v2",
        masks=True,
        discriminative_pooling=True,
        dense_regression=True,
        channels=32,
        anchor_sizes=(16, 32, 64, 128, 256),
        dlr_convs=1,
        dlr_channels=32,
        classifier_width=32,
        offset_width=16,
        mask_iou_width=16,
        pool_samples=1,
    )
    inference = Inference(0.02, 0.5, 60, "hard", 0.5)
    built = build_model(parts, ProposalLimits(200, 100, 200, 40), Sampling(64, 0.5, 40, 0.1), inference).eval()
    for layer in (built.localiser.votes.offsets, built.localiser.votes.overlap, built.classifier.layers[-1]):
        nn.init.normal_(layer.weight, std=0.3)  # votes that differ, and scores without ties
    return built


def noise():
    return torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))


def test_a_mirrored_image_gives_mirrored_objects():
    model, images = network(), torch.zeros(2, 3, 96, 160)
    mirrored = images.clone()
    for row, (height, width) in enumerate(SIZES):
        images[row, :, :height, :width] = noise()[row, :, :height, :width]
        mirrored[row, :, :height, :width] = images[row, :, :height, :width].flip(-1)
    plain = detect_augmented(model, images, SIZES, flip=True)
    turned = detect_augmented(model, mirrored, SIZES, flip=True)
    for one, other, (_, width) in zip(plain, turned, SIZES, strict=True):
        assert len(one) > 3
        np.testing.assert_allclose(other.scores, one.scores, rtol=1e-5)
        np.testing.assert_allclose(other.boxes, [(width - x2, y1, width - x1, y2) for x1, y1, x2, y2 in one.boxes])
        np.testing.assert_allclose(other.masks, one.masks[:, :, ::-1], atol=1e-5)
        assert not np.allclose(network().detect(mirrored, SIZES)[0].boxes[:3], plain[0].boxes[:3], atol=0.5)


def test_dense_votes_are_cast_at_every_scale():
    model, cast = network(), []
    model.localiser.votes.register_forward_hook(lambda *_: cast.append(1))
    three = detect_augmented(model, noise(), SIZES, (0.7, 1.0, 1.4))[0]
    assert len(cast) == 3
    two = detect_augmented(model, noise(), SIZES, (0.7, 1.0))[0]
    assert len(three) != len(two) or not np.allclose(three.boxes, two.boxes)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_scaled_view_goes_the_whole_way_at_its_scale(factor):
    model, seen_cells = network(), []
    model.pyramid.register_forward_hook(lambda *call: seen_cells.append(call[-1]["0"].shape[2:]))
    ((height, width),) = SIZES[:1]
    new_height, new_width = size = round(height * factor), round(width * factor)
    (ours,) = detect_augmented(model, noise()[:1], SIZES[:1], (factor,))
    enlarged = F.interpolate(noise()[:1, :, :height, :width], size, mode="bilinear", antialias=True)
    padded = F.pad(enlarged, (0, -new_width % 32, 0, -new_height % 32))
    (alone,) = model.detect(padded, [size])
    assert seen_cells == [tuple(side // 4 for side in padded.shape[2:])] * 2
    back = [width / new_width, height / new_height] * 2
    np.testing.assert_allclose(ours.boxes, alone.boxes * back, rtol=1e-6)
    np.testing.assert_array_equal(ours.scores, alone.scores)
    np.testing.assert_array_equal(ours.masks, alone.masks)


def seen(*boxes, scores, labels=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(count, np.int64) if labels is None else np.array(labels),
    )


def test_views_of_one_object_share_its_box_and_its_score():
    views = [seen((0, 0, 10, 10), scores=[0.9]), seen((0, 0, 13, 10), (50, 0, 60, 9), scores=[0.3, 0.5])]
    merged = merge_views(views)
    np.testing.assert_allclose(merged.boxes, [(0, 0, 10.75, 10), (50, 0, 60, 9)])
    np.testing.assert_allclose(merged.scores, [0.6, 0.25])


def test_classes_and_neighbours_stay_apart():
    views = [seen((0, 0, 10, 10), scores=[0.9]), seen((0, 0, 10, 10), (4, 0, 14, 10), scores=[0.8, 0.7], labels=[1, 0])]
    merged = merge_views(views)
    np.testing.assert_allclose(merged.boxes, [(0, 0, 10, 10), (0, 0, 10, 10), (4, 0, 14, 10)])
    assert merged.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(merged.scores, [0.45, 0.4, 0.35])


def test_of_several_boxes_in_one_view_the_best_one_scores():
    views = [
        seen((0, 0, 10, 10), (0, 0, 11, 10), scores=[0.8, 0.4]),
        seen((0, 0, 10, 10), scores=[0.6]),
        seen(scores=[]),
    ]
    merged = merge_views([replace(view, mask_scores=view.scores + 0.3) for view in views])
    np.testing.assert_allclose(merged.scores, [1.4 / 3], rtol=1e-6)
    np.testing.assert_allclose(merged.mask_scores, [1.4 / 3 + 0.3], rtol=1e-6)


def test_a_box_between_two_objects_votes_for_the_nearest():
    views = [seen((0, 0, 10, 10), (6, 0, 16, 10), scores=[0.9, 0.8]), seen((2, 0, 12, 10), scores=[0.1])]
    np.testing.assert_allclose(merge_views(views).boxes, [(0.2, 0, 10.2, 10), (6, 0, 16, 10)])


def test_caps_are_told():
    many = seen((0, 0, 10, 10), (20, 0, 30, 10), scores=[0.9, 0.8])
    assert not merge_views([many, many], 3).capped
    assert merge_views([many, replace(many, capped=True)], 3).capped
    best = merge_views([many, many], 1)
    assert (best.scores.tolist(), best.capped) == ([pytest.approx(0.9)], True)
    assert merge_views([seen(scores=[]), replace(seen(scores=[]), capped=True)]).capped


def test_a_scene_predicted_in_several_views_has_the_same_objects(write_raster):
    image = np.zeros((3, 150, 260), np.uint8)
    for x1, y1, x2, y2 in (HALL, SHED, (180, 90, 220, 130)):
        image[:, y1:y2, x1:x2] = 255
    path, oracle = write_raster(image), Oracle()
    plain = predict_scene(path, oracle, gsd="native", batch_size=2)
    before = len(oracle.seen)
    several = predict_scene(path, oracle, gsd="native", batch_size=2, scales=(1.0, 2.0), flip=True)
    assert len(oracle.seen) - before == 4 * before
    assert len(plain) == len(several) == 3
    for outline in plain.geometry:
        shared = shapely.area(shapely.intersection(several.geometry.to_numpy(), outline))
        assert shared.max() > 0.95 * outline.area


def test_the_detector_in_place_of_the_network_obeys_the_cards_cap():
    card = CARD.model_copy(update={"inference": {"detections": 1}})
    detector = AugmentedDetector(Oracle(), card, (1.0,), flip=True)
    assert [len(found) for found in detector.detect(halls(), SIZES)] == [1, 0]
    assert list(detector.parameters()) == []


def test_the_option_is_read():
    assert parse_tta("") == {"scales": (1.0,), "flip": False}
    assert parse_tta("flip") == {"scales": (1.0,), "flip": True}
    assert parse_tta("0.8, 1,1.25,flip") == {"scales": (0.8, 1.0, 1.25), "flip": True}
    for wrong in ("0", "1,big", "-1", "nan", "1,9"):
        with pytest.raises(UsageError, match=r"^--tta .*such as"):
            parse_tta(wrong)
