"""A folder of output that appears complete or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from d2det_geo.errors import D2DetError, OutputExistsError


@contextmanager
def atomic_folder(out: Path, *, overwrite: bool, own_files: Callable[[Path], Collection[str]]) -> Iterator[Path]:
    """Give an empty folder beside ``out`` to fill; it becomes ``out`` when the block ends well.

    Otherwise nothing is left and ``out`` is as it was. A folder is only ever replaced when all its
    files are of an earlier output, so a mistyped path cannot cost a user's other files.

    Args:
        out: the folder to make; it may exist if it is empty.
        overwrite: replace a folder that is not empty.
        own_files: tells which files in a folder are of an earlier output.

    Raises:
        OutputExistsError: it holds files, and ``overwrite`` is off or some are others.
        D2DetError: ``out`` is a file, or its parent is missing or cannot be written to.
    """
    check_folder(out, overwrite=overwrite, own_files=own_files)
    try:
        holder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise D2DetError(f"{out}: its parent folder cannot be written to ({error.strerror}); choose another") from error
    with holder as name:
        # Made with mkdir for its permissions: the holder is private to this user.
        fresh, old = Path(name) / "new", Path(name) / "old"
        fresh.mkdir()
        yield fresh
        try:
            if out.exists():
                out.rename(old)
            fresh.rename(out)
        except BaseException as error:
            # Ctrl-C, too: between the two renames the earlier output would go with the holder.
            if old.exists() and not out.exists():
                old.rename(out)
            if not isinstance(error, OSError):
                raise
            raise D2DetError(f"{out}: cannot be replaced ({error.strerror}); close what uses it") from error


def check_folder(out: Path, *, overwrite: bool, own_files: Callable[[Path], Collection[str]]) -> None:
    """Refuse a folder that ``atomic_folder`` would not replace.

    Raises:
        OutputExistsError, D2DetError: as ``atomic_folder``.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise D2DetError(f"{out}: is not a folder; give the path of one")
    files = sorted(out.iterdir()) if out.exists() else []
    if files and not overwrite:
        raise OutputExistsError(f"{out}: exists already and is not empty; pass --overwrite to replace it")
    known = own_files(out) if files else ()
    foreign = [file.name for file in files if file.is_dir() or file.name not in known]
    if foreign:
        raise OutputExistsError(f"{out}: holds '{foreign[0]}', which was not written here; choose another folder")
