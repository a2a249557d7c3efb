import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2det_geo.boxes import area

coordinates = arrays(np.float64, (7, 4), elements=st.floats(-50, 50, allow_nan=False, width=32))


def test_by_hand():
    assert area(np.array([[0.0, 0, 4, 2], [-1, 2, 4, 3], [1, 1, 1, 1]])).tolist() == [8, 5, 0]


def test_no_boxes():
    assert area(np.zeros((0, 4))).shape == (0,)


def test_sides_out_of_order_have_no_area():
    assert area(np.array([3.0, 3, 1, 1])) == 0


@settings(deadline=None, max_examples=50)
@given(boxes=coordinates)
def test_agrees_with_shapely(boxes):
    ordered = np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])])
    np.testing.assert_allclose(area(ordered), shapely.area(shapely.box(*ordered.T)), atol=1e-9)
