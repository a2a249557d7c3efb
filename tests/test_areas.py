"""Areas on the ellipsoid, against Karney's edge-by-edge measure in PROJ."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.vector.areas import geodesic_areas_m2

UTM = pyproj.CRS(32645)
WGS84 = pyproj.CRS(4326)


def outline(lon: float, lat: float, radius_deg: float, seed: int) -> shapely.Polygon:
    """Make a jagged outline with a hole around a place."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = rng.uniform(0.5, 1, 40) * radius_deg
    stretch = np.cos(np.radians(lat))
    shell = np.column_stack([lon + reach * np.cos(turn) / stretch, lat + reach * np.sin(turn)])
    hole = np.column_stack([lon + 0.3 * radius_deg * np.cos(turn) / stretch, lat + 0.3 * radius_deg * np.sin(turn)])
    return shapely.Polygon(shell, [hole])


@settings(deadline=None, max_examples=60)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-84.5, 84.5),
    radius=st.floats(1e-5, 0.02),
    ellipsoid=st.sampled_from(["WGS84", "clrk66", "sphere"]),
    seed=st.integers(0, 99),
)
def test_small_and_large_outlines_have_the_area_of_their_geodesics(lon, lat, radius, ellipsoid, seed):
    polygon = outline(lon, lat, radius, seed)
    expected = abs(pyproj.Geod(ellps=ellipsoid).geometry_area_perimeter(shapely.orient_polygons(polygon))[0])
    found = geodesic_areas_m2(np.array([polygon]), pyproj.CRS(f"+proj=longlat +ellps={ellipsoid}"))
    # PROJ itself is off by 1e-4 m2 for outlines of a metre, as a plane with the radii of curvature shows.
    assert found == pytest.approx([expected], rel=1e-6, abs=5e-4)


def test_empty_outlines_and_parts_that_cross_the_antimeridian():
    parts = [
        shapely.box(179.9999, 10, 180.0001, 10.0001),
        shapely.Polygon(),
        shapely.box(-180.0001, 10, -179.9999, 10.0001),
    ]
    areas = geodesic_areas_m2(np.array(parts), WGS84)
    assert areas[1] == 0
    assert areas[0] == pytest.approx(areas[2], rel=1e-9)
    turned = shapely.Polygon([(179.9999, 10), (-179.9999, 10), (-179.9999, 10.0001), (179.9999, 10.0001)])
    assert geodesic_areas_m2(np.array([turned]), WGS84) == pytest.approx(areas[:1], rel=1e-9)
    assert len(geodesic_areas_m2(np.empty(0, dtype=object), WGS84)) == 0
    assert geodesic_areas_m2(np.array([shapely.Polygon()] * 2), WGS84).tolist() == [0, 0]


def test_geodesic_area_agrees_with_pyproj_and_subtracts_holes():
    shell, hole = (
        shapely.box(600_000, 3_000_000, 600_050, 3_000_020),
        shapely.box(600_010, 3_000_005, 600_020, 3_000_015),
    )
    far = shapely.affinity.translate(shell, 200)
    geometries = np.array([shell.difference(hole), shapely.union(shell, far), shapely.Polygon(), hole.reverse()])
    to_degrees = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform
    geod = pyproj.Geod(ellps="WGS84")

    def one(polygon):
        ring = shapely.transform(polygon.exterior, to_degrees, interleaved=False)
        return abs(geod.polygon_area_perimeter(*ring.xy)[0])

    expected = [one(shell) - one(hole), one(shell) + one(far), 0, one(hole)]
    np.testing.assert_allclose(geodesic_areas_m2(geometries, UTM), expected, rtol=1e-7)
    assert geodesic_areas_m2(geometries[:1], UTM)[0] == pytest.approx(900, rel=2e-3)  # the grid's scale is 0.9997


def test_geodesic_area_of_web_mercator_is_on_the_ground():
    to_mercator = pyproj.Transformer.from_crs(UTM, 3857, always_xy=True).transform
    square = shapely.box(600_000, 3_000_000, 600_030, 3_000_040)
    mercator = shapely.transform(square, to_mercator, interleaved=False)
    assert mercator.area > 1.2 * square.area
    areas = geodesic_areas_m2(np.array([mercator, square]), pyproj.CRS(3857))
    assert areas[0] == pytest.approx(geodesic_areas_m2(np.array([square]), UTM)[0], rel=1e-6)


def test_geodesic_area_across_the_antimeridian():
    crs = pyproj.CRS("+proj=tmerc +lon_0=180 +datum=WGS84")
    areas = geodesic_areas_m2(np.array([shapely.box(-20, 0, 30, 10), shapely.box(20, 0, 70, 10)]), crs)
    assert areas == pytest.approx([500, 500], rel=1e-6)
