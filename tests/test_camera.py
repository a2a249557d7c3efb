"""What a camera's tags mean for the place of its frame: focal lengths, positions, headings, turned pictures."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.TiffImagePlugin import IFDRational

from tests.drone import (
    CORNERS,
    FOCAL_PX,
    HEIGHT,
    WIDTH,
    apart_m,
    exif_of,
    frame,
    lonlat,
    placed,
    pose,
    sexagesimal,
    xmp_of,
)

CAMERAS: dict[str, tuple[dict[int, Any], dict[str, Any], float]] = {
    "35 mm": ({}, {}, FOCAL_PX),
    "calibrated": ({}, {"CalibratedFocalLength": "80.5"}, 80.5),
    "calibrated, shrunk": ({0xA002: 192, 0xA003: 144}, {"CalibratedFocalLength": "161"}, 80.5),
    "per cm": ({0x920A: IFDRational(8), 0xA20E: IFDRational(100), 0xA210: 3, 0xA405: None}, {}, 80),
    "per inch, shrunk": (
        {0x920A: IFDRational(8), 0xA20E: IFDRational(508), 0xA210: 2, 0xA002: 192, 0xA003: 144},
        {},
        80,
    ),
    "not zoomed": ({0xA404: IFDRational(0, 1)}, {}, FOCAL_PX),
    "zoomed": ({0xA404: IFDRational(2)}, {}, 2 * FOCAL_PX),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_focal_lengths(tmp_path: Path, name: str) -> None:
    camera, told, focal_px = CAMERAS[name]
    found = placed(frame(tmp_path / "a.jpg", exif_of(camera=camera), xmp_of(**pose(50), **told)))
    assert found.axes_m == pytest.approx((50 / focal_px,) * 2, rel=1e-3)


def test_a_wide_picture_is_cut_out_of_a_taller_sensor(tmp_path: Path) -> None:
    found = placed(frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(50)), size=(96, 54)))
    assert found.axes_m == pytest.approx((50 / FOCAL_PX,) * 2, rel=1e-3)


def test_a_zoomed_picture_says_how_little_is_known(tmp_path: Path) -> None:
    exif = exif_of(camera={0xA404: IFDRational(2)})
    found = placed(frame(tmp_path / "a.jpg", exif, xmp_of(**pose(100))))
    assert found.uncertainty_m is not None
    assert found.uncertainty_m > 0.5 * 100 * 60 / (2 * FOCAL_PX)


def test_corrected_positions_are_surer(tmp_path: Path) -> None:
    rtk = {"RtkFlag": 50, "RtkStdLon": "0.012", "RtkStdLat": "0.009", "RtkStdHgt": "0.02"}
    plain, sure = (
        placed(frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(), **told))).uncertainty_m for told in ({}, rtk)
    )
    assert plain is not None
    assert sure is not None
    assert plain**2 - sure**2 == pytest.approx(4**2 - 0.03**2, abs=0.01)
    told = exif_of(gps={31: IFDRational(10)})
    worse = placed(frame(tmp_path / "a.jpg", told, xmp_of(**pose()))).uncertainty_m
    assert worse is not None
    assert worse**2 - plain**2 == pytest.approx(20**2 - 4**2, abs=0.1)


def test_dji_positions_in_xmp_come_first(tmp_path: Path) -> None:
    for name in ("GpsLongitude", "GpsLongtitude"):
        xmp = xmp_of(**pose(), GpsLatitude="-33.5", **{name: "+0.0"})
        found = placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp))
        assert apart_m(lonlat(found, CORNERS[4:5]), np.array([[0, -33.5]]))[0] < 0.01


def test_headings_of_other_kinds(tmp_path: Path) -> None:
    body = {name: value for name, value in pose(yaw=70).items() if name != "GimbalYawDegree"}
    direction = exif_of(gps={16: "T", 17: IFDRational(70)})
    by_gimbal = placed(frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(yaw=70))))
    by_flight = placed(frame(tmp_path / "b.jpg", exif_of(), xmp_of(**body, FlightYawDegree="+70")))
    by_exif = placed(frame(tmp_path / "c.jpg", direction, xmp_of(**body)))
    for found in (by_flight, by_exif):
        assert found.transform == pytest.approx(by_gimbal.transform, abs=1e-6)
        assert (found.uncertainty_m or 0) > (by_gimbal.uncertainty_m or 0) + 0.5
    assert by_flight.notices[1:] == ("the camera's heading is taken to be the drone's",)


def test_a_frame_inside_an_archive_is_read_by_gdal(tmp_path: Path) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(-71.0601, 42.3601), xmp_of(**pose(yaw=12)))
    decimal = exif_of(gps={2: (IFDRational(423601234, 10**7), 0, 0), 4: (IFDRational(1214737123, 10**7), 0, 0)})
    coarse = frame(tmp_path / "b.jpg", decimal, xmp_of(**pose()))
    with zipfile.ZipFile(tmp_path / "flight.zip", "w") as archive:
        archive.write(path, "a.jpg")
        archive.write(coarse, "b.jpg")
    inside = placed(f"/vsizip/{tmp_path}/flight.zip/a.jpg")
    assert apart_m(lonlat(inside, CORNERS), lonlat(placed(path), CORNERS)).max() < 0.01
    assert inside.uncertainty_m == pytest.approx(placed(path).uncertainty_m)
    # GDAL prints 121.4737123 as 121.474.
    rounded, exact = placed(f"/vsizip/{tmp_path}/flight.zip/b.jpg"), placed(coarse)
    apart = apart_m(lonlat(rounded, CORNERS), lonlat(exact, CORNERS)).max()
    assert 20 < apart < (rounded.uncertainty_m or 0)
    assert (exact.uncertainty_m or 0) < 20


def test_sexagesimal_minutes_may_have_the_fraction(tmp_path: Path) -> None:
    exif = exif_of(gps={2: (50, IFDRational(301234, 10**4)), 4: (*sexagesimal(9)[:2],)})
    found = placed(frame(tmp_path / "a.jpg", exif, xmp_of(**pose())))
    assert lonlat(found, CORNERS[4:5])[0] == pytest.approx((9, 50 + 30.1234 / 60), abs=1e-7)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (HEIGHT, WIDTH)])
def test_a_viewer_that_turns_pictures_is_seen_through(tmp_path: Path, size: tuple[int, int]) -> None:
    viewer = exif_of(main={0x0131: "Microsoft Windows Photo Viewer 10.0.10240.16384"})
    turned = placed(frame(tmp_path / "a.jpg", viewer, xmp_of(**pose(yaw=30)), size))
    if size == (HEIGHT, WIDTH):
        assert turned.crs is None
        assert "turned it by a quarter" in turned.notices[0]
        return
    straight = placed(frame(tmp_path / "b.jpg", exif_of(), xmp_of(**pose(yaw=30))))
    there = lonlat(turned, np.array([WIDTH, HEIGHT]) - CORNERS)
    assert apart_m(lonlat(straight, CORNERS), there).max() < 0.01
    assert turned.notices[1].startswith("Windows Photo Viewer has turned it since capture")


def test_other_editors_are_named(tmp_path: Path) -> None:
    exif = exif_of(main={0x0131: "Adobe Photoshop 21.0"})
    found = placed(frame(tmp_path / "a.jpg", exif, xmp_of(**pose())))
    assert found.notices[1].startswith("Adobe Photoshop 21.0 has saved it since")
