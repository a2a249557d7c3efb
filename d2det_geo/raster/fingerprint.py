"""What a scene consists of, as a few values that change when its content does and that two copies share.

Files on this machine are read: all of them up to 1 GiB together, else 1,024 evenly spaced samples of
64 KiB and both ends of each file. A changed stretch longer than total / 1,024 (5 MB of 5 GB) is always
seen, one byte alone with a chance of 64 MiB / total; ``stamps``, which copies do not share, say the rest.
What lies elsewhere is known by what GDAL understands of it, the stored size of its blocks and the
values of 16 of them, and by what its server answers to a HEAD request.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.bands import colour_table
from d2det_geo.raster.source import open_dataset, read_pixels

READ_IN_FULL = 2**30  # bytes of all files together: less than a second at 1.4 GB/s
_SAMPLES, _SAMPLE = 1024, 2**16  # bytes
_BLOCK_SIZES, _BLOCKS = 4096, 16  # of a remote raster, whose values cost a request each
_HEAD_TIMEOUT_S = 10
_OF_ADDRESSES = "%/:=&?~#+!$,;'@()*[]"  # what has a meaning there, and is not quoted
_ARCHIVE = re.compile(r"^/vsi(?:zip|tar|gzip|7z|rar)/(.+)$")
_BRACES = re.compile(r"^\{(.+)\}")
_HTTP = re.compile(r"^(?:/vsicurl/)?(https?://.+)$")


def fingerprint(path: str | Path) -> dict[str, str | int]:
    """Tell a scene by its content, whatever its name and age.

    Counted are the raster, what GDAL says belongs to it (overviews, masks, sources of a VRT, theirs
    too) and what is understood of world files and ``.aux.xml``: a ``.aux.xml`` that only adds statistics,
    as viewers write it, changes nothing.

    Args:
        path: anything GDAL opens.

    Returns:
        ``bytes`` and ``files`` on this machine, and ``sha256`` over content and georeference.

    Raises:
        InputError: the scene or a part of it cannot be read.
    """
    files, remote = _parts(str(path))
    total = sum(file.stat().st_size for file in files)
    digest = hashlib.sha256()
    with open_dataset(path) as dataset:
        digest.update(_understood(dataset))
        if remote:
            digest.update(_probed(dataset))
    step = _SAMPLE if total <= READ_IN_FULL else -(-total // _SAMPLES)
    for file in files:
        digest.update(_file_digest(file, step))
    return {"bytes": total, "files": len(files), "sha256": digest.hexdigest()}


def stamps(path: str | Path) -> dict[str, str]:
    """Tell what else differs when a scene too large or too far away to be read in full was changed.

    Returns:
        ``modified``, when the newest of its files was, and ``times``, a hash over all; ``etag`` and
        ``last-modified`` of an address whose server says so. Empty where ``fingerprint`` reads all.

    Raises:
        InputError: the scene cannot be read.
    """
    files, remote = _parts(str(path))
    found: dict[str, str] = {}
    for number, address in enumerate(remote):
        found |= {f"{name} {number}" if number else name: value for name, value in _http_stamps(address).items()}
    states = [file.stat() for file in files]
    if sum(state.st_size for state in states) > READ_IN_FULL:
        newest = max(state.st_mtime for state in states)
        times = json.dumps([state.st_mtime_ns for state in states]).encode()
        found["modified"] = datetime.fromtimestamp(newest, UTC).isoformat(sep=" ", timespec="seconds")
        found["times"] = hashlib.sha256(times).hexdigest()[:16]
    return found


def _parts(name: str) -> tuple[list[Path], list[str]]:
    """List the files a raster consists of on this machine, and its addresses elsewhere, in GDAL's order."""
    files: dict[Path, None] = {}
    remote: dict[str, None] = {}
    seen: set[str] = set()
    pending = [name]
    while pending:
        raster = pending.pop(0)
        with open_dataset(raster) as dataset:
            names, nested = dataset.files or [raster], dataset.driver == "VRT"
        for part in names:
            local = _on_this_machine(part)
            if local is None:
                remote[part] = None
            elif not part.endswith(".aux.xml"):
                files |= dict.fromkeys(_files_of(local))
            if nested and part not in seen | {raster}:  # a VRT names its sources, but not what belongs to them
                seen.add(part)
                pending.append(part)
    return list(files), list(remote)


