"""Raw drone frames on the ground: against hand-worked cases, and against rays traced through the earth's own frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.strategies import floats, sampled_from
from numpy.typing import NDArray

from d2det_geo.errors import InputError
from d2det_geo.raster.scene import open_scene
from tests.drone import CORNERS, FOCAL_PX, HEIGHT, WIDTH, apart_m, exif_of, frame, lonlat, placed, pose, xmp_of


def traced(
    lon: float, lat: float, height_m: float, angles: tuple[float, float, float], pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Trace rays in earth-centred coordinates down to the ellipsoid; angles are yaw, pitch, roll in degrees."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    # Aerospace order: roll about x (forward), then pitch about y (right), then yaw about z (down).
    turn = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    )
    centred = pixels - [WIDTH / 2, HEIGHT / 2]
    rays = np.column_stack([np.full(len(pixels), FOCAL_PX), centred]) @ turn.T
    (cl, cb), (sl, sb) = np.cos(np.radians([lon, lat])), np.sin(np.radians([lon, lat]))
    north, east, down = np.array([[-sb * cl, -sb * sl, cb], [-sl, cl, 0], [-cb * cl, -cb * sl, -sb]])
    rays = rays @ np.array([north, east, down])
    to_earth = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    start = np.array(to_earth.transform(lon, lat, height_m))
    # |S (start + t ray)| = 1, with S the ellipsoid made a unit sphere.
    squash = 1 / np.array([6378137.0, 6378137.0, 6356752.314245179])
    a, b = ((rays * squash) ** 2).sum(1), (rays * squash) @ (start * squash)
    t = (-b - np.sqrt(b**2 - a * (((start * squash) ** 2).sum() - 1))) / a
    found = to_earth.transform(*(start + t[:, None] * rays).T, direction="INVERSE")
    return np.stack(found[:2], axis=1)


def test_a_frame_looking_down_and_north_by_hand(tmp_path: Path) -> None:
    # On the central meridian of zone 32 grid north is true north and the scale is 0.9996.
    found = placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp_of(**pose(height_m=100))))
    pixel = 100 / FOCAL_PX * 0.9996
    assert found.crs is not None
    assert found.crs.to_epsg() == 32632
    assert found.transform[:2] == pytest.approx((pixel, 0), abs=1e-4)
    assert found.transform[3:5] == pytest.approx((0, -pixel), abs=1e-4)
    assert found.axes_m == pytest.approx((100 / FOCAL_PX,) * 2, rel=1e-4)
    x, y = found.transform @ (WIDTH / 2, HEIGHT / 2)
    # 5,538,630.70 m: the northing of 50 degrees (meridian arc 5,540,847.04 m times 0.9996).
    assert (x, y) == pytest.approx((500_000, 5_538_630.70), abs=0.02)


def test_the_uncertainty_by_hand(tmp_path: Path) -> None:
    found = placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp_of(**pose(height_m=100))))
    reach = 100 * 60 / FOCAL_PX  # half the diagonal on the ground
    parts = (4, (2 + 5) * reach / 100, 0.03 * reach, math.radians(5) * reach, math.radians(1) * (100 + reach**2 / 100))
    assert found.uncertainty_m == pytest.approx(math.sqrt(sum(part**2 for part in parts)), abs=0.01)
    assert found.notices == (
        f"no georeference in the file: placed by its camera (approximate, about {found.uncertainty_m:.0f} m):"
        " 100.0 m above the take-off, ground taken as level with it",
    )


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (-180, 10, 32601),
        (180, 10, 32660),
        (-91.99, 46.8, 32615),
        (5.999, -0.5, 32731),
        (6.0, -0.5, 32732),
        (12, 0, 32633),
        (151.2, -33.9, 32756),
        (20, 83.9, 32634),
        (20, 84.5, 5041),
        (-70, -85, 5042),
        (0, 90, 5041),
    ],
)
def test_the_zone_is_that_of_the_position(tmp_path: Path, lon: float, lat: float, epsg: int) -> None:
    found = placed(frame(tmp_path / "a.jpg", exif_of(lon, lat), xmp_of(**pose())))
    assert found.crs is not None
    assert found.crs.to_epsg() == epsg
    centre = lonlat(found, CORNERS[4:5])
    assert apart_m(centre, np.array([[lon, lat]]))[0] < 0.01


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    lon=floats(-180, 180),
    lat=floats(-89, 89),
    height_m=floats(2, 500),
    yaw=floats(-180, 180),
    roll=sampled_from([0.0, 0.0, -3.0, 180.0]),
)
def test_straight_down_it_is_where_the_rays_are(
    tmp_path: Path, lon: float, lat: float, height_m: float, yaw: float, roll: float
) -> None:
    assume(max(abs(lon), abs(lat)) > 1e-6)  # 0, 0 is what a receiver says that knows nothing
    found = placed(frame(tmp_path / "a.jpg", exif_of(lon, lat), xmp_of(**pose(height_m, yaw, -90, roll))))
    truth = traced(lon, lat, height_m, (yaw, -90, roll), CORNERS)
    assert apart_m(lonlat(found, CORNERS), truth).max() < 0.002 + 3e-4 * height_m


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    lon=floats(-180, 180),
    lat=floats(-89, 89),
    height_m=floats(2, 500),
    yaw=floats(-180, 180),
    pitch=floats(-99.5, -80.5),
    roll=floats(-9, 9),
)
def test_tilted_it_is_where_the_rays_are_but_for_what_an_affine_cannot(
    tmp_path: Path, lon: float, lat: float, height_m: float, yaw: float, pitch: float, roll: float
) -> None:
    assume(max(abs(lon), abs(lat)) > 1e-6)
    found = placed(frame(tmp_path / "a.jpg", exif_of(lon, lat), xmp_of(**pose(height_m, yaw, pitch, roll))))
    truth = traced(lon, lat, height_m, (yaw, pitch, roll), CORNERS)
    errors = apart_m(lonlat(found, CORNERS), truth)
    tilt = math.radians(abs(pitch + 90))
    # The affine misses the second order of the perspective: H tan(tilt) (r/f)², less what fitting spreads evenly.
    assert errors.max() < 0.01 + 0.002 * height_m + 1.2 * height_m * math.tan(tilt) * (60 / FOCAL_PX) ** 2
    assert errors[4] < 0.01 + 0.001 * height_m + 0.8 * height_m * math.tan(tilt) * (60 / FOCAL_PX) ** 2
    assert found.uncertainty_m is not None
    assert errors.max() < found.uncertainty_m


def test_a_tilt_moves_the_centre(tmp_path: Path) -> None:
    # Looking 8 degrees ahead to the east from 100 m: the centre is 14 m east of the camera, give or take the fit.
    found = placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp_of(**pose(100, yaw=90, pitch=-82))))
    x, y = found.transform @ (WIDTH / 2, HEIGHT / 2)
    assert x - 500_000 == pytest.approx(100 * math.tan(math.radians(8)), abs=6)
    assert y == pytest.approx(5_538_630.70, abs=0.1)


def test_the_grid_is_turned_against_true_north(tmp_path: Path) -> None:
    # Three degrees east of the central meridian at 60 N grid north is 3 sin 60 = 2.6 degrees east of true north.
    found = placed(frame(tmp_path / "a.jpg", exif_of(11.999, 60), xmp_of(**pose())))
    up = -found.transform.b, -found.transform.e
    assert math.degrees(math.atan2(*up)) == pytest.approx(-2.6, abs=0.01)


def stored(pixels: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """Give where pixels of the upright picture are stored, by the EXIF standard's words for row 0 and column 0."""
    row_0 = ["top", "top", "bottom", "bottom", "left", "right", "right", "left"][orientation - 1]
    column_0 = ["left", "right", "right", "left", "top", "top", "bottom", "bottom"][orientation - 1]
    x, y = pixels.T
    distance = {"left": x, "right": WIDTH - x, "top": y, "bottom": HEIGHT - y}
    return np.stack([distance[column_0], distance[row_0]], axis=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_and_mirrors(tmp_path: Path, orientation: int) -> None:
    upright = placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp_of(**pose(yaw=30))))
    size = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
    exif = exif_of(9, 50, main={0x0112: orientation})
    turned = placed(frame(tmp_path / "b.jpg", exif, xmp_of(**pose(yaw=30)), size))
    there = lonlat(turned, stored(CORNERS.astype(float), orientation))
    assert apart_m(lonlat(upright, CORNERS), there).max() < 0.01


