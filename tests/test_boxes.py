import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2det_geo.boxes import area, intersection, paired_iou

coordinates = arrays(np.float64, (7, 4), elements=st.floats(-50, 50, allow_nan=False, width=32))


def ordered(boxes):
    return np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])])


def test_by_hand():
    first = np.array([[0.0, 0, 4, 2], [0, 0, 4, 2], [0, 0, 4, 2], [1, 1, 1, 1]])
    second = np.array([[2.0, 1, 6, 5], [4, 0, 8, 2], [5, 5, 9, 9], [1, 1, 1, 1]])
    assert area(first).tolist() == [8, 8, 8, 0]
    assert intersection(first, second)[0].tolist() == [2, 1, 4, 2]
    assert paired_iou(first, second).tolist() == [2 / (8 + 16 - 2), 0, 0, 0]


def test_no_boxes():
    assert paired_iou(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


def test_sides_out_of_order_have_no_area():
    assert area(np.array([3.0, 3, 1, 1])) == 0


@settings(deadline=None, max_examples=50)
@given(first=coordinates, second=coordinates)
def test_agrees_with_shapely(first, second):
    first, second = ordered(first), ordered(second)
    ours, theirs = shapely.box(*first.T), shapely.box(*second.T)
    shared = shapely.area(shapely.intersection(ours, theirs))
    union = shapely.area(ours) + shapely.area(theirs) - shared
    expected = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    np.testing.assert_allclose(paired_iou(first, second), expected, atol=1e-9)
