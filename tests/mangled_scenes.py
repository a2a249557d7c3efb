"""Scenes nobody should make: cut off, with bits flipped, with headers that lie. The same seed gives the same."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

WIDTH, HEIGHT = 200, 160
BASES: dict[str, dict[str, Any]] = {
    "striped.tif": {"driver": "GTiff", "compress": "deflate"},
    "tiled.tif": {"driver": "GTiff", "compress": "lzw", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "jpeg.tif": {"driver": "GTiff", "compress": "jpeg", "photometric": "ycbcr", "tiled": True},
    "deep.tif": {"driver": "GTiff", "dtype": "uint16", "compress": "deflate", "predictor": 2},
    "plain.tif": {"driver": "GTiff", "BIGTIFF": "YES"},
    "photo.jpg": {"driver": "JPEG"},
    "picture.png": {"driver": "PNG"},
}
"""Name of a good scene to how GDAL writes it."""

Maker = Callable[[np.random.Generator, Path], Iterator[tuple[str, bytes]]]


def good_scenes(folder: Path) -> dict[str, bytes]:
    """Write each good scene, and give its content."""
    rng = np.random.default_rng(0)
    shape = {"width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
    for name, how in BASES.items():
        place = {"crs": "EPSG:32645", "transform": Affine(0.15, 0, 334_000, 0, -0.15, 3_065_000)}
        profile = {**shape, **how, **(place if how["driver"] == "GTiff" else {})}
        smooth = np.kron(rng.integers(1, 250, (3, HEIGHT // 20, WIDTH // 20)), np.ones((20, 20)))
        noise = rng.integers(0, 6, (3, HEIGHT, WIDTH))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(folder / name, "w", **profile) as dataset:
                dataset.write((smooth + noise).astype(profile["dtype"]))
    return {name: (folder / name).read_bytes() for name in BASES}


def mangled_scenes(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Write ``count`` mangled scenes, each in a folder of its own under ``folder``, all kinds in turn."""
    rng = np.random.default_rng(seed)
    (folder / "good").mkdir(parents=True)
    good = good_scenes(folder / "good")
    kinds = [_cut(rng, good), _flipped(rng, good), _hostile_tags(rng), _flipped(rng, good), _odd_files(rng, good)]
    turns = cycle(kinds)
    for number, (name, content) in enumerate(islice((next(kind) for kind in turns), count)):
        place = folder / f"{number:03d}"
        place.mkdir()
        (place / name).write_bytes(content)
        yield place / name