@pytest.mark.parametrize("pitch", [-79.9, -100.1])
def test_ten_degrees_are_the_limit(tmp_path: Path, pitch: float) -> None:
    with pytest.raises(InputError, match="10 degrees away from straight down"):
        placed(frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(pitch=pitch))))
    nearer = math.copysign(9.9, pitch + 90) - 90
    assert placed(frame(tmp_path / "b.jpg", exif_of(), xmp_of(**pose(pitch=nearer)))).crs is not None


def test_oblique_frames_are_refused_unless_asked_for(tmp_path: Path) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(pitch=-65)))
    with pytest.raises(InputError, match=r"a\.jpg: the camera looked 25 degrees .* --allow-oblique"):
        placed(path)
    down = placed(frame(tmp_path / "b.jpg", exif_of(), xmp_of(**pose())))
    ahead = placed(path, oblique=True)
    assert (ahead.uncertainty_m or 0) > (down.uncertainty_m or 0) + 10
    truth = traced(9, 50, 100, (0, -65, 0), CORNERS)
    assert apart_m(lonlat(ahead, CORNERS), truth).max() < (ahead.uncertainty_m or 0)
    horizon = placed(frame(tmp_path / "c.jpg", exif_of(), xmp_of(**pose(pitch=-20))), oblique=True)
    assert horizon.crs is None
    assert "it sees the horizon" in horizon.notices[0]


def test_a_scene_without_a_crs_is_placed_by_its_camera(tmp_path: Path) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose()))
    found = placed(path)
    with open_scene(path) as scene:
        assert (scene.crs, scene.transform) == (found.crs, found.transform)
        assert scene.gsd_m == pytest.approx(100 / FOCAL_PX, rel=1e-4)
        assert scene.notices[:1] == found.notices
