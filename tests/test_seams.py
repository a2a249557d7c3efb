import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from d2det_geo.detections import MASK_SIDE, Detections
from d2det_geo.seams.merger import merge_seams
from d2det_geo.seams.stitch import stitched


def detections(boxes, scores=None, labels=None, masks=None):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.linspace(0.9, 0.5, len(boxes)) if scores is None else scores
    return Detections(
        boxes=boxes,
        scores=np.asarray(scores, np.float32),
        labels=np.asarray(np.zeros(len(boxes)) if labels is None else labels, np.int64),
        masks=masks,
        mask_scores=None if masks is None else np.asarray(scores, np.float32),
    )


def starts(length, size, overlap):
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]


def windows(width, height, size, overlap):
    rows, columns = starts(height, size, overlap), starts(width, size, overlap)
    return [Window(x, y, min(size, width), min(size, height)) for y, x in product(rows, columns)]


def oracle(rng, objects, labels, grid, jitter):
    """See every object as far as each window reaches, the sides off by up to ``jitter`` px."""
    parts = []
    for window in grid:
        frame = np.array(
            [window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height]
        )
        low, high = np.maximum(objects[:, :2], frame[:2]), np.minimum(objects[:, 2:], frame[2:])
        seen = ((high - low) > 1).all(axis=1)
        boxes = np.hstack([low, high])[seen] + rng.uniform(-jitter, jitter, (seen.sum(), 4))
        boxes = np.hstack([np.maximum(boxes[:, :2], frame[:2]), np.minimum(boxes[:, 2:], frame[2:])])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
        parts.append((detections(boxes, rng.uniform(0.5, 1, len(boxes)), labels[seen]), window))
    return parts


def terrace(rng, width, height):
    """Rows of objects 3 px apart, in both directions."""
    boxes, y = [], 4.0
    while y + 30 < height:
        x, tall = 3.0, rng.uniform(8, 26)
        while x + 34 < width:
            wide = rng.uniform(8, 30)
            boxes.append([x, y, x + wide, y + tall])
            x += wide + 3
        y += tall + 3
    return boxes


def large_with_small(rng, width, height, side, top):
    """Objects of up to ``side`` px, each with a small one of the same class on it."""
    boxes = []
    for y, x in product(np.arange(top, height - side - 5, side + 20), np.arange(8, width - side - 5, side + 20)):
        large, small = rng.uniform(0.6 * side, side, 2), rng.uniform(8, 12, 2)
        start = np.array([x, y])
        corner = start + rng.uniform(4, large - 16)
        boxes += [[*start, *(start + large)], [*corner, *(corner + small)]]
    return boxes


def scene(rng, width, height, side):
    middle = height // 2
    return np.array(terrace(rng, width, middle) + large_with_small(rng, width, height, side, middle + 10))


def assert_same_objects(found, objects, labels, tolerance):
    """Assert one detection for each object and no other, every side within ``tolerance`` px."""
    assert len(found) == len(objects)
    apart = np.abs(found.boxes[:, None] - objects[None]).max(axis=2) + 1e6 * (found.labels[:, None] != labels)
    assert sorted(apart.argmin(axis=1)) == list(range(len(objects)))
    assert apart.min(axis=1).max() <= tolerance


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(300, 620),
    height=st.integers(320, 560),
    size=st.integers(170, 310),
    overlap=st.integers(45, 90),
    jitter=st.floats(0, 1),
)
def test_oracle_with_objects_up_to_the_overlap(seed, width, height, size, overlap, jitter):
    rng = np.random.default_rng(seed)
    objects = scene(rng, width, height, overlap - 6)
    labels = rng.integers(0, 3, len(objects))
    found = merge_seams(
        oracle(rng, objects, labels, windows(width, height, size, overlap), jitter), width, height, iou=0.5
    )
    assert_same_objects(found, objects, labels, jitter + 1e-9)
    assert (np.diff(found.scores) <= 0).all()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(400, 620),
    height=st.integers(500, 640),
    size=st.integers(170, 260),
    overlap=st.integers(45, 80),
    factor=st.floats(1, 2),
    jitter=st.floats(0, 1),
)
def test_oracle_with_objects_wider_than_the_overlap(seed, width, height, size, overlap, factor, jitter):
    rng = np.random.default_rng(seed)
    objects = scene(rng, width, height, overlap * factor)
    labels = np.zeros(len(objects), np.int64)
    parts = oracle(rng, objects, labels, windows(width, height, size, overlap), jitter)
    # The oracle does not see less than one pixel: an object that sticks out of its window by that ends there.
    assert_same_objects(merge_seams(parts, width, height), objects, labels, jitter + 1)


