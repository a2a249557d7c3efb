"""Zips of results from others: never more in memory than is sensible, and damage told in one line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d2det_geo.data.formats.json_file import check_memory
from d2det_geo.errors import InputError

LARGEST = 4 * 2**30
"""Bytes that are unpacked of a zip at most: results of the largest test set are a tenth."""
MOST_SHRUNK = 100
"""Times a file may be larger than what the zip holds of it: results are 3 to 10 times, made-up ones up to 1,000."""
_HARMLESS = 2**24  # bytes unpacked that are no trouble, however much they shrank


@contextmanager
def opened_zip(path: Path, what: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip; what goes wrong with it in the block is told.

    Args:
        path: of the zip.
        what: what should be there, for messages.

    Raises:
        InputError: it is no zip, damaged or encrypted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, RuntimeError, NotImplementedError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be unpacked ({error!s:.80}); give the whole zip of {what}, not encrypted"
        ) from error


def unpacked(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], path: Path) -> Iterator[tuple[str, bytes]]:
    """Give name and content of members, one after the other.

    Raises:
        InputError: together they are too large for results or for the memory that is free, or one shrank like
            nothing that anyone found; before any is unpacked.
    """
    size = sum(member.file_size for member in members)
    if size > LARGEST:
        raise InputError(
            f"{path}: {_named(members)} would unpack to {size / 1e9:.1f} GB; results are smaller than "
            f"{LARGEST / 1e9:.1f} GB, split them"
        )
    for member in members:
        if member.file_size > max(_HARMLESS, MOST_SHRUNK * member.compress_size):
            raise InputError(
                f"{path}: {member.filename} would unpack to {member.file_size / 1e6:.0f} MB, "
                f"{member.file_size // max(member.compress_size, 1)} times what is there, as no results do"
            )
    check_memory(size, f"{path}: {_named(members)}", "text")
    for member in members:
        yield member.filename, archive.read(member)  # never more than it announces


def _named(members: list[zipfile.ZipInfo]) -> str:
    return members[0].filename if len(members) == 1 else f"{len(members)} files"
