"""A folder of output that appears complete or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2det_geo.errors import D2DetError, OutputExistsError, UsageError

_KEY = "run.json"
_LOCK = frozenset({"lock", "lock-journal"})
_WORK = _LOCK | {_KEY, "new", "done", "old"}


@contextmanager
def atomic_folder(out: Path, *, overwrite: bool, own_files: Callable[[Path], Collection[str]]) -> Iterator[Path]:
    """Give an empty folder beside ``out`` to fill; it becomes ``out`` when the block ends well.

    Otherwise nothing is left and ``out`` is as it was. A folder is only ever replaced when all its
    files are of an earlier output, so a mistyped path cannot cost a user's other files. That is looked at before the
    block and after it, as files may be put there meanwhile.

    Args:
        out: the folder to make; it may exist if it is empty.
        overwrite: replace a folder that is not empty.
        own_files: tells which files in a folder are of an earlier output, by their path in it, with ``/``.

    Raises:
        OutputExistsError: it holds files, and ``overwrite`` is off or some are others.
        D2DetError: ``out`` is a file, or its parent is missing or cannot be written to.
    """
    check_folder(out, overwrite=overwrite, own_files=own_files)
    try:
        holder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise _unwritable(out, error) from error
    with holder as name:
        # Made with mkdir for its permissions: the holder is private to this user.
        fresh, old = Path(name) / "new", Path(name) / "old"
        fresh.mkdir()
        yield fresh
        check_folder(out, overwrite=overwrite, own_files=own_files)
        _replace(out, fresh, old)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The work of a run that may be interrupted and taken up again."""

    fresh: Path
    """The folder to fill, with what an interrupted run of the same key left there."""
    done: Path
    """A folder for the run's own notes of what is complete in ``fresh``; it is no part of the output."""


def unfinished_path(out: Path) -> Path:
    """Name where the work on a folder lies until it is complete: beside it."""
    return out.with_name(f"{out.name}.unfinished")


@contextmanager
def resumable_folder(
    out: Path,
    key: Mapping[str, Any],
    *,
    overwrite: bool,
    resume: bool,
    own_files: Callable[[Path], Collection[str]],
) -> Iterator[Unfinished]:
    """Do as ``atomic_folder``, but keep what there is when the block is interrupted, for a later run to go on from.

    Args:
        out: the folder to make; it may exist if it is empty.
        key: what the output depends on, JSON-able: a run is only taken up by one of the same key.
        overwrite: replace a folder that is not empty, and the unfinished work of another key.
        resume: go on with what an interrupted run left.
        own_files: as ``atomic_folder``.

    Raises:
        OutputExistsError: ``out`` or unfinished work is there, and is neither to be overwritten nor resumed; or a
            folder of other things is where the work would be.
        UsageError: the unfinished work is of another key.
        D2DetError: another process works on it, or nothing can be written there.
    """
    check_folder(out, overwrite=overwrite, own_files=own_files)
    work = unfinished_path(out)
    if work.exists() and not (overwrite or resume):
        raise OutputExistsError(f"{work}: left by an interrupted run; pass --resume to go on, or --overwrite")
    _check_work(work)
    try:
        work.mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    with _owned(work):
        unfinished = _taken_up(work, dict(key), overwrite=overwrite, resume=resume)
        try:
            yield unfinished
            check_folder(out, overwrite=overwrite, own_files=own_files)
            _replace(out, unfinished.fresh, work / "old")
        except BaseException as error:
            if any(unfinished.done.iterdir()):
                error.add_note("what is done is kept, the same command with --resume goes on")
            else:
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)


def _check_work(work: Path) -> None:
    """Refuse a folder that no run made: it would be removed whole in the end."""
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise OutputExistsError(f"{work}: is not a folder, but the work would be kept there; move it, or rename --out")
    names = sorted(path.name for path in work.iterdir()) if work.exists() else []
    own = _WORK if (work / _KEY).is_file() else _LOCK
    foreign = [name for name in names if name not in own]
    if foreign:
        raise OutputExistsError(
            f"{work}: holds '{foreign[0]}', which no interrupted run left; move that folder, or choose another --out"
        )


@contextmanager
def _owned(work: Path) -> Iterator[None]:
    """Let one process at a time work in a folder; a lock of SQLite's, which ends with the process."""
    with closing(sqlite3.connect(work / "lock", timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise D2DetError(f"{work}: cannot be locked ({error}); does another process work on it?") from error
        yield


def _taken_up(work: Path, key: dict[str, Any], *, overwrite: bool, resume: bool) -> Unfinished:
    """Find the same run's work, or clear what is there and begin."""
    unfinished = Unfinished(work / "new", work / "done")
    before = _key_of(work)
    if resume and before == key and unfinished.fresh.is_dir() and unfinished.done.is_dir():
        return unfinished
    if before not in (None, key) and not overwrite:
        changed = sorted(name for name in {*before, *key} if before.get(name) != key.get(name))
        raise UsageError(
            f"{work}: the interrupted run was another ({', '.join(changed)} differ); pass --overwrite to start again"
        )
    # A key is there before anything else is, and nothing is taken up without both folders.
    for folder in (unfinished.done, unfinished.fresh):
        shutil.rmtree(folder, ignore_errors=True)
    (work / _KEY).write_text(json.dumps(key), encoding="utf-8")
    for folder in (unfinished.fresh, unfinished.done):
        folder.mkdir()
    return unfinished


def _key_of(work: Path) -> Any:
    try:
        key = json.loads((work / _KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return key if isinstance(key, dict) else None


def _replace(out: Path, fresh: Path, old: Path) -> None:
    try:
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
        fresh.rename(out)
    except BaseException as error:
        # Ctrl-C, too: between the two renames the earlier output would go with the holder.
        if old.exists() and not out.exists():
            old.rename(out)
        if not isinstance(error, OSError):
            raise
        raise D2DetError(f"{out}: cannot be replaced ({error.strerror}); close what uses it") from error


def _unwritable(out: Path, error: OSError) -> D2DetError:
    return D2DetError(f"{out}: its parent folder cannot be written to ({error.strerror}); choose another")


def check_folder(out: Path, *, overwrite: bool, own_files: Callable[[Path], Collection[str]]) -> None:
    """Refuse a folder that ``atomic_folder`` would not replace.

    Raises:
        OutputExistsError, D2DetError: as ``atomic_folder``.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise D2DetError(f"{out}: is not a folder; give the path of one")
    files = sorted(out.rglob("*")) if out.exists() else []
    if files and not overwrite:
        raise OutputExistsError(f"{out}: exists already and is not empty; pass --overwrite to replace it")
    known = own_files(out) if files else ()
    names = [file.relative_to(out).as_posix() for file in files if file.is_symlink() or not file.is_dir()]
    names += [file.relative_to(out).as_posix() for file in files if not file.is_symlink() and _is_empty(file)]
    foreign = [name for name in names if name not in known]
    if foreign:
        raise OutputExistsError(f"{out}: holds '{foreign[0]}', which was not written here; choose another folder")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None
