"""Object masks at cell centres."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.data.cells import object_cells


def polygons(*shapes):
    return np.array(shapes, dtype=object)


def test_cells_by_hand():
    """A right triangle over a 4 x 4 grid: centres strictly below the diagonal."""
    triangle = shapely.Polygon([(10, 20), (18, 24), (10, 24)])
    cells = object_cells(polygons(triangle), np.array([[10.0, 20, 18, 24]]), 4)
    below = [[row > column or (row == column and cells[0, row, column]) for column in range(4)] for row in range(4)]
    assert cells[0].tolist() == np.array(below, int).tolist()  # centres on the edge itself may go either way
    square = shapely.box(2, 5, 6.5, 11)  # cells 0.67 to 2.17: of the centres, only 1.5
    assert object_cells(polygons(square), np.array([[0.0, 5, 12, 11]]), 4)[0].tolist() == [[0, 1, 0, 0]] * 4


def test_no_objects_no_cells():
    assert object_cells(np.empty(0, dtype=object), np.zeros((0, 4)), 5).shape == (0, 5, 5)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), side=st.sampled_from([7, 56]))
def test_cells_are_what_shapely_says(seed, side):
    """Many objects at once, with holes and several parts, against a point-in-polygon test of every centre."""
    random = np.random.default_rng(seed)
    shapes = []
    for _ in range(4):
        hull = shapely.MultiPoint(random.uniform(0, 50, (6, 2))).convex_hull
        hole = shapely.MultiPoint(random.uniform(10, 40, (4, 2))).convex_hull
        shapes.append(shapely.union(hull - hole, shapely.box(60, 5, 70, 9)))
    boxes = shapely.bounds(polygons(*shapes))
    boxes[1] += [-3, -2, 4, 1]
    boxes[2] += [3, 2, -4, -1]  # a box that cuts its object
    cells = object_cells(polygons(*shapes), boxes, side)
    for shape, (x1, y1, x2, y2), mask in zip(shapes, boxes, cells, strict=True):
        x = x1 + (np.arange(side) + 0.5) * (x2 - x1) / side
        y = y1 + (np.arange(side) + 0.5) * (y2 - y1) / side
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        clear = shapely.distance(shape.boundary, shapely.points(grid)) > 1e-9
        assert np.array_equal(mask.ravel()[clear], shapely.contains_xy(shape, grid)[clear])
