"""How photographs are fed to the authors' network, against numbers from their code."""

import numpy as np
import pytest
import torch

from d2det_geo.pipeline.import_weights import official_card
from d2det_geo.pipeline.network import normalised
from d2det_geo.pipeline.photographs import Enlargement, enlarge, enlarge_boxes, enlarge_masks, fit
from tests.golden.goldens import golden
from tests.golden.network import our_boxes

NUMBERS = golden("pipeline_golden")
CARD = official_card("r50")
VIEWS = ["noflip", "flip"]
LONG, SHORT = NUMBERS["img_scale"].tolist()
HEIGHT, WIDTH = NUMBERS["bgr_uint8"].shape[:2]
NEW_HEIGHT, NEW_WIDTH = SIZE = tuple(NUMBERS["noflip_img_shape"][:2].tolist())


def test_every_size_is_fitted_alike():
    for row in NUMBERS["size_table_h_w_newh_neww_padh_padw_scale"].tolist():
        to = fit(*map(int, row[:2]))
        padded = normalised([np.zeros((3, *to.size), np.uint8)], CARD, torch.device("cpu")).shape[2:]
        assert (*to.size, *padded, to.factor) == tuple(row[2:])


@pytest.mark.parametrize("view", VIEWS)
def test_the_size_of_the_photograph(view):
    assert fit(HEIGHT, WIDTH, LONG, SHORT) == Enlargement(NUMBERS[f"{view}_scale"].item(), SIZE)
    assert tuple(NUMBERS[f"{view}_img_shape"].tolist()) == (*SIZE, 3)


@pytest.mark.parametrize("view", VIEWS)
def test_pixels_are_enlarged_normalised_and_padded_alike(view):
    red_first = NUMBERS["bgr_uint8"].numpy()[:, :, ::-1].transpose(2, 0, 1)
    pixels = enlarge(red_first, SIZE)
    pixels = pixels[:, :, ::-1] if view == "flip" else pixels
    image = normalised([pixels], CARD, torch.device("cpu"))[0]
    assert (*image.shape[1:], 3) == tuple(NUMBERS[f"{view}_pad_shape"].tolist())
    NUMBERS.close(f"{view}_img_chw", image, 1e-6)


@pytest.mark.parametrize("view", VIEWS)
def test_boxes_are_enlarged_and_mirrored_alike(view):
    boxes = enlarge_boxes(our_boxes(NUMBERS["boxes_in"]), fit(HEIGHT, WIDTH, LONG, SHORT))
    if view == "flip":
        boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([NEW_WIDTH, 0, NEW_WIDTH, 0])
    torch.testing.assert_close(boxes, our_boxes(NUMBERS[f"{view}_boxes"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("view", VIEWS)
def test_masks_are_enlarged_and_padded_alike(view):
    theirs = NUMBERS[f"{view}_masks"].numpy()
    inside, masks = theirs[:, :NEW_HEIGHT, :NEW_WIDTH], NUMBERS["masks_in"].numpy()
    assert theirs.sum() == inside.sum()
    if view == "flip":
        np.testing.assert_array_equal(inside[:, :, ::-1], enlarge_masks(masks, SIZE))
        return
    np.testing.assert_array_equal(inside[[0, 2]], enlarge_masks(masks, SIZE)[[0, 2]])
    # The second mask is noise, which they drew anew for each view and kept for the mirrored one: it must be
    # the enlargement of what lies behind its own pixels.
    rows, columns = (-(-np.arange(old) * new // old) for old, new in zip((HEIGHT, WIDTH), SIZE, strict=True))
    behind = inside[1:2, rows[:, None], columns]
    np.testing.assert_array_equal(inside[1:2], enlarge_masks(behind, SIZE))
