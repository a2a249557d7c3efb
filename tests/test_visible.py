"""What of an image's truth a chip shows, and the boxes that stand for ignored places."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.data.truth import Truth
from d2det_geo.data.visible import covering_boxes, visible_objects

SIZE = 64
EVERYWHERE = shapely.box(-999, -999, 999, 999)


def polygons(*shapes):
    return np.array(shapes, dtype=object)


def outlined(*shapes, ignored=()):
    return Truth.of_polygons(polygons(*shapes), np.arange(len(shapes)), polygons(*ignored))


def boxed(*shapes):
    return Truth(shapely.bounds(polygons(*shapes)), np.arange(len(shapes)))


CUTS = [
    ((-30, 10, 10, 20), True),  # a quarter is seen
    ((-30.1, 10, 10, 20), False),
    ((-1, -1, 1, 1), False),
    ((-10, 50, 1.9, 52), False),  # thinner than 2 px
    ((10, 10, 12, 40), True),
    ((10, 10, 11.9, 40), False),
]


@pytest.mark.parametrize(("box", "kept"), CUTS)
@pytest.mark.parametrize("make", [outlined, boxed])
def test_what_counts_as_seen(make, box, kept):
    seen = visible_objects(make(shapely.box(*box)), EVERYWHERE, Affine.identity(), SIZE)
    clipped = [np.clip(box, 0, SIZE).tolist()]
    assert seen.boxes.tolist() == (clipped if kept else [])
    assert shapely.bounds(seen.ignored).tolist() == ([] if kept else clipped)
    assert (seen.polygons is None) == (make is boxed)


def test_objects_outside_leave_no_trace():
    truth = outlined(shapely.box(64, 0, 90, 20), shapely.box(3, 70, 9, 90))
    seen = visible_objects(truth, shapely.box(0, 0, 99, 99), Affine.identity(), SIZE)
    assert len(seen) == len(seen.ignored) == 0


def test_the_usable_region_cuts_too():
    truth = outlined(shapely.box(10, 10, 30, 20), shapely.box(28, 30, 58, 40))
    seen = visible_objects(truth, shapely.box(0, 0, 25, 35), Affine.identity(), SIZE)
    assert seen.boxes.tolist() == [[10, 10, 25, 20]]
    assert seen.labels.tolist() == [0]
    seen = visible_objects(truth, shapely.box(0, 0, 29, 35), Affine.identity(), SIZE)
    assert shapely.bounds(seen.ignored).tolist() == [[28, 30, 29, 35]]


def test_a_polygon_that_touches_the_edge_by_a_line_keeps_its_own_bounds():
    """The closed chip also meets the bar along its left edge; only areas count."""
    comb = shapely.union(shapely.box(10, 10, 30, 20), shapely.box(-5, 10, 0, 60)).union(shapely.box(-5, 10, 12, 12))
    truth = outlined(comb)
    (box,) = visible_objects(truth, EVERYWHERE, Affine.identity(), SIZE).boxes
    assert box.tolist() == [0, 10, 30, 20]


def test_labels_follow_their_objects():
    truth = outlined(*[shapely.box(20 * i, 5 * i, 20 * i + 9, 5 * i + 8) for i in range(10)])
    view = Affine.translation(70, 10)
    seen = visible_objects(truth, EVERYWHERE, view, SIZE)
    assert seen.labels.tolist() == [4, 5, 6]
    assert seen.boxes[:, 0].tolist() == [10, 30, 50]


def test_ignored_regions_are_clipped_and_mapped():
    truth = outlined(ignored=[shapely.box(-20, 10, 30, 20), shapely.box(200, 100, 220, 120)])
    seen = visible_objects(truth, EVERYWHERE, Affine.translation(10, 4) @ Affine.scale(0.5), SIZE)
    assert shapely.bounds(seen.ignored).tolist() == [[0, 12, 40, 32]]


def test_a_compact_region_is_one_box():
    regions = polygons(shapely.box(3, 4, 60, 50), shapely.Point(80, 90).buffer(9))
    assert covering_boxes(regions) == pytest.approx(shapely.bounds(regions)[::-1])


def test_a_ring_does_not_swallow_what_it_surrounds():
    ring = shapely.box(0, 0, 512, 512) - shapely.box(40, 40, 472, 472)
    boxes = covering_boxes(polygons(ring))
    middle = shapely.box(80, 80, 432, 432)
    assert not shapely.intersects(shapely.box(*boxes.T), middle).any()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_boxes_cover_the_region_and_little_else(seed):
    points = np.random.default_rng(seed).uniform(0, 400, (5, 2))
    region = shapely.LineString(points).buffer(12)
    boxes = shapely.box(*covering_boxes(polygons(region)).T)
    union = shapely.union_all(boxes)
    assert region.difference(union).area < 1e-6
    assert union.difference(region.buffer(64)).area < 1e-6


def test_no_region_no_box():
    assert covering_boxes(np.empty(0, dtype=object)).shape == (0, 4)
