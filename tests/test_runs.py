"""Run lengths of masks, against pycocotools and pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from d2det_geo import runs
from d2det_geo.annotations import Runs
from d2det_geo.runs import DamagedError, measured, of_lengths, overlaps, pixels, runs_of, spans, whole


def drawn(rng, height, width, kind):
    if kind == 0:
        return np.zeros((height, width), bool)
    if kind == 1:
        return np.ones((height, width), bool)
    if kind == 2:
        return rng.random((height, width)) < rng.choice([0.1, 0.5, 0.9])
    mask = np.zeros((height, width), bool)
    mask[height // 3 :, : width // 2 + 1] = True
    return mask


def encoded(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 60), st.integers(0, 8))
def test_masks_are_those_of_pycocotools(seed, width, height, count):
    rng = np.random.default_rng(seed)
    masks, crops = [], []
    for _ in range(count):
        w, h = rng.integers(1, [width + 1, height + 1])
        x, y = rng.integers(0, [width - w + 1, height - h + 1])
        crop = drawn(rng, h, w, rng.integers(4))
        mask = np.zeros((height, width), bool)
        mask[y : y + h, x : x + w] = crop
        masks.append(mask)
        crops.append(runs_of(crop, int(x), int(y)))
        assert np.array_equal(pixels(crops[-1]), crop)
    assert measured(crops).areas.tolist() == [int(mask.sum()) for mask in masks]
    expected = [encoded(mask) for mask in masks]
    wholes = whole(crops, np.array([width, height]))
    assert wholes == [Runs(0, 0, width, height, counts) for counts in expected]
    assert [runs_of(mask).counts for mask in masks] == expected
    for counts, crop, box in zip(expected, crops, measured(crops).boxes.tolist(), strict=True):
        x, y, w, h = coco.toBbox({"size": [height, width], "counts": counts}).tolist()
        assert box == ([x, y, x + w, y + h] if w else [crop.x, crop.y, crop.x, crop.y])
    found = spans(wholes)
    assert (found.areas.tolist(), found.boxes.tolist()) == tuple(values.tolist() for values in measured(wholes))
    pairs = tuple(side.ravel() for side in np.indices((count, count)))
    flat = np.array(masks, np.int64).reshape(count, width * height)
    assert overlaps(found, found, pairs).tolist() == (flat @ flat.T).ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_sticks_out_is_cut_off_or_refused(seed):
    rng = np.random.default_rng(seed)
    crops, sizes, expected, fit = [], [], [], True
    for _ in range(3):
        width, height, across, down = rng.integers(1, 30, 4)
        x, y = rng.integers(-8, 30, 2)
        crop = drawn(rng, down, across, rng.integers(4))
        canvas = np.zeros((height + 110, width + 110), bool)
        canvas[40 + y : 40 + y + down, 40 + x : 40 + x + across] = crop
        expected.append(canvas[40 : 40 + height, 40 : 40 + width])
        crops.append(runs_of(crop, int(x), int(y)))
        sizes.append((width, height))
        fit &= x >= 0 and y >= 0 and x + across <= width and y + down <= height
    cut = whole(crops, np.array(sizes), cut=True)
    assert [mask.counts for mask in cut] == [encoded(mask) for mask in expected]
    assert measured(cut).areas.tolist() == [mask.sum() for mask in expected]
    if not fit:
        with pytest.raises(DamagedError, match=r"mask \d: its crop leaves the image of \d+ x \d+ px"):
            whole(crops, np.array(sizes))


def test_a_mask_of_the_whole_image_stays_but_is_checked():
    odd = of_lengths([2, 3, 0, 2, 3, 0], 5, 2)
    assert whole([odd], np.array([[5, 2]]))[0] is odd
    assert np.array_equal(pixels(odd), pixels(of_lengths([2, 5, 3], 5, 2)))
    assert whole([odd], np.array([6, 2])) == [of_lengths([2, 5, 5], 6, 2)]


def test_long_runs_are_packed_as_pycocotools_packs_them():
    dot = runs_of(np.ones((1, 1), bool), 1000, 2000)
    expected = coco.frPyObjects({"size": [40000, 30000], "counts": [40002000, 1, 1159997999]}, 40000, 30000)
    assert whole([dot], np.array([30000, 40000]))[0].counts == expected["counts"]


def test_plain_run_lengths():
    lengths = [0, 3, 2, 40, 1, 7, 900, 47]
    packed = of_lengths(lengths, 50, 20)
    assert packed.counts == coco.frPyObjects({"size": [20, 50], "counts": lengths}, 20, 50)["counts"]
    for wrong in ([], [999], [-1, 1001], [10**30], [1000, 1]):
        with pytest.raises(DamagedError, match="mask 1: ") as caught:
            measured([of_lengths([1000], 50, 20), of_lengths(wrong, 50, 20)])
        assert caught.value.index == 1


def test_many_masks_and_none(monkeypatch):
    monkeypatch.setattr(runs, "_AT_ONCE", 3)
    crop = np.zeros((5, 900), bool)
    crop[1:4, 7:880] = True
    many = [runs_of(crop, 3 * index, 11) for index in range(8)]
    assert measured(many).areas.tolist() == [3 * 873] * 8
    for index, mask in enumerate(whole(many, np.array([13_000, 4_000]))):
        one = {"size": [4_000, 13_000], "counts": mask.counts}
        assert coco.toBbox(one).tolist() == [3 * index + 7, 12, 873, 3]
        assert coco.area(one) == 3 * 873
    with pytest.raises(DamagedError, match="mask 8: "):
        whole([*many, Runs(0, 0, 2, 2, b"3")], np.array([13_000, 4_000]))
    assert whole([], np.array([10, 10])) == []
    assert len(measured([]).areas) == len(spans([]).areas) == 0
    assert overlaps(spans([]), spans([]), (np.zeros(0, np.intp), np.zeros(0, np.intp))).tolist() == []


def test_crops_without_pixels():
    empty = [runs_of(np.zeros(shape, bool), 3, 4) for shape in ((0, 0), (0, 5), (5, 0))]
    assert measured(empty).areas.tolist() == [0, 0, 0]
    assert measured(empty).boxes.tolist() == [[3, 4, 3, 4]] * 3
    assert [pixels(mask).shape for mask in empty] == [(0, 0), (0, 5), (5, 0)]
    assert whole(empty, np.array([9, 9])) == [runs_of(np.zeros((9, 9), bool))] * 3


DAMAGED = [
    (Runs(0, 0, 2, 2, b"3"), "the run lengths do not fill its crop of 2 x 2 px"),
    (Runs(0, 0, 2, 2, b"5"), "the run lengths fill more than its crop of 2 x 2 px"),
    (Runs(0, 0, 2, 2, b"33"), "the run lengths fill more than its crop of 2 x 2 px"),
    (Runs(0, 0, 2, 2, b"4p"), "'p' is no packed run length"),
    (Runs(0, 0, 2, 2, b""), "the packed run lengths end too early"),
    (Runs(0, 0, 2, 2, b"0T"), "the packed run lengths end too early"),
    (Runs(0, 0, 2, 2, b"\xff"), "'ÿ' is no packed run length"),
    (Runs(0, 0, 2, 2, b"\x00"), "'\\x00' is no packed run length"),
    (Runs(0, 0, 2, 2, b"8_O"), "the run lengths fill more than its crop of 2 x 2 px"),
    (Runs(0, 0, 9, 9, b"8O"), "a run length is negative"),
    (Runs(0, 0, 2, 2, b"P" * 13 + b"0"), "a run length of more than 60 bits"),
    (Runs(0, 0, 2**40, 1, b"0"), "no image has a crop of 1099511627776 x 1 px at (0, 0)"),
    (Runs(0, -(2**80), 1, 1, b"0"), f"no image has a crop of 1 x 1 px at (0, -{2**80})"),
    (Runs(0, 0, -1, -1, b"1"), "no image has a crop of -1 x -1 px at (0, 0)"),
]


@pytest.mark.parametrize(("mask", "words"), DAMAGED)
@pytest.mark.parametrize("read", [measured, spans, lambda masks: whole(masks, np.array([50, 50]), cut=True)])
def test_damage_is_told(read, mask, words):
    with pytest.raises(DamagedError) as caught:
        read([Runs(0, 0, 2, 2, b"4"), mask])
    assert str(caught.value) == f"mask 1: {words}"
    assert caught.value.index == 1


def test_more_than_32_bits_of_pixels():
    large = of_lengths([2**33 - 5, 2, 3], 2**16, 2**17)
    assert measured([large]).boxes.tolist() == [[2**16 - 1, 2**17 - 5, 2**16, 2**17 - 3]]
    with pytest.raises(DamagedError, match=r"mask 0: it has 2\^32 px or more"):
        spans([large])


def decoded(counts):
    """Read packed run lengths by hand; None for what cannot be read."""
    lengths, value, shift = [], 0, 0
    for byte in counts:
        if not 48 <= byte < 112 or shift == 60:
            return None
        value |= ((byte - 48) & 31) << shift
        shift += 5
        if (byte - 48) & 32 == 0:
            value -= (1 << shift) if (byte - 48) & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths if lengths and not shift else None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.binary(max_size=3), st.integers(0, 5))
def test_any_text_is_read_as_by_hand_or_refused(seed, noise, changes):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(1, 9, 2))
    text = bytearray(runs_of(rng.random((height, width)) < 0.5).counts)
    for _ in range(changes):
        text[rng.integers(len(text))] = rng.integers(48, 112)
    at = rng.integers(len(text) + 1)
    text[at:at] = noise
    mask = Runs(0, 0, width, height, bytes(text))
    lengths = decoded(mask.counts)
    if lengths is not None and min(lengths) >= 0 and sum(lengths) == width * height:
        assert measured([mask]).areas.tolist() == [sum(lengths[1::2])]
        assert pixels(mask).T.ravel().tolist() == np.repeat(np.arange(len(lengths)) % 2 > 0, lengths).tolist()
        assert np.array_equal(pixels(whole([mask], np.array([width, height]))[0]), pixels(mask))
        return
    for read in (measured, spans, lambda masks: whole(masks, np.array([width, height]))):
        with pytest.raises(DamagedError):
            read([mask])
