"""The ledger of a run: what came of each batch of windows, kept on disk so that a killed run goes on.

One SQLite file beside the output. A run owns it while it works; what was recorded until half a
second before a kill is there when the next run takes it up, in order and to the last bit.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.record import Batch, packed, unpacked
from d2det_geo.pipeline.run_key import RunKey, changes

__all__ = ["Batch", "Ledger", "RunKey", "ledger_path"]

_COMMIT_S = 0.5  # the work a kill may cost
_APPLICATION = 0xD2DE7  # SQLite's mark of whose file it is
_FORMAT = 1
_PAGE = 16_384  # bytes: a batch is tens of KiB, and small pages cost time
_AGAIN = "start again with --overwrite"
_TABLES = (
    "CREATE TABLE run (key TEXT NOT NULL)",
    "CREATE TABLE batches (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, crc INTEGER NOT NULL, content BLOB)",
)


def ledger_path(out: Path) -> Path:
    """Name the ledger of an output, which lies beside it."""
    return out.with_name(f"{out.name}.ledger")


class Ledger:
    """Batches of one run, appended in the order of its windows. A context manager; one thread uses it at a time."""

    def __init__(self, path: Path, key: RunKey, connection: sqlite3.Connection) -> None:
        """Use ``start`` or ``resume``."""
        self.path = path
        self.key = key
        self._db = connection
        self._committed = time.monotonic()
        self._next = 0

    @classmethod
    def start(cls, path: Path, key: RunKey, *, overwrite: bool = False) -> Ledger:
        """Begin a run.

        Raises:
            OutputExistsError: an interrupted run left its ledger there, and it was not to be overwritten.
            D2DetError: another process works on it, or it cannot be written.
        """
        if overwrite:
            try:
                return cls._started(path, key, overwrite=True)
            except InputError:  # whatever lies there cannot even be emptied
                _remove(path)
        return cls._started(path, key, overwrite=False)

    @classmethod
    def resume(cls, path: Path, key: RunKey) -> Ledger:
        """Take up an interrupted run where its last batch ended; one that never began starts anew.

        Raises:
            UsageError: it was another run; the message says what differs. The ledger stays as it is.
            InputError: the ledger is damaged, or not one.
            D2DetError: another process works on it, or it cannot be written.
        """
        ledger = cls._opened(path, key)
        with ledger._closed_on_error():
            if ledger._begun():
                ledger._check_key()
                ledger._next = ledger._recorded()
            else:
                ledger._begin()
        return ledger

    @property
    def next_window(self) -> int:
        """Number of windows that are done, and so of the first to be looked at."""
        return self._next

    def record(self, batch: Batch) -> None:
        """Append a batch, which begins where the last one ended. It is safe at most half a second later.

        Raises:
            D2DetError: the disk is full. What was safe before stays so, for a later run to go on from.
            ValueError: the batch does not follow, or cannot be kept to the last bit.
        """
        if not self._next == batch.first < batch.last:
            raise ValueError(f"windows {batch.first} to {batch.last} do not follow window {self._next}")
        content = packed(batch)
        with self._explained():
            if not self._db.in_transaction:
                self._db.execute("BEGIN")
            row = (batch.first, batch.last, _checksum(batch.first, batch.last, content), content)
            self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", row)
            self._next = batch.last
            if time.monotonic() - self._committed >= _COMMIT_S:
                self._commit()

    def replay(self) -> Iterator[Batch]:
        """Give back what was recorded, in order, one batch in memory at a time.

        Raises:
            InputError: the ledger is damaged.
        """
        at = 0
        while at < self._next:
            with self._explained():
                row = self._db.execute("SELECT last, crc, content FROM batches WHERE first = ?", (at,)).fetchone()
            yield self._checked(at, row)
            at = row[0]

    def close(self) -> None:
        """Make everything recorded safe and let go of the file. More than once is fine."""
        try:
            with self._explained():
                if self._db.in_transaction:
                    self._commit()
        except sqlite3.ProgrammingError:  # closed before
            return
        finally:
            self._db.close()

    def discard(self) -> None:
        """Remove the ledger, once the output is there."""
        with suppress(D2DetError):
            self.close()
        _remove(self.path)

    def __enter__(self) -> Self:
        """Use the ledger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; it stays on disk."""
        self.close()

    @classmethod
    def _started(cls, path: Path, key: RunKey, *, overwrite: bool) -> Ledger:
        ledger = cls._opened(path, key)
        with ledger._closed_on_error():
            if ledger._begun():
                if not overwrite:
                    raise OutputExistsError(
                        f"{path}: an interrupted run left its work here; go on with --resume or {_AGAIN}"
                    )
                ledger._clear()
            ledger._begin()
        return ledger

    @classmethod
    def _opened(cls, path: Path, key: RunKey) -> Ledger:
        """Open the file, new or old, and own it."""
        try:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise _explanation(path, error) from error
        ledger = cls(path, key, connection)
        with ledger._closed_on_error():
            ledger._own()
        return ledger

    def _own(self) -> None:
        """Lock the file until it is closed, and see whose it is."""
        # With one owner SQLite's log needs no shared memory beside it, and works on network drives.
        pragmas = (f"page_size={_PAGE}", "locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL")
        with self._explained():
            for statement in (*(f"PRAGMA {pragma}" for pragma in pragmas), "BEGIN IMMEDIATE", "COMMIT"):
                self._db.execute(statement)
            (owner,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if self._begun() and owner != _APPLICATION:
            raise D2DetError(f"{self.path}: is a database of another program, not a ledger; choose another --out")
        if self._begun() and version != _FORMAT:
            raise InputError(f"{self.path}: a ledger of another d2det (format {version}, not {_FORMAT}); {_AGAIN}")

    def _begun(self) -> bool:
        with self._explained():
            return bool(self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def _begin(self) -> None:
        with self._explained():
            self._db.execute("BEGIN")
            for statement in (*_TABLES, f"PRAGMA application_id={_APPLICATION}", f"PRAGMA user_version={_FORMAT}"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO run VALUES (?)", (json.dumps(asdict(self.key)),))
            self._commit()

    def _clear(self) -> None:
        with self._explained():
            self._db.execute("DROP TABLE IF EXISTS batches")
            self._db.execute("DROP TABLE IF EXISTS run")

    def _commit(self) -> None:
        self._db.execute("COMMIT")
        self._committed = time.monotonic()

    def _recorded(self) -> int:
        with self._explained():
            (last,) = self._db.execute("SELECT coalesce(max(last), 0) FROM batches").fetchone()
        if not isinstance(last, int):
            raise _damaged(self.path, "its windows are not numbered")
        return last

    def _check_key(self) -> None:
        with self._explained():
            row = self._db.execute("SELECT key FROM run").fetchone()
        try:
            old = RunKey(**json.loads(row[0]))
            differences = list(changes(old, self.key))
        except (TypeError, ValueError, AttributeError) as error:
            raise _damaged(self.path, "its settings cannot be read") from error
        if differences:
            raise UsageError(f"{self.path}: cannot resume: {'; '.join(differences)}; put that back, or {_AGAIN}")

    def _checked(self, first: int, row: tuple[int, int, bytes] | None) -> Batch:
        if row is None:
            raise _damaged(self.path, f"window {first} is missing")
        last, crc, content = row
        try:
            if last <= first or _checksum(first, last, content) != crc:
                raise ValueError("its checksum does not fit")
            return unpacked(first, last, content)
        except (ValueError, TypeError) as error:
            raise _damaged(self.path, f"batch of window {first}: {error}") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Put SQLite's failures in words; what was not safe yet is taken back."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                (self._next,) = self._db.execute("SELECT coalesce(max(last), 0) FROM batches").fetchone()
            raise _explanation(self.path, error) from error

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._db.close()
            raise


def _checksum(first: int, last: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(b"%d %d" % (first, last)))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: the ledger is damaged ({reason}); {_AGAIN}")


def _explanation(path: Path, error: sqlite3.Error) -> D2DetError:
    match (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT) & 0xFF:  # the low byte is the kind
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return D2DetError(f"{path}: another d2det works on this output; wait for it, or choose another --out")
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return D2DetError(f"{path}: cannot be written ({error}); free some space and go on with --resume")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return D2DetError(f"{path}: cannot be written ({error}); check the folder, or choose another --out")
    return _damaged(path, str(error))
