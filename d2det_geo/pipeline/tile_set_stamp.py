"""By what the files of a set are known again: their content, so that copies are the same and edits are not missed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from d2det_geo.errors import InputError


def stamp_of(paths: Iterable[Path]) -> str:
    """Hash the content of files, in their order: 64 hexadecimal digits.

    Raises:
        InputError: one cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the whole set") from error
    return whole.hexdigest()


def stamps_of(groups: Sequence[Sequence[Path]], workers: int) -> list[str]:
    """Hash groups of files, several at once: hashing leaves Python free.

    Raises:
        InputError: one cannot be read.
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="stamp") as pool:
        return list(pool.map(stamp_of, groups))


def stamp_of_truth(source: Path, images: Collection[Path]) -> list[list[str]]:
    """Name and hash the files of a truth, a file or all that is in a folder.

    Args:
        source: of the truth.
        images: files that are left out: the scenes have stamps of their own.

    Raises:
        InputError: one cannot be read.
    """
    if source.is_file():
        return [[source.name, stamp_of([source])]]
    known = {path.resolve() for path in images}
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.resolve() not in known)
    return [[path.relative_to(source).as_posix(), stamp_of([path])] for path in files]
