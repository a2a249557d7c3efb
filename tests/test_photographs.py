"""Photographs are enlarged for the network, and what it finds is put back on them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from d2det_geo.detections import Detections
from d2det_geo.model.bundle import load_model
from d2det_geo.model.convention import Convention
from d2det_geo.pipeline.import_weights import official_card
from d2det_geo.pipeline.photographs import Enlargement, detect_photograph, enlarge, enlarge_masks, fit, scale_boxes
from tests.golden.goldens import golden
from tests.golden.network import our_boxes


def test_the_side_that_reaches_its_limit_first_decides():
    assert fit(300, 400, long=1333, short=600).size == (600, 800)
    assert fit(300, 1200, long=600, short=600).size == (150, 600)
    assert fit(600, 800, long=100, short=60) == Enlargement(0.1, (60, 80))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_pixels_are_bilinear_to_a_grey_level(height, width, new_height, new_width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width)).astype(np.uint8)
    exact = F.interpolate(torch.from_numpy(pixels)[None].float(), (new_height, new_width), mode="bilinear")[0]
    assert np.abs(enlarge(pixels, (new_height, new_width)) - exact.numpy()).max() <= 1.0


def test_the_same_size_changes_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 7, 11)).astype(np.uint8)
    np.testing.assert_array_equal(enlarge(pixels, (7, 11)), pixels)
    np.testing.assert_array_equal(enlarge_masks(pixels, (7, 11)), pixels)


def test_masks_by_hand():
    mask = np.array([[[0, 1, 2]]], np.uint8)
    assert enlarge_masks(mask, (2, 6)).tolist() == [[[0, 0, 1, 1, 2, 2]] * 2]
    assert enlarge_masks(mask, (1, 2)).tolist() == [[[0, 1]]]


@pytest.mark.parametrize("case", ["rpn", "given"])
def test_boxes_of_a_photograph_are_the_authors(case):
    numbers = golden("r50_detect")
    enlarged, on_photograph = numbers[f"{case}_softnms_dets"], numbers[f"{case}_rescale1_final_dets"]
    rows, theirs = enlarged[:, 4].argsort(descending=True), on_photograph[:, 4].argsort(descending=True)
    back = scale_boxes(our_boxes(enlarged[rows, :4]), 1 / 1.25, Convention.LEGACY)
    torch.testing.assert_close(back, our_boxes(on_photograph[theirs, :4]), atol=1e-4, rtol=0)
    aligned = scale_boxes(enlarged[:, :4], 2.0, Convention.ALIGNED)
    assert torch.equal(aligned, 2 * enlarged[:, :4])


class Bounds(nn.Module):
    """Finds the bounds of what is bright."""

    def __init__(self, convention):
        super().__init__()
        self.card, self.convention = official_card("r50"), convention
        self.weight = nn.Parameter(torch.zeros(1))

    def detect(self, images, image_sizes):
        ((height, width),), rows_columns = image_sizes, (images[0, 0] > 1).nonzero()
        assert images.shape[2] % 32 == images.shape[3] % 32 == 0
        assert images.shape[2] - height < 32 > images.shape[3] - width
        (top, left), (bottom, right) = rows_columns.amin(0).tolist(), (rows_columns.amax(0) + 1).tolist()
        one = np.ones(1, np.float32)
        return [Detections(np.array([[left, top, right, bottom]], float), one, one.astype(np.int64))]


@pytest.mark.parametrize("convention", list(Convention))
def test_objects_come_back_to_where_they_are(convention):
    pixels = np.zeros((3, 40, 60), np.uint8)
    pixels[:, 10:25, 20:50] = 255
    found = detect_photograph(Bounds(convention), pixels, long=1333, short=160)
    np.testing.assert_allclose(found.boxes, [[20, 10, 50, 25]], atol=0.8)
    exact = np.array([[20, 10, 50, 25]]) if convention is Convention.ALIGNED else np.array([[20, 10, 50.75, 25.75]])
    np.testing.assert_allclose(found.boxes, exact, atol=0.26)


def test_a_packaged_model_looks_at_a_photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 70)).astype(np.uint8)
    found = detect_photograph(load_model("buildings"), pixels, long=160, short=96)
    assert found.masks is not None
    assert ((found.boxes >= 0) & (found.boxes <= [70, 50, 70, 50])).all()
