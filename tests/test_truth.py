"""Class mapping, the annotations value, and the geometry helpers beside it."""

import numpy as np
import pytest
import shapely

from d2det_geo.data.truth import IGNORE, ClassMap, Truth
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
    truth = Truth.of_polygons(shapes, np.array([1, 0]))
    assert truth.boxes.tolist() == [[1, 2, 5, 9], [0, 0, 3, 7]]
    assert len(truth) == 2
    assert len(truth.ignored) == 0


def test_no_objects():
    truth = Truth.of_polygons(np.empty(0, dtype=object), np.empty(0, np.int64))
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
        Truth(boxes, labels, polygons)
