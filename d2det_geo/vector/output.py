"""Files that appear complete or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d2det_geo.errors import D2DetError, OutputExistsError, UsageError

FORMATS = {
    ".geojson": "geojson",
    ".json": "geojson",
    ".gpkg": "gpkg",
    ".shp": "shapefile",
    ".geojsonl": "geojsonseq",
    ".geojsons": "geojsonseq",
    ".ndjson": "geojsonseq",
    ".fgb": "flatgeobuf",
    ".parquet": "geoparquet",
    ".coco.json": "coco",
}
"""Suffix of an output file, lower case, to the name of its format."""

# Companions of a file by its suffix: one left over from an older file would be read with the new one.
_COMPANIONS = {
    "shapefile": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qpj"),
}
_ENDINGS = {"gpkg": ("-wal", "-shm", "-journal")}  # SQLite adds them to the whole name


def format_of(path: Path, format: str | None = None) -> str:
    """Tell the format of an output: the one that is named, whatever the suffix, else the suffix's.

    Raises:
        UsageError: there is no such format; a Shapefile or a GPKG was named and the suffix is another's.
    """
    name = path.name.lower()
    # The longest suffix decides: .coco.json is also a .json.
    suffix = max((known for known in FORMATS if name.endswith(known)), key=len, default=None)
    if format is None:
        if suffix is None:
            raise UsageError(
                f"{path}: unknown output format '{path.suffix}'; supported suffixes are {', '.join(FORMATS)}"
            )
        return FORMATS[suffix]
    wanted = format.lower()
    if wanted not in FORMATS.values():
        names = ", ".join(dict.fromkeys(FORMATS.values()))
        raise UsageError(f"unknown output format '{format}'; there are {names}")
    if wanted in {"shapefile", "gpkg"} and (suffix is None or FORMATS[suffix] != wanted):
        own = next(suffix for suffix, known in FORMATS.items() if known == wanted)
        raise UsageError(f"{path}: a file of format {wanted} must be called {path.stem}{own}")
    return wanted


def check_output(path: Path, *, overwrite: bool, format: str | None = None) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: no format has this suffix, or there is no such ``format``.
        OutputExistsError: it is there, and ``overwrite`` is off.
        D2DetError: its folder is missing or cannot be written to, or the path is a folder.
    """
    format_of(path, format)
    if path.is_dir():
        raise D2DetError(f"{path}: is a folder; give the path of a file")
    existing = next((part for part in (path, *_companions(_target(path))) if part.exists()), None)
    if existing is not None and not overwrite:
        raise OutputExistsError(f"{existing}: exists already; pass --overwrite to replace it")
    with atomic_path(path):
        pass


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of ``path`` in its folder; nobody may be writing it now."""
    path = _target(path)
    for folder in path.parent.glob(f"{glob.escape(f'.{path.name}.')}????????"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path on the same file system, of the same name, to write ``path`` at.

    When the block ends well, everything written beside the temporary path is flushed to the disk, moves to the
    folder of ``path`` and replaces what was there, ``path`` itself last; otherwise nothing is left and nothing
    was touched. A block that writes nothing changes nothing. A link stays one: what it leads to is replaced.

    Raises:
        D2DetError: the folder is missing or cannot be written to, or the disk is full.
    """
    path = _target(path)
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except FileNotFoundError as error:
        raise D2DetError(f"{path}: its folder does not exist; make it, or choose another") from error
    except OSError as error:
        raise D2DetError(f"{path}: its folder cannot be written to ({error.strerror}); choose another") from error
    with folder as name:
        temporary = Path(name) / path.name
        yield temporary
        parts = sorted(Path(name).iterdir(), key=lambda part: (part == temporary, part.name))
        try:
            for part in parts:
                _flush(part)
        except OSError as error:
            raise D2DetError(f"{path}: cannot be written ({error.strerror}); check the disk") from error
        try:
            if parts:
                for stale in {part.name for part in _companions(path)} - {part.name for part in parts}:
                    (path.parent / stale).unlink(missing_ok=True)
            for part in parts:
                part.replace(path.parent / part.name)
        except OSError as error:
            raise D2DetError(f"{path}: cannot be replaced ({error.strerror}); close what uses it") from error


def _flush(part: Path) -> None:
    """Bring a file to the disk, so that a power cut after the renaming does not leave an empty one."""
    if not part.is_file():
        return
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _companions(path: Path) -> list[Path]:
    """Name what may lie beside a file; of a suffix in capitals, in capitals and not."""
    known = FORMATS.get(path.suffix.lower(), "")
    beside = [path.with_suffix(suffix) for suffix in _COMPANIONS.get(known, ())]
    if path.suffix != path.suffix.lower():
        beside += [part.with_suffix(part.suffix.upper()) for part in beside]
    return beside + [path.with_name(path.name + ending) for ending in _ENDINGS.get(known, ())]


def _target(path: Path) -> Path:
    """Follow a link to the file that is meant, also where there is none yet."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
