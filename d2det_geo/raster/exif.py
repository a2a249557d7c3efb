"""What a camera wrote into its picture: EXIF and XMP, read so that no file can do harm.

Of a local JPEG or TIFF Pillow reads them, byte for byte. GDAL sees any other source (http, /vsi),
at a price: it prints fractions with six digits, and one with a zero denominator as 0.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any
from xml.parsers import expat

import rasterio
from PIL import ExifTags, Image
from rasterio.errors import RasterioError

_XMP_LIMIT = 2**20  # bytes; a drone writes less than 20 kB
_FORMATS = ("JPEG", "TIFF")  # of others Pillow decodes the pixels to find the tags
_VALUE_LIMIT = 200  # characters; what is longer is no number and no name
_PRINTED = re.compile(r"\(([^()]*)\)")  # GDAL prints fractions in brackets: (46) (50) (34.3126)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

_POSE = re.compile("Gimbal|Flight|RelativeAltitude")

_MAIN = {"Software": 0x0131, "Orientation": 0x0112}
_CAMERA = {
    "FocalLength": 0x920A,
    "FocalLengthIn35mmFilm": 0xA405,
    "DigitalZoomRatio": 0xA404,
    "FocalPlaneXResolution": 0xA20E,
    "FocalPlaneResolutionUnit": 0xA210,
    "PixelXDimension": 0xA002,
    "PixelYDimension": 0xA003,
}
_GPS = {
    "GPSLatitudeRef": 1,
    "GPSLatitude": 2,
    "GPSLongitudeRef": 3,
    "GPSLongitude": 4,
    "GPSImgDirectionRef": 16,
    "GPSImgDirection": 17,
    "GPSHPositioningError": 31,
}

Exif = dict[str, str | tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class CameraTags:
    """The tags of one picture, as far as its place depends on them."""

    exif: Exif
    """By the EXIF standard's own names: text, or numbers (a zero denominator is NaN)."""
    xmp: dict[str, str]
    """Attributes and leaf elements, by name without its namespace."""
    damage: str
    """That the EXIF or the XMP could not be read and why, or nothing."""
    printed: bool
    """The EXIF went through GDAL: its fractions have six digits."""

    def number(self, name: str) -> float | None:
        """Give a finite number of the EXIF, or None."""
        value = self.exif.get(name)
        return value[0] if isinstance(value, tuple) and value and math.isfinite(value[0]) else None

    def text(self, name: str) -> str:
        """Give a text of the EXIF, or nothing."""
        value = self.exif.get(name)
        return value if isinstance(value, str) else ""

    def xmp_number(self, name: str) -> float | None:
        """Give a finite number of the XMP, or None."""
        text = self.xmp.get(name, "")
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        return value if math.isfinite(value) else None


def camera_tags(dataset: rasterio.DatasetReader) -> CameraTags | None:
    """Read the EXIF and XMP of a raster.

    Args:
        dataset: open; it need not be a JPEG.

    Returns:
        None where none is of a camera; damage is told, and never raised.
    """
    image = _opened(dataset.name)
    if image is None:
        exif, packet = _by_gdal(dataset)
    else:
        with image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which shows in what is missing then
            try:
                exif, packet = _by_pillow(image)
            except Exception as error:  # Pillow fails on damaged tags in as many ways as there is damage
                return CameraTags({}, {}, f"its EXIF cannot be read: {error}"[:_VALUE_LIMIT], printed=False)
    try:
        tags = CameraTags(exif, _parse_xmp(packet), "", printed=image is None)
    except (expat.ExpatError, _RefusedError) as error:
        tags = CameraTags(exif, {}, f"its XMP cannot be read: {error}", printed=image is None)
    # Any program leaves its name and an orientation.
    by_camera = exif.keys() - _MAIN.keys() or any(map(_POSE.match, tags.xmp))
    return tags if by_camera or tags.damage else None


def _opened(name: str) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes: no pixel is decoded here
            return Image.open(name, formats=_FORMATS)
    except Exception:  # no local file, too large for Pillow, or of another kind
        return None


def _by_pillow(image: Image.Image) -> tuple[Exif, bytes]:
    tags = image.getexif()
    groups = (
        (_MAIN, tags),
        (_CAMERA, tags.get_ifd(ExifTags.IFD.Exif)),
        (_GPS, tags.get_ifd(ExifTags.IFD.GPSInfo)),
    )
    exif = {
        name: value
        for names, group in groups
        for name, number in names.items()
        if (value := _plain(group.get(number))) is not None
    }
    packet = image.info.get("xmp", b"")
    return exif, packet if isinstance(packet, bytes) else str(packet).encode()


def _plain(value: Any) -> str | tuple[float, ...] | None:
    if isinstance(value, str):
        return value.strip("\0 ")[:_VALUE_LIMIT]
    values = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, Real) for part in values):
        return None
    return tuple(_float(part) for part in values)


def _float(value: Any) -> float:
    try:
        return float(value)
    except (ArithmeticError, ValueError):
        return math.nan


def _by_gdal(dataset: rasterio.DatasetReader) -> tuple[Exif, bytes]:
    printed = _domain(dataset, None) | _domain(dataset, "EXIF")
    exif: Exif = {}
    for name in (*_MAIN, *_CAMERA, *_GPS):
        text = printed.get(f"EXIF_{name}", "").strip()
        if text:
            numbers = _PRINTED.findall(text) or [text]
            read = tuple(float(part) if _NUMBER.fullmatch(part) else math.nan for part in numbers)
            exif[name] = text[:_VALUE_LIMIT] if all(map(math.isnan, read)) else read
    packet = "".join(_domain(dataset, "xml:XMP").values())
    return exif, packet.encode("utf-8", "replace")


def _domain(dataset: rasterio.DatasetReader, name: str | None) -> dict[str, str]:
    try:
        return dict(dataset.tags(ns=name))
    except (RasterioError, UnicodeDecodeError):  # bytes that are no text
        return {}


class _RefusedError(Exception):
    """An XMP packet that is not read at all."""


def _parse_xmp(packet: bytes) -> dict[str, str]:
    packet = packet.strip(b"\0 \t\r\n")
    if not packet:
        return {}
    if len(packet) > _XMP_LIMIT:
        raise _RefusedError(f"larger than {_XMP_LIMIT} bytes")
    values: dict[str, str] = {}
    open_texts: list[list[str]] = []

    def start(_: str, attributes: dict[str, str]) -> None:
        values.update(_named(attributes.items()))
        open_texts.append([])

    def end(name: str) -> None:
        if text := "".join(open_texts.pop()).strip():
            values.update(_named([(name, text)]))

    def read_on(text: str) -> None:
        open_texts[-1].append(text)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = read_on
    parser.Parse(packet, True)
    return values


def _refuse_doctype(*_: object) -> None:
    # Entities are declared here: those that grow without bound and those that fetch other files.
    raise _RefusedError("declares a document type")


def _named(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.rpartition(" ")[2]: text.strip() for name, text in values if len(text) <= _VALUE_LIMIT}
