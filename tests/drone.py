"""Drone frames made up for tests: tiny JPEGs that say where they were taken."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from d2det_geo.raster.frames import frame_georeference
from d2det_geo.raster.place import Georeference
from d2det_geo.raster.source import open_dataset

WIDTH, HEIGHT = 96, 72
FILM_MM = 24
FOCAL_PX = FILM_MM * 120 / (36**2 + 24**2) ** 0.5  # the diagonal of 96 x 72 is 120

CORNERS = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT], [WIDTH / 2, HEIGHT / 2], [31, 55]])


def placed(path: Path | str, *, oblique: bool = False) -> Georeference:
    with open_dataset(path) as dataset:
        georeference = frame_georeference(dataset, oblique=oblique)
    assert georeference is not None
    return georeference


def lonlat(georeference: Georeference, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    assert georeference.crs is not None
    to_lonlat = pyproj.Transformer.from_crs(georeference.crs.to_wkt(), "EPSG:4326", always_xy=True)
    x, y = georeference.transform @ pixels.T
    return np.stack(to_lonlat.transform(x, y), axis=1)


def apart_m(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    _, _, distances = pyproj.Geod(ellps="WGS84").inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
    return np.asarray(distances)


def sexagesimal(degrees: float) -> tuple[IFDRational, ...]:
    seconds = Fraction(abs(degrees)).limit_denominator(10**9) * 3600
    whole, rest = divmod(seconds, 60)
    return (
        IFDRational(int(whole) // 60),
        IFDRational(int(whole) % 60),
        IFDRational(round(rest * 10**6), 10**6),
    )


def xmp_of(**values: Any) -> bytes:
    told = " ".join(f'drone-dji:{name}="{value}"' for name, value in values.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="DJI Meta Data"'
        f' xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {told}/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def pose(height_m: float = 100, yaw: float = 0, pitch: float = -90, roll: float = 0) -> dict[str, str]:
    return {
        "RelativeAltitude": f"{height_m:+.6f}",
        "GimbalYawDegree": f"{yaw:+.6f}",
        "GimbalPitchDegree": f"{pitch:+.6f}",
        "GimbalRollDegree": f"{roll:+.6f}",
    }


def exif_of(
    lon: float = 9,
    lat: float = 50,
    *,
    gps: dict[int, Any] | None = None,
    camera: dict[int, Any] | None = None,
    main: dict[int, Any] | None = None,
) -> Image.Exif:
    """Write a position and a focal length; what is given besides replaces it, and None leaves it out."""
    exif = Image.Exif()
    place = {1: "N" if lat >= 0 else "S", 2: sexagesimal(lat), 3: "E" if lon >= 0 else "W", 4: sexagesimal(lon)}
    groups = ((exif, {}, main), (exif.get_ifd(ExifTags.IFD.Exif), {0xA405: FILM_MM}, camera))
    for group, known, given in (*groups, (exif.get_ifd(ExifTags.IFD.GPSInfo), place, gps)):
        group.update({tag: value for tag, value in (known | (given or {})).items() if value is not None})
    return exif


def frame(
    path: Path, exif: Image.Exif | bytes | None, xmp: bytes | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    blocks = {"exif": exif, "xmp": xmp}
    Image.new("RGB", size, (90, 120, 60)).save(
        path, **{key: value for key, value in blocks.items() if value is not None}
    )
    return path


Entries = dict[int, tuple[int, int, bytes]]  # tag -> type, count, bytes


def raw_exif(gps: Entries) -> bytes:
    """Write EXIF that no library would: the GPS directory is taken as it is."""
    return b"Exif\0\0" + _tiff(gps, {}, b"")


def raw_tiff(gps: Entries, xmp: bytes) -> bytes:
    """Write a black picture as a TIFF with camera directories, which Pillow does not write."""
    numbers = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: HEIGHT, 279: WIDTH * HEIGHT}
    main = {tag: (4, 1, struct.pack("<I", number)) for tag, number in numbers.items()}
    return _tiff(gps, main | {700: (1, len(xmp), xmp)}, bytes(WIDTH * HEIGHT))


def _tiff(gps: Entries, main: Entries, pixels: bytes) -> bytes:
    camera = {0xA405: (3, 1, struct.pack("<H", FILM_MM))}
    pointers = {0x8769: (4, 1, b"    "), 0x8825: (4, 1, b"    ")}
    start = 8 + len(pixels)
    at_camera = start + len(_directory(main | pointers, start))
    at_gps = at_camera + len(_directory(camera, at_camera))
    pointers = {0x8769: (4, 1, struct.pack("<I", at_camera)), 0x8825: (4, 1, struct.pack("<I", at_gps))}
    directories = _directory(main | pointers, start) + _directory(camera, at_camera) + _directory(gps, at_gps)
    return b"II*\0" + struct.pack("<I", start) + pixels + directories


def _directory(entries: Entries, start: int) -> bytes:
    out, data = struct.pack("<H", len(entries)), b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, (kind, count, value) in sorted(entries.items()):
        out += struct.pack("<HHI", tag, kind, count)
        out += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", behind + len(data))
        data += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
    return out + struct.pack("<I", 0) + data


def rationals(*pairs: tuple[int, int]) -> tuple[int, int, bytes]:
    return 5, len(pairs), b"".join(struct.pack("<II", *pair) for pair in pairs)
