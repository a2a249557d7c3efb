"""Class mapping, the annotations value, and the geometry helpers beside it."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.data.annotations import IGNORE, Annotations, ClassMap, mapped
from d2det_geo.errors import InputError

BOW_TIE = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])  # two triangles of area 4, touching at (2, 2)


def test_classes_by_hand():
    names = ClassMap(("vehicle", "boat"), {"car": "vehicle", "truck": "vehicle", "building": ""}, ("crowd",))
    assert names.label("car") == names.label("truck") == names.label("vehicle") == 0
    assert names.label("boat") == 1
    assert names.label("building") is None
    assert names.label("crowd") == IGNORE


def test_ignoring_wins_over_mapping():
    assert ClassMap(("car",), {"blur": "car"}, ("blur",)).label("blur") == IGNORE


def test_an_unknown_class_is_named_with_the_remedy():
    with pytest.raises(InputError, match=r"^cars\.json: class 'tram' .*\(car, bus\).*class_map.*'tram'.*ignore"):
        ClassMap(("car", "bus")).label("tram", source="cars.json")


def test_a_mapping_to_an_unknown_class_names_both():
    with pytest.raises(InputError, match=r"class 'rail' .*'tram'"):
        ClassMap(("car",), {"tram": "rail"}).label("tram")


def test_boxes_are_the_bounds_of_the_outlines():
    shapes = np.array([shapely.box(1, 2, 5, 9), shapely.Polygon([(0, 0), (3, 1), (1, 7)])], dtype=object)
    truth = Annotations.of_polygons(shapes, np.array([1, 0]))
    assert truth.boxes.tolist() == [[1, 2, 5, 9], [0, 0, 3, 7]]
    assert len(truth) == 2
    assert len(truth.ignored) == 0


def test_no_objects():
    truth = Annotations.of_polygons(np.empty(0, dtype=object), np.empty(0, np.int64))
    assert truth.boxes.shape == (0, 4)
    assert len(truth) == 0


@pytest.mark.parametrize(
    ("boxes", "labels", "polygons", "message"),
    [
        (np.zeros((3, 5)), np.zeros(3, np.int64), None, r"\[G, 4\], got \[3, 5\]"),
        (np.zeros((3, 4)), np.zeros(2, np.int64), None, "labels has 2 rows for 3"),
        (np.zeros((3, 4)), np.zeros(3, np.int64), np.empty(1, dtype=object), "polygons has 1 rows for 3"),
    ],
)
def test_arrays_of_different_lengths(boxes, labels, polygons, message):
    with pytest.raises(ValueError, match=message):
        Annotations(boxes, labels, polygons)


@settings(deadline=None)
@given(values=st.lists(st.floats(-50, 50), min_size=6, max_size=6), point=st.tuples(*[st.floats(-99, 99)] * 2))
def test_mapping_is_the_affine_map(values, point):
    transform = Affine(*values)
    moved = mapped(shapely.Point(point), transform)
    assert (moved.x, moved.y) == pytest.approx(transform @ point, rel=1e-9, abs=1e-9)


def test_mapping_and_its_inverse_agree():
    view = Affine.translation(30, 7) @ Affine.rotation(33) @ Affine.scale(1.2, -0.8)
    shapes = np.array([shapely.box(3, 4, 11, 9), BOW_TIE], dtype=object)
    assert shapely.hausdorff_distance(mapped(mapped(shapes, view), ~view), shapes) == pytest.approx([0, 0], abs=1e-9)
