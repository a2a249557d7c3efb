"""One map from pixels to the world and back."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.places import extent, mapped, mapped_back, points_mapped, points_mapped_back


@settings(deadline=None)
@given(values=st.lists(st.floats(-50, 50), min_size=6, max_size=6), point=st.tuples(*[st.floats(-99, 99)] * 2))
def test_mapping_is_the_affine_map(values, point):
    transform = Affine(*values)
    moved = mapped(shapely.Point(point), transform)
    assert (moved.x, moved.y) == pytest.approx(transform @ point, rel=1e-9, abs=1e-9)


def test_mapping_and_its_inverse_agree():
    view = Affine.translation(30, 7) @ Affine.rotation(33) @ Affine.scale(1.2, -0.8)
    shapes = np.array([shapely.box(3, 4, 11, 9), shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])], dtype=object)
    for back in (mapped(mapped(shapes, view), ~view), mapped_back(mapped(shapes, view), view)):
        assert shapely.hausdorff_distance(back, shapes) == pytest.approx([0, 0], abs=1e-9)


def test_the_way_back_is_as_exact_as_the_coordinates_are():
    transform = Affine.translation(9.5e6, 3.2e6) @ Affine.rotation(31) @ Affine.shear(4) @ Affine.scale(0.02, -0.03)
    pixels = np.random.default_rng(0).uniform(0, 1e5, (999, 2))
    back = points_mapped_back(points_mapped(pixels, transform), transform)
    assert np.abs(back - pixels).max() < 2e-7  # 9.5e6 m hold 2e-9 m


def test_the_extent_holds_all_four_corners():
    transform = Affine.translation(100, 200) @ Affine.rotation(90)  # x goes up, y to the left
    assert extent(transform, 30, 7) == pytest.approx((93, 200, 100, 230))