def _cut(rng: np.random.Generator, good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for name in cycle(good):
        content = good[name]
        share = rng.uniform() ** 2  # headers are short
        yield f"cut_{name}", content[: int(share * len(content))]


def _flipped(rng: np.random.Generator, good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(cycle(good)):
        content = np.frombuffer(good[name], np.uint8).copy()
        header = number % 2 == 0
        reach = min(len(content), 400) if header else len(content)
        places = rng.integers(0, reach, rng.integers(1, 9 if header else 40))
        content[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
        yield f"flipped_{name}", content.tobytes()


# Numbers of the tags of TIFF that lie here.
_W, _H, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _COUNTS = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
_PLANAR, _PREDICTOR, _TILE_W, _TILE_H, _TILES, _TILE_COUNTS, _SUB, _FORMAT = 284, 317, 322, 323, 324, 325, 330, 339
_SCALE, _TIE, _GEO, _EXIF, _META, _NODATA = 33550, 33922, 34735, 34665, 42112, 42113
_SHORT, _LONG, _ASCII, _DOUBLE = 3, 4, 2, 12
_FORMATS = {_SHORT: "H", _LONG: "I", _ASCII: "B", _DOUBLE: "d"}
_MOST = 2**32 - 1

Tags = dict[int, tuple[int, list[Any]]]


def tiff(
    changes: Tags, *, data: bytes | None = None, following: int = 0, counts: dict[int, int] | None = None
) -> bytes:
    """Write a little-endian TIFF of 64 x 48 RGB pixels in one strip, with some tags changed.

    Args:
        changes: tag to its type and values; no values leaves the tag out.
        data: the strip; None gives what the right tags would need.
        following: offset of the next directory; the first is at 8.
        counts: tag to the number of values it claims to have.
    """
    data = bytes(range(256)) * 36 if data is None else data
    tags: Tags = {
        _W: (_LONG, [64]),
        _H: (_LONG, [48]),
        _BITS: (_SHORT, [8, 8, 8]),
        _COMPRESSION: (_SHORT, [1]),
        _PHOTOMETRIC: (_SHORT, [2]),
        _OFFSETS: (_LONG, [0]),
        _SAMPLES: (_SHORT, [3]),
        _ROWS: (_LONG, [48]),
        _COUNTS: (_LONG, [len(data)]),
        _PLANAR: (_SHORT, [1]),
    } | changes
    tags = {tag: value for tag, value in sorted(tags.items()) if value[1]}
    end = 8 + 2 + 12 * len(tags) + 4
    sizes = [struct.calcsize(_FORMATS[kind]) * len(values) for kind, values in tags.values()]
    start = end + sum(size for size in sizes if size > 4)  # of the strip
    for tag in {_OFFSETS, _TILES} & tags.keys():
        kind, values = tags[tag]
        tags[tag] = kind, [value or start for value in values]
    entries, extra = b"", b""
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", end + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, kind, (counts or {}).get(tag, len(values))) + packed.ljust(4, b"\0")
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return header + entries + struct.pack("<I", following) + extra + data


def _tiled(side: int, values: int = 1) -> Tags:
    strips: Tags = {tag: (_LONG, []) for tag in (_OFFSETS, _ROWS, _COUNTS)}
    tiles: Tags = {_TILES: (_LONG, [0] * values), _TILE_COUNTS: (_LONG, [9216] * values)}
    return strips | tiles | {_TILE_W: (_LONG, [side]), _TILE_H: (_LONG, [side])}


def _xml(text: str) -> tuple[int, list[int]]:
    return _ASCII, [*text.encode(), 0]


def _hostile_tags(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    bomb = zlib.compress(bytes(2**28), 9)
    deflated: Tags = {_COMPRESSION: (_SHORT, [8]), _COUNTS: (_LONG, [len(bomb)])}
    fixed = {
        "ifd_loop": tiff({}, following=8),
        "ifd_far": tiff({}, following=_MOST),
        "sub_ifd_loop": tiff({_SUB: (_LONG, [8])}),
        "exif_loop": tiff({_EXIF: (_LONG, [8])}),
        "vast": tiff({_W: (_LONG, [2**31 - 1]), _H: (_LONG, [2**31 - 1])}),
        "vaster": tiff({_W: (_LONG, [_MOST]), _H: (_LONG, [_MOST])}),
        "wide": tiff({_W: (_LONG, [2**31 - 1]), _H: (_LONG, [1]), _ROWS: (_LONG, [1])}),
        "large": tiff({_W: (_LONG, [300_000]), _H: (_LONG, [300_000]), _ROWS: (_LONG, [1])}),
        "large_strip": tiff({_W: (_LONG, [200_000]), _H: (_LONG, [200_000]), _ROWS: (_LONG, [_MOST])}),
        "no_width": tiff({_W: (_LONG, [0])}),
        "no_height": tiff({_H: (_LONG, [0])}),
        "no_rows": tiff({_ROWS: (_LONG, [0])}),
        "short_strips": tiff({_ROWS: (_LONG, [1])}),
        "many_strips": tiff({_OFFSETS: (_LONG, [0] * 500), _COUNTS: (_LONG, [9216] * 500)}),
        "no_offsets": tiff({_OFFSETS: (_LONG, [])}),
        "no_counts": tiff({_COUNTS: (_LONG, [])}),
        "far_strip": tiff({_OFFSETS: (_LONG, [2**31])}),
        "long_strip": tiff({_COUNTS: (_LONG, [_MOST])}),
        "claims": tiff({}, counts={_OFFSETS: _MOST}),
        "claims_bits": tiff({}, counts={_BITS: 2**30}),
        "no_tile": tiff(_tiled(0)),
        "odd_tile": tiff(_tiled(7)),
        "absurd_tile": tiff(_tiled(2**31 - 16)),
        "large_tile": tiff(_tiled(65536)),
        "many_tiles": tiff(_tiled(16, 3) | {_W: (_LONG, [100_000]), _H: (_LONG, [100_000])}),
        "no_samples": tiff({_SAMPLES: (_SHORT, [0])}),
        "samples": tiff({_SAMPLES: (_SHORT, [65535])}),
        "bits_0": tiff({_BITS: (_SHORT, [0, 0, 0])}),
        "bits_7": tiff({_BITS: (_SHORT, [7, 7, 7])}),
        "bits_64": tiff({_BITS: (_SHORT, [64, 64, 64]), _FORMAT: (_SHORT, [3, 3, 3])}),
        "bits_65535": tiff({_BITS: (_SHORT, [65535, 1, 8])}),
        "complex": tiff({_BITS: (_SHORT, [32, 32, 32]), _FORMAT: (_SHORT, [5, 5, 5])}),
        "compression": tiff({_COMPRESSION: (_SHORT, [rng.integers(50_000, 60_000)])}),
        "not_deflate": tiff({_COMPRESSION: (_SHORT, [8])}),
        "not_lzw": tiff({_COMPRESSION: (_SHORT, [5])}),
        "not_jpeg": tiff({_COMPRESSION: (_SHORT, [7]), _PHOTOMETRIC: (_SHORT, [6])}),
        "photometric": tiff({_PHOTOMETRIC: (_SHORT, [999])}),
        "planar": tiff({_PLANAR: (_SHORT, [3])}),
        "predictor": tiff({_COMPRESSION: (_SHORT, [8]), _PREDICTOR: (_SHORT, [3])}),
        "scale_nan": tiff({_SCALE: (_DOUBLE, [np.nan] * 3), _TIE: (_DOUBLE, [0.0, 0, 0, np.inf, 0, 0])}),
        "scale_0": tiff(
            {_SCALE: (_DOUBLE, [0.0] * 3), _TIE: (_DOUBLE, [0.0] * 6), _GEO: (_SHORT, [1, 1, 0, 1, 3072, 0, 1, 32645])}
        ),
        "geo_keys": tiff({_GEO: (_SHORT, [1, 1, 0, 60_000, 3072, 0, 1, 32645])}),
        "metadata": tiff({_META: _xml("<GDALMetadata>" + "<Item>" * 5000)}),
        "nodata": tiff({_NODATA: _xml("nan nan 1e999 \x01")}),
        "bomb": tiff(deflated, data=bomb),
        "bomb_wide": tiff(deflated | {_W: (_LONG, [9000]), _H: (_LONG, [9000]), _ROWS: (_LONG, [9000])}, data=bomb),
    }
    yield from ((f"{name}.tif", content) for name, content in fixed.items())
    while True:
        tag = [_W, _H, _BITS, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR][rng.integers(8)]
        value = int(2 ** rng.uniform(0, 32))
        yield f"tag_{tag}_{value}.tif", tiff({tag: (_LONG, [value])})


def _png(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def _vrt(source: str, *, width: int = 64, height: int = 48) -> bytes:
    band = f"<SimpleSource><SourceFilename relativeToVRT='1'>{source}</SourceFilename><SourceBand>1</SourceBand>"
    bands = "".join(
        f"<VRTRasterBand dataType='Byte' band='{number}'>{band}</SimpleSource></VRTRasterBand>" for number in (1, 2, 3)
    )
    return f"<VRTDataset rasterXSize='{width}' rasterYSize='{height}'>{bands}</VRTDataset>".encode()


def _odd_files(rng: np.random.Generator, good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    photo = good["photo.jpg"]
    frame = photo.index(b"\xff\xc0")
    laughs = "<!DOCTYPE a [<!ENTITY a 'ha'>" + "".join(
        f"<!ENTITY {chr(98 + step)} '{f'&{chr(97 + step)};' * 10}'>" for step in range(12)
    )
    yield from {
        "empty.tif": b"",
        "magic.tif": b"II*\0",
        "wrong_magic.tif": b"MZ" + good["striped.tif"][2:],
        "text.tif": b"this is not a picture\n" * 50,
        "page.tif": b"<!doctype html><html><body>404 Not Found</body></html>",
        "zeros.tif": bytes(5000),
        "noise.tif": rng.bytes(5000),
        "archive.tif": b"PK\x03\x04" + rng.bytes(500),
        "half.jpg": photo[: len(photo) // 2],
        "vast.jpg": photo[: frame + 5] + b"\xff\xff\xff\xff" + photo[frame + 9 :],
        "flat.jpg": photo[: frame + 5] + bytes(4) + photo[frame + 9 :],
        "vast.png": _png(2**31 - 1, 2**31 - 1),
        "large.png": _png(100_000, 100_000),
        "flat.png": _png(0, 0),
        "bare.png": _png(64, 48),
        "loop.vrt": _vrt("loop.vrt"),
        "missing.vrt": _vrt("nowhere.tif"),
        "traversal.vrt": _vrt("../../../../../../../../etc/passwd"),
        "device.vrt": _vrt("/dev/zero"),
        "remote.vrt": _vrt("/vsicurl/http://127.0.0.1:9/scene.tif"),
        "vast.vrt": _vrt("nowhere.tif", width=2**31 - 1, height=2**31 - 1),
        "large.vrt": _vrt("nowhere.tif", width=400_000, height=400_000),
        "negative.vrt": _vrt("nowhere.tif", width=-5),
        "bare.vrt": b"<VRTDataset rasterXSize='64' rasterYSize='48'></VRTDataset>",
        "cut.vrt": _vrt("nowhere.tif")[:99],
        "laughs.vrt": f"{laughs}]><VRTDataset rasterXSize='64' rasterYSize='48'>&m;</VRTDataset>".encode(),
    }.items()
    while True:
        yield "noise.tif", b"II*\0\x08\0\0\0" + rng.bytes(int(rng.integers(10, 5000)))
