"""Ignore regions of a data set in training: background, black pixels, or a gap in the loss."""

import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from rasterio.features import rasterize

from d2det_geo.data import chips
from d2det_geo.data.augment import Augment
from d2det_geo.data.chips import draw_chip
from d2det_geo.data.ignoring import with_ignore_regions
from d2det_geo.data.images import LabelledImage, array_reader
from d2det_geo.data.truth import Truth
from d2det_geo.model.convention import Convention
from d2det_geo.model.targets import Targets, sample_rois
from d2det_geo.places import mapped

SIDE, SIZE = 200, 128
REGIONS = np.array([shapely.box(20, 30, 90, 80), shapely.box(120, 110, 160, 190)], dtype=object)
# Free; half in the first region; a little more than half out of it; wholly inside the second.
BOXES = np.array([[100, 20, 130, 40], [80, 40, 100, 60], [79, 60, 102, 70], [130, 130, 150, 150]], np.float64)
AUGMENTS = {
    "as it is": Augment(),
    "turned by quarters": Augment(flip=True, rotate="quarter", scale=(0.7, 1.5)),
    "turned freely, recoloured": Augment(
        flip=True, rotate="any", scale=(0.7, 1.5), brightness=0.3, contrast=0.3, blur=1.0, noise=8.0
    ),
}


def image(outlines=True):
    polygons = np.asarray(shapely.box(*BOXES.T), dtype=object)
    pixels = np.random.default_rng(1).integers(90, 220, (3, SIDE, SIDE), np.uint8)
    truth = Truth(BOXES, np.array([0, 1, 0, 1]), polygons if outlines else None, REGIONS)
    return LabelledImage("a", SIDE, SIDE, truth, array_reader(pixels))


def drawn(labelled, augment, monkeypatch, count=8):
    """Draw chips, each with the view it was drawn through."""
    views = []
    draw = chips._draw_view
    monkeypatch.setattr(chips, "_draw_view", lambda *args: views.append(draw(*args)) or views[-1])
    rng = np.random.default_rng(5)
    return [(draw_chip(labelled, SIZE, augment, rng), views[-1]) for _ in range(count)]


def black(chip, view, margin):
    """Say which pixels of a chip are surely hidden by the regions, and which are surely not."""
    shapes = shapely.union_all(mapped(REGIONS, ~view))
    within, around = shapely.buffer(shapes, -margin), shapely.buffer(shapes, margin)
    frame = shapely.intersection(mapped(shapely.box(0, 0, SIDE, SIDE), ~view), shapely.box(0, 0, SIZE, SIZE))
    seen = shapely.difference(shapely.buffer(frame, -margin), around)
    return (rasterize([(shape, 1)], (SIZE, SIZE), transform=Affine.identity()) > 0 for shape in (within, seen))


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_blackout_hides_pixels_and_drops_what_lies_there(augment, monkeypatch):
    hidden = with_ignore_regions(image(), "blackout")
    assert hidden.truth.boxes.tolist() == BOXES[[0, 2]].tolist()
    assert hidden.truth.labels.tolist() == [0, 0]
    shown = 0
    for chip, view in drawn(hidden, augment, monkeypatch):
        dark, seen = black(chip, view, 2.5)
        shown += int(dark.sum())
        assert (chip.image[:, dark] == 0).all()
        assert (chip.image[:, seen].min(axis=0) > 0).all()
        whole = np.asarray(shapely.box(*chip.boxes.T))
        assert all(shape.area <= 30 * 20 / abs(view.determinant) * 2.5 for shape in whole)
        # Only what the edge of the chip cuts off is ignored.
        assert all((box[:2] <= 0.01).any() or (box[2:] >= SIZE - 0.01).any() for box in chip.ignored)
    assert shown > SIZE


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_none_leaves_pixels_and_forgets_the_regions(augment, monkeypatch):
    usual = drawn(image(), augment, monkeypatch)
    monkeypatch.undo()
    found = drawn(with_ignore_regions(image(), "none"), augment, monkeypatch)
    for (chip, view), (same, _) in zip(found, usual, strict=True):
        assert np.array_equal(chip.image, same.image)
        assert np.array_equal(chip.boxes, same.boxes)
        assert all((box[:2] <= 0.01).any() or (box[2:] >= SIZE - 0.01).any() for box in chip.ignored)
        covered = shapely.union_all(mapped(REGIONS, ~view))
        assert shapely.intersection(shapely.union_all(shapely.box(*chip.ignored.T)), covered).area < covered.area / 4
        _, seen = black(chip, view, 2.5)
        assert (chip.image[:, seen].min(axis=0) > 0).all()


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_mask_loss_keeps_everything_and_ignores_the_regions(augment, monkeypatch):
    same = image()
    assert with_ignore_regions(same, "mask-loss") is same
    for chip, view in drawn(same, augment, monkeypatch):
        frame = shapely.box(0, 0, SIZE, SIZE)
        regions = shapely.intersection(shapely.union_all(mapped(REGIONS, ~view)), frame)
        ignored = shapely.union_all(shapely.box(*chip.ignored.astype(np.float64).T))
        assert shapely.difference(regions, shapely.buffer(ignored, 0.01)).area < 1e-3
        _, seen = black(chip, view, 2.5)
        assert (chip.image[:, seen].min(axis=0) > 0).all()


def test_boxes_without_outlines_are_judged_as_boxes():
    hidden = with_ignore_regions(image(outlines=False), "blackout")
    assert hidden.truth.polygons is None
    assert hidden.truth.boxes.tolist() == BOXES[[0, 2]].tolist()


@pytest.mark.parametrize(("how", "negative"), [("none", True), ("blackout", True), ("mask-loss", False)])
def test_what_the_loss_sees(how, negative, monkeypatch):
    """A proposal in a region that holds no object is background, unless the loss is masked there."""
    ((chip, view),) = drawn(with_ignore_regions(image(), how), Augment(), monkeypatch, count=1)
    region = shapely.intersection(mapped(REGIONS[0], ~view), shapely.box(0, 0, SIZE, SIZE))
    x1, y1, _, y2 = region.bounds
    inside = torch.tensor([[x1 + 1, y1 + 1, x1 + 9, y2 - 1]], dtype=torch.float32)
    free = torch.tensor([[90.0, 100.0, 118.0, 127.0]])
    targets = Targets(torch.from_numpy(chip.boxes), torch.from_numpy(chip.labels), None, torch.from_numpy(chip.ignored))
    rois = sample_rois(torch.cat([inside, free]), targets, 64, 0.5, Convention.ALIGNED)
    background = rois.boxes[rois.positives :]
    assert any(torch.equal(box, inside[0]) for box in background) is negative
