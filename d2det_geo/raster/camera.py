"""Where a camera was, how it looked and how wide, from what it wrote into its picture.

Names and meanings are those of DJI's XMP, which other makers copy: angles in degrees, yaw
clockwise from true north, pitch -90 straight down, height above the place of take-off.
Each number comes with how far off it may be (about 95 %), from which the frame's uncertainty is made.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from d2det_geo.raster.exif import CameraTags

_FILM_DIAGONAL_MM = math.hypot(36, 24)
_DEGREE_M = 111_320.0  # of latitude, and of longitude at the equator
_GPS_M = 4.0  # of a receiver without corrections, under an open sky
_HEIGHT_M, _HEIGHT_SHARE = 2.0, 0.05  # the barometer, and ground that is not level with the take-off
_TILT = 1.0  # degrees
_YAW, _FLIGHT_YAW = 5.0, 10.0  # degrees: a compass amid motors; the body's heading in place of the camera's
_MAX_HEIGHT_M = 10_000.0
_RTK_FLAGS = {"16", "34", "50"}  # single, float and fixed: the receiver tells its own deviations
_EDITORS = re.compile(r"photo|lightroom|gimp|picasa|paint|snapseed", re.IGNORECASE)

_TURNED = (
    "Windows Photo Viewer has turned it since capture (it saves for nothing else): taken as turned by half;"
    " if it was not, places are mirrored about the frame's centre"
)

# Stored pixel steps (column, row) -> steps in the upright picture, by EXIF Orientation.
_UPRIGHT = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, -1), (1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, 1), (-1, 0)),
}


class UnplacedError(Exception):
    """Why a picture cannot be placed on the ground; for a notice, not for the user's eyes as an error."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One exposure, and how far off (about 95 %) each of its numbers may be."""

    lon: float
    """WGS 84, degrees."""
    lat: float
    position_error_m: float
    height_m: float
    """Above the ground."""
    height_error_m: float
    yaw: float
    """Of the picture's top, degrees clockwise from true north."""
    yaw_error: float
    pitch: float
    """Degrees; -90 is straight down."""
    roll: float
    """Degrees, clockwise about the line of sight."""
    tilt_error: float
    focal_px: float
    focal_error: float
    """A share of ``focal_px``; the lens's distortion included."""
    upright: tuple[tuple[int, int], tuple[int, int]]
    """Stored pixel steps (column, row) -> steps in the upright picture."""
    notices: tuple[str, ...]


def camera_of(tags: CameraTags, width: int, height: int) -> Camera:
    """Understand the tags of a picture of ``width`` by ``height`` stored pixels.

    Raises:
        UnplacedError: they say too little, or what cannot be.
    """
    lon, lat, position_error_m = _position(tags)
    height_m = _height(tags)
    yaw, yaw_error, yaw_notices = _yaw(tags)
    zoom = max(tags.number("DigitalZoomRatio") or 1.0, 1.0)
    focal_px, focal_error = _focal(tags, width, height)
    if not 0.1 <= focal_px * zoom / math.hypot(width, height) <= 100:
        raise UnplacedError(f"its focal length of {focal_px * zoom:.4g} px cannot be")
    upright, turn_notices = _turned(tags, width, height)
    return Camera(
        lon=lon,
        lat=lat,
        position_error_m=position_error_m,
        height_m=height_m,
        height_error_m=_HEIGHT_M + _HEIGHT_SHARE * height_m,
        yaw=yaw,
        yaw_error=yaw_error,
        pitch=_angle(tags, "GimbalPitchDegree"),
        roll=_angle(tags, "GimbalRollDegree") if "GimbalRollDegree" in tags.xmp else 0.0,
        tilt_error=_TILT,
        focal_px=focal_px * zoom,
        # Whether a zoomed picture was cropped or enlarged, and its focal length told before or after, is not said.
        focal_error=focal_error + 1 - 1 / zoom,
        upright=upright,
        notices=(*yaw_notices, *turn_notices),
    )


def _position(tags: CameraTags) -> tuple[float, float, float]:
    """Find longitude, latitude, and how far off they may be in metres."""
    # DJI's own are signed and exact; its older firmware has the misspelling.
    lat = tags.xmp_number("GpsLatitude")
    lon = tags.xmp_number("GpsLongitude" if "GpsLongitude" in tags.xmp else "GpsLongtitude")
    rounded_m = 0.0
    if lat is None or lon is None:
        lat, lon = _sexagesimal(tags, "GPSLatitude", "NS"), _sexagesimal(tags, "GPSLongitude", "EW")
        rounded_m = math.hypot(_rounding_m(tags, "GPSLatitude"), _rounding_m(tags, "GPSLongitude"))
    if abs(lat) > 90 or abs(lon) > 180:
        raise UnplacedError(f"its position, latitude {lat:.6g} and longitude {lon:.6g}, is not on the earth")
    if lat == lon == 0:
        raise UnplacedError("its receiver had no position yet: latitude and longitude are 0")
    return lon, lat, math.hypot(_receiver_error_m(tags), rounded_m)