LEFT, RIGHT = Window(0, 0, 100, 80), Window(60, 0, 90, 80)
"""Two windows of a scene 150 px wide and 80 tall: they share x from 60 to 100."""


def merged(left, right, **options):
    return merge_seams([(left, LEFT), (right, RIGHT)], 150, 80, **options)


def test_the_whole_object_wins_over_a_better_scored_fragment():
    found = merged(detections([[50, 10, 90, 30]], [0.6]), detections([[60, 10, 90, 30]], [0.9]))
    assert found.boxes.tolist() == [[50, 10, 90, 30]]
    assert found.scores.tolist() == pytest.approx([0.6])


def test_of_two_whole_ones_the_better_scored_wins():
    found = merged(detections([[65, 10, 90, 30]], [0.6]), detections([[66, 11, 90, 30]], [0.9]))
    assert found.boxes.tolist() == [[66, 11, 90, 30]]


def test_facing_fragments_become_one():
    found = merged(detections([[20, 10, 100, 30]], [0.6]), detections([[60, 10, 140, 31]], [0.9]))
    assert found.boxes.tolist() == [[20, 10, 140, 31]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_neighbours_cut_by_the_same_seam_stay_two():
    """Two cut objects 3 px apart, neither of which the other window has seen."""
    found = merged(detections([[20, 10, 100, 30]]), detections([[60, 33, 140, 50]]))
    assert len(found) == 2


def test_a_sliver_is_explained_by_the_object_it_belongs_to():
    assert len(merged(detections([[20, 10, 61, 30]]), detections([[60, 11, 63, 29]]))) == 1


def test_a_sliver_of_another_class_is_not():
    assert len(merged(detections([[20, 10, 61, 30]]), detections([[60, 11, 63, 29]], labels=[1]))) == 2


def test_a_sliver_that_nothing_covers_stays():
    assert len(merged(detections([[20, 10, 56, 30]]), detections([[60, 11, 63, 29]]))) == 2


def test_small_on_large_survives_even_where_it_touches_the_seam():
    large, small = [10, 5, 95, 75], [61, 20, 71, 32]
    found = merged(detections([large, small]), detections([[60, 5, 95, 75], small]))
    assert sorted(found.boxes.tolist()) == [large, small]


def test_within_a_window_nothing_is_suppressed():
    twins = [[70, 10, 90, 30], [70.5, 10, 90, 30]]
    assert len(merged(detections(twins), detections([]))) == 2
    assert len(merged(detections(twins), detections(twins))) == 2


def test_classes_are_merged_apart():
    box = [[70, 10, 90, 30]]
    assert len(merged(detections(box, labels=[0]), detections(box, labels=[1]))) == 2


def test_iou_decides_what_agrees():
    left, right = detections([[64, 10, 84, 30]]), detections([[70, 10, 90, 30]])  # IoU 14 / 26
    assert len(merged(left, right, iou=0.5)) == 1
    assert len(merged(left, right, iou=0.55)) == 2


def test_edges_of_the_scene_do_not_cut():
    """On the scene's upper edge an object is whole, so that its box is kept as it is, not joined to the fragment."""
    found = merged(detections([[59.8, 0, 100, 30]], [0.9]), detections([[61.8, 0, 103, 30]], [0.5]))
    assert found.boxes.tolist() == [[61.8, 0, 103, 30]]


def test_what_both_windows_cut_alike_keeps_its_shape():
    """The windows' lower edge cuts the object in both: the larger of two views, not the hull of their jitter."""
    parts = [(detections([[64, 60, 90, 80]]), LEFT), (detections([[65, 59, 91, 80]]), RIGHT)]
    assert merge_seams(parts, 150, 200).boxes.tolist() == [[65, 59, 91, 80]]


def test_a_cut_object_on_a_larger_cut_one_survives():
    left = detections([[10, 5, 100, 75], [45, 20, 100, 40]])
    right = detections([[60, 5, 145, 75], [60, 20, 115, 40]])
    assert sorted(merged(left, right).boxes.tolist()) == [[10, 5, 145, 75], [45, 20, 115, 40]]


def test_a_fragment_that_was_dropped_explains_nothing():
    """The whole object explains the second window's fragment, which reaches over the third's."""
    parts = [
        (detections([[20, 10, 90, 30]]), Window(0, 0, 100, 80)),
        (detections([[60, 20, 70, 34]]), Window(60, 0, 100, 80)),
        (detections([[62, 29, 69, 36]]), Window(62, 20, 100, 80)),
    ]
    assert sorted(merge_seams(parts, 200, 120).boxes.tolist()) == [[20, 10, 90, 30], [62, 29, 69, 36]]
    assert len(merge_seams(parts[1:], 200, 120)) == 1


def test_four_windows_meet_at_a_corner():
    grid = windows(150, 130, 90, 30)
    big = np.array([[25.0, 20, 130, 115]])
    parts = oracle(np.random.default_rng(0), big, np.zeros(1, np.int64), grid, 0)
    assert [len(part) for part, _ in parts] == [1, 1, 1, 1]
    assert merge_seams(parts, 150, 130).boxes.tolist() == big.tolist()


def test_without_overlap_pieces_stay_pieces():
    parts = [
        (detections([[20, 10, 50, 30]]), Window(0, 0, 50, 80)),
        (detections([[50, 10, 90, 30]]), Window(50, 0, 100, 80)),
    ]
    assert len(merge_seams(parts, 150, 80)) == 2


def test_nothing_to_merge():
    assert len(merge_seams([], 10, 20)) == 0
    found = merge_seams([(Detections.empty(masks=True), Window(0, 0, 10, 20))], 10, 20)
    assert found.masks.shape == (0, MASK_SIDE, MASK_SIDE)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), random=st.randoms(use_true_random=False))
