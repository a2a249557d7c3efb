"""Run lengths of masks, against pycocotools and pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from d2det_geo import runs
from d2det_geo.annotations import Runs
from d2det_geo.packed_runs import DamagedError
from d2det_geo.runs import areas, boxes, full_counts, of_lengths, pixels, runs_of


def drawn(rng, height, width, kind):
    if kind == 0:
        return np.zeros((height, width), bool)
    if kind == 1:
        return np.ones((height, width), bool)
    if kind == 2:
        return rng.random((height, width)) < 0.5
    mask = np.zeros((height, width), bool)
    mask[height // 3 :, : width // 2 + 1] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 60), st.integers(0, 8))
def test_masks_are_those_of_pycocotools(seed, width, height, count):
    rng = np.random.default_rng(seed)
    masks, crops = [], []
    for _ in range(count):
        w, h = rng.integers(1, [width + 1, height + 1])
        x, y = rng.integers(0, [width - w + 1, height - h + 1])
        crop = drawn(rng, h, w, rng.integers(4))
        whole = np.zeros((height, width), bool)
        whole[y : y + h, x : x + w] = crop
        masks.append(whole)
        crops.append(runs_of(crop, int(x), int(y)))
        assert np.array_equal(pixels(crops[-1]), crop)
    assert areas(crops).tolist() == [int(mask.sum()) for mask in masks]
    expected = [coco.encode(np.asfortranarray(mask, np.uint8))["counts"] for mask in masks]
    assert full_counts(crops, width, height) == expected
    assert [runs_of(mask).counts for mask in masks] == expected
    for mask, crop, box in zip(expected, crops, boxes(crops).tolist(), strict=True):
        x, y, w, h = coco.toBbox({"size": [height, width], "counts": mask}).tolist()
        assert box == ([x, y, x + w, y + h] if w else [crop.x, crop.y, crop.x, crop.y])


def test_plain_run_lengths():
    lengths = [0, 3, 2, 40, 1, 7, 900, 47]
    assert (
        of_lengths(lengths, 50, 20).counts == coco.frPyObjects({"size": [20, 50], "counts": lengths}, 20, 50)["counts"]
    )
    for wrong in ([], [999], [-1, 1001]):
        with pytest.raises(DamagedError, match="mask 1: ") as caught:
            boxes([of_lengths([1000], 50, 20), of_lengths(wrong, 50, 20)])
        assert caught.value.index == 1


def test_long_runs_and_many_masks(monkeypatch):
    monkeypatch.setattr(runs, "_AT_ONCE", 3)
    crop = np.zeros((5, 900), bool)
    crop[1:4, 7:880] = True
    many = [runs_of(crop, 3 * index, 11) for index in range(8)]
    assert areas(many).tolist() == [3 * 873] * 8
    for index, counts in enumerate(full_counts(many, 13_000, 4_000)):
        one = {"size": [4_000, 13_000], "counts": counts}
        assert coco.toBbox(one).tolist() == [3 * index + 7, 12, 873, 3]
        assert coco.area(one) == 3 * 873
    assert full_counts([], 10, 10) == []
    assert len(areas([])) == 0


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Runs(0, 0, 2, 2, b"3"), "mask 1: the run lengths fill 3 px of a crop of 4"),
        (Runs(0, 0, 2, 2, b""), "mask 1: the packed run lengths end too early"),
        (Runs(0, 0, 2, 2, b"0T"), "mask 1: the packed run lengths end too early"),
        (Runs(0, 0, 2, 2, b"\xff"), "mask 1: 'ÿ' is no packed run length"),
        (Runs(0, 0, 2, 2, b"8_O"), "mask 1: a run length is negative"),
        (Runs(0, 0, 2, 2, b"P" * 13 + b"0"), "mask 1: a run length of more than 60 bits"),
    ],
)
def test_damage_is_told(mask, words, monkeypatch):
    monkeypatch.setattr(runs, "_AT_ONCE", 1)
    with pytest.raises(ValueError, match="^" + words):
        areas([Runs(0, 0, 2, 2, b"4"), mask])


def test_a_crop_stays_in_its_image():
    with pytest.raises(ValueError, match="mask 0: its crop leaves the image of 4 x 9 px"):
        full_counts([runs_of(np.ones((2, 3), bool), 2, 0)], 4, 9)
