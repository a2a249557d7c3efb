"""The affine view of a training chip, and its colours."""

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.data.augment import Augment, change_colours, draw_turn, warp

WIDTH, HEIGHT = 230, 170
SIZE = 64
QUARTER = Augment(flip=True, rotate="quarter")


def coordinates():
    """An image whose first band says x and whose second says y of each pixel."""
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    image[0], image[1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    return image


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(deadline=None, max_examples=80)
@given(angle=st.floats(0, 360), zoom=st.floats(0.55, 2.5), flip=st.sampled_from([1, -1]), seed=st.integers(0, 99))
def test_the_warp_is_right_to_a_hundredth_of_a_pixel(angle, zoom, flip, seed):
    """On an image that is linear in x and y, bilinear sampling is exact: values are coordinates."""
    shift = rng(seed).uniform(90, 110, 2)
    view = Affine.translation(*shift) @ Affine.rotation(angle) @ Affine.scale(flip / zoom, 1 / zoom)
    view = view @ Affine.translation(-SIZE / 2, -SIZE / 2)
    pixels = coordinates()
    chip, inside = warp(pixels, np.ones((HEIGHT, WIDTH), bool), view, SIZE)
    column, row = (axis.ravel() + 0.5 for axis in np.meshgrid(np.arange(SIZE), np.arange(SIZE)))
    x, y = view.a * column + view.b * row + view.c, view.d * column + view.e * row + view.f
    within = (x > 0.5) & (x < WIDTH - 0.5) & (y > 0.5) & (y < HEIGHT - 0.5)
    assert within.sum() > 100
    values = chip.reshape(3, -1).numpy()
    assert np.abs(values[0] + 0.5 - x)[within].max() < 0.01
    assert np.abs(values[1] + 0.5 - y)[within].max() < 0.01
    assert inside.numpy().ravel()[within].all()
    outside = (x < 0) | (x > WIDTH) | (y < 0) | (y > HEIGHT)
    assert not inside.numpy().ravel()[outside].any()
    assert not values[:, outside].any()


def test_shrinking_averages_by_hand():
    """At a zoom of 1/3 a chip pixel is the mean of 9."""
    pixels = rng().integers(0, 256, (3, 36, 48), np.uint8)
    chip, inside = warp(pixels, np.ones((36, 48), bool), Affine.translation(6, 3) @ Affine.scale(3), 7)
    mean = pixels[:, 3:24, 6:27].reshape(3, 7, 3, 7, 3).mean(axis=(2, 4))
    assert chip.numpy() == pytest.approx(mean, abs=1e-2)
    assert inside.all()


def test_the_border_of_the_known_area_is_not_darkened():
    pixels = np.full((3, 40, 50), 200, np.uint8)
    known = np.ones((40, 50), bool)
    known[:, :21] = False
    chip, inside = warp(pixels, known, Affine.translation(10.3, 4) @ Affine.rotation(7), 24)
    assert 0 < inside.sum() < 24 * 24
    assert chip[:, inside].numpy() == pytest.approx(200, abs=1e-3)
    assert not chip[:, ~inside].any()


def test_all_eight_quarter_turns_appear():
    turns = {tuple(draw_turn(QUARTER, rng(seed), outlines=True)[:6]) for seed in range(99)}
    assert len(turns) == 8
    assert all(abs(Affine(*turn).determinant) == 1 for turn in turns)


def test_boxes_fall_back_to_quarter_turns():
    for seed in range(20):
        turn = draw_turn(Augment(rotate="any"), rng(seed), outlines=False)
        assert set(turn[:6]) <= {-1.0, 0.0, 1.0}
    assert any(0 < abs(draw_turn(Augment(rotate="any"), rng(s), outlines=True).a) < 1 for s in range(5))


def test_zoom_covers_its_range_log_uniformly():
    zooms = [1 / np.sqrt(draw_turn(Augment(scale=(0.5, 2)), rng(s), outlines=True).determinant) for s in range(400)]
    assert min(zooms) >= 0.5
    assert max(zooms) <= 2
    assert np.mean(np.array(zooms) < 1) == pytest.approx(0.5, abs=0.08)


def colours(chip, seed=0, **ranges):
    chip = torch.as_tensor(chip, dtype=torch.float32)
    return change_colours(chip, torch.ones(chip.shape[1:], dtype=torch.bool), Augment(**ranges), rng(seed)).astype(
        float
    )


def test_brightness_is_one_gain():
    chip = rng().uniform(20, 120, (3, 30, 40)).round()
    gains = {round(float(np.median(colours(chip, seed, brightness=0.25) / chip)), 2) for seed in range(30)}
    assert min(gains) < 0.85
    assert max(gains) > 1.15
    assert all(0.75 <= gain <= 1.25 for gain in gains)
    changed = colours(chip, 3, brightness=0.25)
    gain = (changed / chip).mean()
    assert np.abs(changed - chip * gain).max() < 1.2


def test_contrast_turns_about_the_mean():
    chip = np.full((3, 30, 40), 100.0)
    chip[:, :15] = 60
    for seed in range(5):
        changed = colours(chip, seed, contrast=0.5)
        assert changed.mean() == pytest.approx(80, abs=0.6)
    assert len({colours(chip, seed, contrast=0.5).std() for seed in range(5)}) > 2


def test_saturation_leaves_grey_alone():
    grey = np.broadcast_to(rng().integers(0, 256, (30, 40)), (3, 30, 40)).copy()
    assert np.array_equal(colours(grey, 2, saturation=0.9), grey)
    red = np.stack([np.full((5, 6), 200.0), *np.full((2, 5, 6), 50.0)])
    luma = 0.299 * 200 + 0.701 * 50
    spread = [np.ptp(colours(red, seed, saturation=0.9)) for seed in range(30)]
    assert min(spread) < 100
    assert max(spread) > 160
    assert np.array([0.299, 0.587, 0.114]) @ colours(red, 1, saturation=0.3)[:, 0, 0] == pytest.approx(luma, abs=1)


def test_colour_gains_are_of_each_band():
    gains = colours(np.full((3, 30, 40), 100.0), 1, colour=0.2).mean(axis=(1, 2)) / 100
    assert len(set(gains)) == 3
    assert (np.abs(gains - 1) <= 0.2).all()


def test_values_are_clipped_not_wrapped():
    chip = np.full((3, 8, 9), 250.0)
    brighter = [colours(chip, seed, brightness=0.5) for seed in range(20)]
    assert any((changed == 255).all() for changed in brighter)
    assert min(changed.min() for changed in brighter) >= 124


def test_blur_spreads_a_point_and_keeps_its_sum():
    chip = np.zeros((3, 31, 33))
    chip[:, 14, 17] = 255
    changed = colours(chip, 0, blur=1.0)
    assert changed[0, 14, 17] < 250
    assert changed[0, 13, 17] == changed[0, 14, 16] > 5
    assert changed.sum() == pytest.approx(chip.sum(), rel=0.03)
    assert np.array_equal(colours(np.full((3, 31, 33), 77.0), 0, blur=1.0), np.full((3, 31, 33), 77))


def test_noise_has_its_bounds():
    deviations = [colours(np.full((3, 64, 65), 128.0), seed, noise=10.0).std() for seed in range(20)]
    assert max(deviations) < 10.5
    assert max(deviations) > 6
    assert min(deviations) < 4