def _on_this_machine(name: str) -> Path | None:
    """Find the file GDAL's name stands for; of an archive's member, the archive."""
    path = Path(name)
    if path.exists():
        return path
    archive = _ARCHIVE.match(name)
    if archive is None:
        return None
    braces = _BRACES.match(archive[1])
    if braces is not None:  # /vsizip/{archive}/member
        return _on_this_machine(braces[1])
    inside = Path(archive[1])
    return next((folder for folder in (inside, *inside.parents) if folder.is_file()), None)


def _files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _file_digest(path: Path, step: int) -> bytes:
    try:
        with path.open("rb") as file:
            if step == _SAMPLE:
                return hashlib.file_digest(file, "sha256").digest()
            digest = hashlib.sha256()
            for start in _starts(path.stat().st_size, step):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
            return digest.digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); fetch it again") from error


def _starts(size: int, step: int) -> Iterator[int]:
    yield from range(0, size, step)
    yield max(size - _SAMPLE, 0)


def _understood(dataset: rasterio.DatasetReader) -> bytes:
    """Write down what side-cars can change about a raster without changing its pixels."""
    points, gcps_crs = dataset.gcps
    facts = [
        dataset.shape,
        dataset.dtypes,
        dataset.crs and dataset.crs.to_wkt(),
        tuple(dataset.transform),
        [(point.row, point.col, point.x, point.y, point.z) for point in points],
        gcps_crs and gcps_crs.to_wkt(),
        dataset.nodatavals,
        [kind.name for kind in dataset.colorinterp],
        [[flag.name for flag in flags] for flags in dataset.mask_flag_enums],
        [dataset.overviews(band) for band in dataset.indexes],
        [
            colour_table(dataset, band)
            for band, kind in zip(dataset.indexes, dataset.colorinterp, strict=True)
            if kind == ColorInterp.palette
        ],
    ]
    return json.dumps(facts).encode()


def _probed(dataset: rasterio.DatasetReader) -> bytes:
    """Read what tells a remote raster from another of the same shape, at the cost of a few requests."""
    height, width = dataset.block_shapes[0]
    rows, columns = -(-dataset.height // height), -(-dataset.width // width)
    sizes = [
        dataset.get_tag_item(f"BLOCK_SIZE_{block % columns}_{block // columns}", "TIFF", bidx=1)
        for block in _spread(rows * columns, _BLOCK_SIZES)
    ]
    digest = hashlib.sha256(json.dumps([str(size) for size in sizes]).encode())
    for block in _spread(rows * columns, _BLOCKS):
        column, row = block % columns * width, block // columns * height
        window = Window(column, row, min(width, dataset.width - column), min(height, dataset.height - row))
        shape = (window.height, window.width)
        digest.update(np.ascontiguousarray(read_pixels(dataset, dataset.indexes, window, shape)).tobytes())
    return digest.digest()


def _spread(count: int, most: int) -> list[int]:
    """Choose numbers below ``count``, evenly, the first and the last among them."""
    return sorted({round(index * (count - 1) / max(most - 1, 1)) for index in range(most)})


def _http_stamps(name: str) -> dict[str, str]:
    """Ask a server for the validators of an address; a server that does not answer that knows none."""
    address = _HTTP.match(name)
    if address is None:
        return {}
    try:
        url = urllib.parse.quote(address[1], safe=_OF_ADDRESSES)
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - only http and https get here
        with urllib.request.urlopen(request, timeout=_HEAD_TIMEOUT_S) as answer:  # noqa: S310
            names = ("etag", "last-modified", "content-length")
            return {name: answer.headers[name] for name in names if answer.headers[name]}
    except (OSError, http.client.HTTPException, ValueError):  # the last of an address that is none
        return {}
