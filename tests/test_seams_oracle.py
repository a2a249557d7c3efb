"""What an oracle sees in parts becomes whole again: objects of any size and outline, over any number of windows."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from d2det_geo.detections import Detections
from d2det_geo.seams.merger import SeamMerger, best_first, merge_seams
from d2det_geo.vector.polygons import mask_polygons
from tests.bench.seam_oracle import Oracle, crowded_scene


def seen(shapes, width, height, size, overlap, jitter=0.0, seed=0, masks=True):
    shapes = np.array(shapes, dtype=object)
    return Oracle(width, height, size, overlap, jitter, seed).detect(shapes, masks=masks)


def ious(outlines, shapes):
    """Compare each shape with the outline that is most like it; both lists have one for each object."""
    assert len(outlines) == len(shapes)
    shared = shapely.area(shapely.intersection(np.array(shapes)[:, None], outlines[None]))
    union = shapely.area(np.array(shapes))[:, None] + shapely.area(outlines)[None] - shared
    assert sorted((shared / union).argmax(axis=1)) == list(range(len(shapes)))
    return (shared / union).max(axis=1)


def hulls(shapes):
    return np.array([shapely.box(*shape.bounds) for shape in shapes])


def l_shape(x, y, wide, tall, arm):
    return shapely.Polygon(
        [
            (x, y),
            (x + arm, y),
            (x + arm, y + tall - arm),
            (x + wide, y + tall - arm),
            (x + wide, y + tall),
            (x, y + tall),
        ]
    )


RUNWAY = shapely.box(13, 40.5, 1187, 83)
TAXIWAY = shapely.box(20, 90, 1180, 102)
CARS = [shapely.box(x, 55, x + 9, 60) for x in range(30, 1170, 41)]
CASES = {
    "a runway over eight windows, another beside it, and cars on it": (1200, 150, [RUNWAY, TAXIWAY, *CARS]),
    "the same upright": (150, 1200, [shapely.transform(shape, np.fliplr) for shape in [RUNWAY, TAXIWAY, *CARS]]),
    "an L of four windows a side, and a box in its elbow": (
        700,
        600,
        [l_shape(20, 15, 640, 555, 130), shapely.box(200, 50, 420, 380)],
    ),
    "an airfield seen from inside": (620, 600, [shapely.box(10, 12, 605, 590), shapely.box(300, 310, 318, 322)]),
    "a ship at an angle": (
        600,
        520,
        [shapely.LineString([(100, 90), (500, 430)]).buffer(60, cap_style="flat"), shapely.box(40, 400, 90, 430)],
    ),
}


@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes"])
@pytest.mark.parametrize("case", CASES)
def test_large_objects_become_whole(case, masks):
    width, height, shapes = CASES[case]
    found = merge_seams(seen(shapes, width, height, 200, 56, masks=masks), width, height)
    outlines = mask_polygons(found) if masks else hulls(shapely.box(*found.boxes.T))
    assert ious(outlines, shapes if masks else hulls(shapes)).min() > (0.985 if "angle" in case else 0.99)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), jitter=st.floats(0, 1), overlap=st.integers(40, 90), masks=st.booleans())
def test_crowded_scenes_lose_nothing_and_gain_nothing(seed, jitter, overlap, masks):
    """Rows of objects of 4 to 40 px, 3 px apart, and up to 4,000 px large ones with small ones on them."""
    shapes = crowded_scene(seed, 150, 1300)
    boxes = shapely.bounds(shapes)
    height = int(boxes[:, 3].max()) + 20
    found = merge_seams(seen(shapes, 1300, height, 300, overlap, jitter, seed, masks), 1300, height)
    assert len(found) == len(boxes)
    off = np.abs(found.boxes[:, None] - boxes).max(axis=2)
    assert sorted(off.argmin(axis=1)) == list(range(len(boxes)))
    assert off.min(axis=1).max() <= jitter + 1  # the oracle does not see less than a pixel


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10**6), masks=st.booleans(), random=st.randoms(use_true_random=False), every=st.integers(1, 9)
)
def test_a_stream_gives_what_all_at_once_gives(seed, masks, random, every):
    shapes = crowded_scene(seed, 150, 900)
    height = int(shapely.bounds(shapes)[:, 3].max()) + 20
    parts = seen(shapes, 900, height, 250, 60, 1, seed, masks)
    once = SeamMerger(900, height)
    for detections, window in parts:
        once.add(detections, window)
    stream, given_up = SeamMerger(900, height), []
    parts.sort(key=lambda part: (part[1].row_off, random.random()))
    for index, (detections, window) in enumerate(parts):
        stream.add(detections, window)
        if index % every == 0:
            given_up.append(stream.finished(window.row_off))
    found, expected = best_first([*given_up, stream.flush()]), once.flush()
    for name in ("boxes", "scores", "labels", "masks", "mask_scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    if expected.pieces is not None:
        np.testing.assert_array_equal(found.pieces.owners, expected.pieces.owners)
        np.testing.assert_array_equal(found.pieces.masks, expected.pieces.masks)


def test_what_no_window_to_come_can_touch_leaves_at_once():
    merger = SeamMerger(100, 300)
    box = np.array([[10.0, 20, 30, 40], [10, 70, 30, 96], [60, 60, 80, 77]])
    part = Detections(box, np.full(3, 0.5, np.float32), np.zeros(3, np.int64))
    merger.add(part, Window(0, 0, 100, 100))
    assert len(merger.finished(0)) == 0
    assert merger.finished(80).boxes.tolist() == [[10, 20, 30, 40]]  # 77 is within the jitter of 80
    with pytest.raises(ValueError, match="row 79"):
        merger.add(part, Window(0, 79, 100, 100))
    assert merger.flush().boxes.tolist() == [[10, 70, 30, 96], [60, 60, 80, 77]]
    assert len(merger.flush()) == 0


def test_the_outlines_of_pieces_move_and_sort_with_their_objects():
    width, height, shapes = CASES["an L of four windows a side, and a box in its elbow"]
    found = merge_seams(seen(shapes, width, height, 200, 56), width, height)
    assert found.pieces is not None
    assert len(np.unique(found.pieces.owners)) == 2
    twice = Detections.concatenate([found, found.moved((2, 3), (10, 20))]).select(np.array([3, 0, 1, 2]))
    outlines, expected = mask_polygons(twice), mask_polygons(found)
    grown = [shapely.transform(outline, lambda points: points * [2, 3] + [10, 20]) for outline in expected]
    for outline, wanted in zip(outlines, [grown[1], *expected, grown[0]], strict=True):
        assert shapely.area(shapely.symmetric_difference(outline, wanted)) < 1e-6 * wanted.area
    assert found.select(np.zeros(2, dtype=bool)).pieces.masks.shape == (0, 28, 28)