def _sexagesimal(tags: CameraTags, name: str, signs: str) -> float:
    parts = tags.exif.get(name)
    if parts is None:
        raise UnplacedError(tags.damage or "its EXIF has no GPS position")
    sign = tags.text(f"{name}Ref")[:1].upper()
    if not sign or sign not in signs:
        raise UnplacedError(f"its {name} does not say {signs[0]} or {signs[1]}")
    if isinstance(parts, str) or len(parts) > 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
        raise UnplacedError(f"its {name} is damaged")
    degrees = sum(part / 60.0**power for power, part in enumerate(parts))
    return degrees if sign == signs[0] else -degrees


def _rounding_m(tags: CameraTags, name: str) -> float:
    """Tell what decimal degrees lost when they were printed; minutes and seconds lose nothing that matters."""
    degrees = tags.number(name) or 0.0
    if not tags.printed or degrees == int(degrees):
        return 0.0
    return float(0.5 * 10.0 ** (len(str(int(degrees))) - 6) * _DEGREE_M)


def _receiver_error_m(tags: CameraTags) -> float:
    if tags.xmp.get("RtkFlag") in _RTK_FLAGS:
        east, north = tags.xmp_number("RtkStdLon"), tags.xmp_number("RtkStdLat")
        if east and north and 0 < east < 100 and 0 < north < 100:
            return 2 * math.hypot(east, north)
    told = tags.number("GPSHPositioningError")
    return 2 * told if told is not None and 0 < told < 1000 else _GPS_M


def _height(tags: CameraTags) -> float:
    height_m = tags.xmp_number("RelativeAltitude")
    if height_m is None:
        # GPSAltitude is above the sea, and how high the ground is there no file says.
        raise UnplacedError(tags.damage or "it has no height above the ground")
    if not 1 <= height_m <= _MAX_HEIGHT_M:
        raise UnplacedError(f"a height of {height_m:.6g} m above the place of take-off says nothing about the ground")
    return height_m


def _yaw(tags: CameraTags) -> tuple[float, float, tuple[str, ...]]:
    if "GimbalYawDegree" in tags.xmp:
        return _angle(tags, "GimbalYawDegree"), _YAW, ()
    if "FlightYawDegree" in tags.xmp:
        return _angle(tags, "FlightYawDegree"), _FLIGHT_YAW, ("the camera's heading is taken to be the drone's",)
    direction = tags.number("GPSImgDirection")
    if direction is None or not 0 <= direction <= 360 or tags.text("GPSImgDirectionRef").upper() != "T":
        raise UnplacedError("it has no heading")
    return direction, _FLIGHT_YAW, ()


def _angle(tags: CameraTags, name: str) -> float:
    angle = tags.xmp_number(name)
    if angle is None or abs(angle) > 360:
        raise UnplacedError(f"it has no {name}" if name not in tags.xmp else f"its {name} is damaged")
    return angle


def _focal(tags: CameraTags, width: int, height: int) -> tuple[float, float]:
    """Find the focal length in stored px, and the share it may be off."""
    original = tags.number("PixelXDimension") or 0.0, tags.number("PixelYDimension") or 0.0
    if min(original) <= 0:
        original = float(width), float(height)
    shrunk = width / original[0]
    if abs(height / original[1] / shrunk - 1) > 0.01:
        raise UnplacedError(
            f"it was turned or cropped after capture: {width} x {height} px of {original[0]:.0f} x {original[1]:.0f}"
        )
    if calibrated_px := _positive(tags.xmp_number("CalibratedFocalLength")):
        return calibrated_px * shrunk, 0.015
    focal_mm, density = _positive(tags.number("FocalLength")), _positive(tags.number("FocalPlaneXResolution"))
    unit_mm = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}.get(int(tags.number("FocalPlaneResolutionUnit") or 2))
    if focal_mm and density and unit_mm:
        return focal_mm * density / unit_mm * shrunk, 0.02
    film_mm = _positive(tags.number("FocalLengthIn35mmFilm"))
    if not film_mm:
        raise UnplacedError("it has no focal length that can be turned into pixels")
    # Equal diagonals make a focal length equivalent. A wide picture is cut out of a sensor of 4:3 (or 3:2)
    # and keeps the number told for the whole of it.
    long, short = max(width, height), min(width, height)
    wide = long / short > 1.6
    return film_mm / _FILM_DIAGONAL_MM * (long * 1.25 if wide else math.hypot(long, short)), 0.05 if wide else 0.03


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _turned(
    tags: CameraTags, width: int, height: int
) -> tuple[tuple[tuple[int, int], tuple[int, int]], tuple[str, ...]]:
    upright = _UPRIGHT.get(int(tags.number("Orientation") or 1), _UPRIGHT[1])
    editor = next(
        (name for name in (tags.text("Software"), tags.xmp.get("CreatorTool", "")) if _EDITORS.search(name)), ""
    )
    if not editor:
        return upright, ()
    if "windows photo viewer" not in editor.lower():
        return upright, (f"{editor[:60]} has saved it since: if it was turned or cropped there, it lies wrong",)
    # That viewer saves a picture for one reason only, to turn it, and leaves every angle in it as it was.
    if height > width:
        raise UnplacedError("Windows Photo Viewer has turned it by a quarter, and which way is not said")
    (a, b), (c, d) = upright
    return ((-a, -b), (-c, -d)), (_TURNED,)