def test_order_of_the_parts_never_shows(seed, random):
    rng = np.random.default_rng(seed)
    objects = scene(rng, 330, 410, 90)
    parts = oracle(rng, objects, np.zeros(len(objects), np.int64), windows(330, 410, 150, 50), 1)
    coarse = [(detections(part.boxes, np.round(part.scores, 1), part.labels), window) for part, window in parts]
    expected = merge_seams(coarse, 330, 410)
    shuffled = random.sample(coarse, len(coarse))
    found = merge_seams(shuffled, 330, 410)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_stitched_mask_covers_what_the_fragments_covered():
    """A triangle over x 0..140, y 0..28, of which each fragment saw its own part."""
    centres = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE

    def seen(x1, x2):
        x, y = x1 + centres * (x2 - x1), centres * 28
        return (y[:, None] < x[None, :] / 5).astype(np.float32)

    fragments = detections([[0, 0, 90, 28], [60, 0, 140, 28]], masks=np.stack([seen(0, 90), seen(60, 140)]))
    whole = stitched(fragments, np.zeros(2, np.intp))
    assert whole.boxes.tolist() == [[0, 0, 140, 28]]
    assert whole.masks.shape == (1, MASK_SIDE, MASK_SIDE)
    assert whole.mask_scores.tolist() == pytest.approx([0.9])
    assert np.abs((whole.masks[0] > 0.5) - seen(0, 140)).mean() < 0.04


def test_stitching_one_fragment_changes_nothing():
    mask = np.random.default_rng(0).random((1, MASK_SIDE, MASK_SIDE), dtype=np.float32)
    one = stitched(detections([[3, 5, 40, 90]], masks=mask), np.zeros(1, np.intp))
    np.testing.assert_allclose(one.masks, mask, atol=1e-6)


def test_cost_is_far_from_quadratic():
    """All pairs of 25,000 detections would be 300 million comparisons, and gigabytes."""
    rng = np.random.default_rng(0)
    side = 4000
    ticks = np.arange(2, side - 30, 34.0)
    corners = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    objects = np.hstack([corners, corners + rng.uniform(9, 31, corners.shape)])
    parts = oracle(rng, objects, np.zeros(len(objects), np.int64), windows(side, side, 512, 128), 1)
    assert sum(len(part) for part, _ in parts) > 24_000
    start = time.process_time()
    found = merge_seams(parts, side, side)
    assert time.process_time() - start < 4
    assert len(found) == len(objects)
