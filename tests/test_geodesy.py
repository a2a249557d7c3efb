from __future__ import annotations

import math

import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis.strategies import floats
from rasterio.crs import CRS

from d2det_geo.raster.geodesy import axis_gsd_m, gsd_m

A, E2 = 6_378_137.0, 0.006_694_379_990_14  # WGS84: semi-major axis, m, and eccentricity squared


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Textbook radii of curvature of the ellipsoid, along the parallel and the meridian."""
    root = math.sqrt(1 - E2 * math.sin(math.radians(lat)) ** 2)
    parallel = A * math.cos(math.radians(lat)) / root
    meridian = A * (1 - E2) / root**3
    return math.radians(1) * parallel, math.radians(1) * meridian


def test_web_mercator_at_28_north_is_not_what_it_says() -> None:
    transform = Affine(0.1492910708693671, 0, 9_519_926.12, 0, -0.1492910708693671, 3_202_940.80)
    assert gsd_m(CRS.from_epsg(3857), transform, 3072, 4096) == pytest.approx(0.13201, abs=1e-5)


@pytest.mark.parametrize("lat", [0.0, 28.0, -47.5, 71.0])
def test_lat_lon_pixels_follow_the_ellipsoid(lat: float) -> None:
    step = 2e-6
    transform = Affine(step, 0, 12.0, 0, -step, lat + 20 * step)
    expected = [step * metres for metres in metres_per_degree(lat)]
    assert axis_gsd_m(CRS.from_epsg(4326), transform, 30, 40) == pytest.approx(expected, rel=1e-6)
    assert gsd_m(CRS.from_epsg(4326), transform, 30, 40) == pytest.approx(math.prod(expected) ** 0.5, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(easting=floats(200_000, 800_000), northing=floats(1e5, 9e6), angle=floats(0, 360))
def test_utm_agrees_with_projs_own_scale_factor(easting: float, northing: float, angle: float) -> None:
    crs = pyproj.CRS(32633)
    factors = pyproj.Proj(crs)
    scale = factors.get_factors(*factors(easting, northing, inverse=True)).meridional_scale  # conformal: any direction
    rotated = Affine.translation(easting, northing) @ Affine.rotation(angle) @ Affine.scale(0.25, -0.25)
    centred = rotated @ Affine.translation(-80_000, -60_000)
    assert axis_gsd_m(CRS.from_epsg(32633), centred, 160_000, 120_000) == pytest.approx((0.25 / scale,) * 2, rel=1e-6)


def test_feet_are_metres_on_the_ground() -> None:
    transform = Affine(1, 0, 2_000_000, 0, -1, 700_000)
    assert gsd_m(CRS.from_epsg(2264), transform, 30, 40) == pytest.approx(0.3048, rel=1e-3)


def test_what_is_no_place_on_the_earth_has_no_gsd() -> None:
    utm = CRS.from_epsg(32633)
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    assert gsd_m(None, Affine.identity(), 30, 40) is None
    assert gsd_m(local, Affine.scale(0.5, -0.5), 30, 40) is None
    assert gsd_m(CRS.from_epsg(4326), Affine(1e-6, 0, 12, 0, -1e-6, 700), 30, 40) is None
    assert gsd_m(utm, Affine(0.5, 0, 1e12, 0, -0.5, 1e12), 30, 40) is None
