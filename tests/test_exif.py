"""What cameras wrote, damaged in every way: a reason, never a crash."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import binary, integers, lists, sampled_from, tuples
from PIL.TiffImagePlugin import IFDRational

from d2det_geo.errors import InputError
from d2det_geo.raster.exif import camera_tags
from d2det_geo.raster.frames import Georeference, frame_georeference
from d2det_geo.raster.source import open_dataset
from tests.drone import exif_of, frame, pose, rationals, raw_exif, raw_tiff, xmp_of


def placed(path: Path | str) -> Georeference | None:
    with open_dataset(path) as dataset:
        return frame_georeference(dataset)


def reason(path: Path | str) -> str:
    found = placed(path)
    assert found is not None
    assert (found.crs, found.axes_m, found.uncertainty_m) == (None, None, None)
    assert found.transform.is_identity
    (notice,) = found.notices
    assert notice.startswith("no georeference: coordinates are pixels (")
    return notice


def without(*names: str, **values: Any) -> bytes:
    return xmp_of(**{name: value for name, value in (pose() | values).items() if name not in names})


def test_a_picture_that_says_nothing_is_no_frame(tmp_path: Path) -> None:
    assert placed(frame(tmp_path / "a.jpg", None)) is None
    assert placed(frame(tmp_path / "a.png", None)) is None
    edited = exif_of(gps=dict.fromkeys((1, 2, 3, 4)), camera={0xA405: None}, main={0x0131: "an editor", 0x0112: 1})
    assert placed(frame(tmp_path / "b.jpg", edited, xmp_of(CreatorTool="an editor"))) is None


WORDS: dict[str, tuple[dict[str, Any], bytes | None, str]] = {
    "no position": ({"gps": dict.fromkeys((1, 2, 3, 4))}, xmp_of(**pose()), "has no GPS position"),
    "no hemisphere": ({"gps": {1: None}}, xmp_of(**pose()), "GPSLatitude does not say N or S"),
    "a wrong hemisphere": ({"gps": {3: "Q"}}, xmp_of(**pose()), "GPSLongitude does not say E or W"),
    "latitude 91": ({"lat": 91}, xmp_of(**pose()), "latitude 91 and longitude 9, is not on the earth"),
    "longitude -181": ({"lon": -181}, xmp_of(**pose()), "longitude -181, is not on the earth"),
    "XMP latitude 91": ({}, xmp_of(**pose(), GpsLatitude="91", GpsLongitude="9"), "is not on the earth"),
    "no fix": ({"lon": 0, "lat": 0}, xmp_of(**pose()), "no position yet"),
    "four parts": ({"gps": {2: (1, 2, 3, 4)}}, xmp_of(**pose()), "GPSLatitude is damaged"),
    "no XMP": ({"gps": {6: IFDRational(150)}}, None, "no height above the ground"),
    "no height": ({}, without("RelativeAltitude"), "no height above the ground"),
    "height nan": ({}, xmp_of(**pose() | {"RelativeAltitude": "nan"}), "no height above the ground"),
    "height 1e99": ({}, xmp_of(**pose() | {"RelativeAltitude": "1e99"}), "a height of 1e+99 m"),
    "height 1e999": ({}, xmp_of(**pose() | {"RelativeAltitude": "1e999"}), "no height above the ground"),
    "below": ({}, xmp_of(**pose() | {"RelativeAltitude": "-12.5"}), "a height of -12.5 m"),
    "on the ground": ({}, xmp_of(**pose() | {"RelativeAltitude": "+0.0"}), "a height of 0 m"),
    "no heading": ({}, without("GimbalYawDegree"), "no heading"),
    "magnetic heading": ({"gps": {16: "M", 17: IFDRational(70)}}, without("GimbalYawDegree"), "no heading"),
    "yaw 1_0": ({}, xmp_of(**pose() | {"GimbalYawDegree": "1_0"}), "GimbalYawDegree is damaged"),
    "yaw 1e9": ({}, xmp_of(**pose() | {"GimbalYawDegree": "1e9"}), "GimbalYawDegree is damaged"),
    "no pitch": ({}, without("GimbalPitchDegree"), "no GimbalPitchDegree"),
    "roll inf": ({}, xmp_of(**pose() | {"GimbalRollDegree": "inf"}), "GimbalRollDegree is damaged"),
    "no focal length": ({"camera": {0xA405: None}}, xmp_of(**pose()), "no focal length"),
    "focal length 0": ({"camera": {0xA405: 0}}, xmp_of(**pose()), "no focal length"),
    "only millimetres": ({"camera": {0xA405: None, 0x920A: IFDRational(8)}}, xmp_of(**pose()), "no focal length"),
    "fish eye": ({"camera": {0xA405: 1}}, xmp_of(**pose()), "focal length of 2.774 px cannot be"),
    "telescope": ({}, xmp_of(**pose(), CalibratedFocalLength="1e300"), "focal length of 1e+300 px cannot be"),
    "cropped": ({"camera": {0xA002: 96, 0xA003: 96}}, xmp_of(**pose()), "cropped after capture: 96 x 72 px of 96 x 96"),
    "turned": ({"camera": {0xA002: 72, 0xA003: 96}}, xmp_of(**pose()), "turned or cropped after capture"),
    "truncated XMP": ({}, xmp_of(**pose())[:-60], "its XMP cannot be read: "),
    "XMP of zeros": ({}, b"\0" * 50, "no height above the ground"),
    "XMP of bytes": ({}, b"<a>\xff\xfe</a>", "its XMP cannot be read: "),
    "endless XMP": ({}, b"<a>" * 10_000, "its XMP cannot be read: "),
}


def test_damaged_xmp_alone_is_told_too(tmp_path: Path) -> None:
    assert "its XMP cannot be read" in reason(frame(tmp_path / "a.jpg", None, xmp_of(**pose())[:-60]))


@pytest.mark.parametrize("name", WORDS)
def test_what_is_missing_or_cannot_be_is_said(tmp_path: Path, name: str) -> None:
    exif, xmp, words = WORDS[name]
    assert words in reason(frame(tmp_path / "a.jpg", exif_of(**exif), xmp))


RATIONALS = {
    "zero denominators": rationals((50, 0), (0, 0), (1, 1)),
    "one zero denominator": rationals((50, 1), (30, 0), (1, 1)),
    "a count that lies": (5, 2**31, struct.pack("<II", 50, 1)),
    "no values": (5, 0, b""),
    "text": (2, 5, b"50 N\0"),
    "the wrong type": (7, 3, b"\1\2\3"),
    "signed and negative": (10, 3, struct.pack("<iiiiii", -50, 1, 30, 1, 1, 1)),
}


@pytest.mark.parametrize("name", RATIONALS)
def test_damaged_rationals_are_no_position(tmp_path: Path, name: str) -> None:
    gps = {1: (2, 2, b"N\0"), 2: RATIONALS[name], 3: (2, 2, b"E\0"), 4: rationals((9, 1), (0, 1), (0, 1))}
    words = reason(frame(tmp_path / "a.jpg", raw_exif(gps), xmp_of(**pose())))
    assert "GPSLatitude is damaged" in words or "no GPS position" in words
    sound = raw_exif(gps | {2: rationals((50, 1), (0, 1), (0, 1))})
    found = placed(frame(tmp_path / "b.jpg", sound, xmp_of(**pose())))
    assert found is not None
    assert found.crs is not None


LAUGHS = '<!DOCTYPE lolz [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "billion laughs": f'{LAUGHS}]><x RelativeAltitude="100">&j;</x>',
    "external entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x RelativeAltitude="100">&e;</x>',
    "external document type": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x RelativeAltitude="100"/>',
}


def test_bytes_that_are_no_text_inside_an_archive(tmp_path: Path) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(), b"<a>\xff\xfe</a>")
    with zipfile.ZipFile(tmp_path / "flight.zip", "w") as archive:
        archive.write(path, "a.jpg")
    assert "no height above the ground" in reason(f"/vsizip/{tmp_path}/flight.zip/a.jpg")


def test_damage_that_pillow_cannot_read_past_is_told(tmp_path: Path) -> None:
    pointer = struct.pack("<HHI", 0x8825, 4, 1)
    sound = raw_exif({1: (2, 2, b"N\0"), 2: rationals((50, 1)), 3: (2, 2, b"E\0"), 4: rationals((9, 1))})
    at = sound.index(pointer)
    before_the_file = struct.pack("<HHIi", 0x8825, 9, 1, -8)
    path = frame(tmp_path / "a.jpg", sound[:at] + before_the_file + sound[at + 12 :], xmp_of(**pose()))
    assert "its EXIF cannot be read: negative seek value" in reason(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xmp_is_not_read(tmp_path: Path, name: str, encoding: str) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(), HOSTILE[name].encode(encoding))
    assert "its XMP cannot be read: declares a document type" in reason(path)


def test_a_tiff_is_a_frame_too_and_its_packet_may_not_be_huge(tmp_path: Path) -> None:
    gps = {1: (2, 2, b"N\0"), 2: rationals((50, 1)), 3: (2, 2, b"E\0"), 4: rationals((9, 1))}
    (tmp_path / "a.tif").write_bytes(raw_tiff(gps, xmp_of(**pose())))
    assert placed(tmp_path / "a.tif") == placed(frame(tmp_path / "a.jpg", exif_of(9, 50), xmp_of(**pose())))
    # JPEG holds no XMP of this size.
    (tmp_path / "b.tif").write_bytes(raw_tiff(gps, b"<a>" + b" " * 2**20 + b"</a>"))
    assert "larger than 1048576 bytes" in reason(tmp_path / "b.tif")


def test_xmp_may_come_as_elements(tmp_path: Path) -> None:
    values = "".join(f"<d:{name}> {value} </d:{name}>" for name, value in pose(height_m=60).items())
    found = placed(frame(tmp_path / "a.jpg", exif_of(), f'<x xmlns:d="http://maker/1.0/">{values}</x>'.encode()))
    by_attributes = placed(frame(tmp_path / "b.jpg", exif_of(), xmp_of(**pose(height_m=60))))
    assert found == by_attributes


# rasterio cannot log what GDAL says of a tag whose name is no text, and says so past every handler.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changes=lists(tuples(integers(0, 2000), integers(0, 255)), min_size=1, max_size=12), cut=integers(1, 3000))
def test_flipped_bytes_never_crash(tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    path = tmp_path / "a.jpg"
    sound = bytearray(frame(path, exif_of(main={0x0131: "v01"}), xmp_of(**pose())).read_bytes())
    for where, value in changes:
        sound[20 + where % (len(sound) - 20)] = value
    path.write_bytes(sound[: max(700, len(sound) - cut // 10)])
    try:
        with open_dataset(path) as dataset:
            camera_tags(dataset)
            found = frame_georeference(dataset)
    except InputError as error:  # no longer a JPEG, or a pitch that is oblique now
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert found is None or (found.crs is None) == (found.uncertainty_m is None)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    exif=binary(max_size=300),
    xmp=binary(max_size=300),
    start=sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]),
)
def test_noise_never_crashes(tmp_path: Path, exif: bytes, xmp: bytes, start: bytes) -> None:
    found = placed(frame(tmp_path / "a.jpg", b"Exif\0\0" + start + exif, xmp))
    assert found is None or found.crs is None
