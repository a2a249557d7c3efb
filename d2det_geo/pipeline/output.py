"""An output file and what stands beside it: the ledger while a run goes on, the manifest once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.ledger import Ledger, RunKey, ledger_path
from d2det_geo.pipeline.manifest import run_of, write_manifest
from d2det_geo.vector.output import check_output, remove_unfinished


class Output:
    """Where the result of a run goes."""

    def __init__(self, path: Path, *, overwrite: bool, resume: bool, format: str | None) -> None:
        """Refuse an output before any work is done for it.

        Raises:
            UsageError: both ``overwrite`` and ``resume``, or no such format.
            OutputExistsError: it is there and neither is on.
            D2DetError: it cannot be written.
        """
        if overwrite and resume:
            raise UsageError("--overwrite and --resume: give one, start again or go on")
        check_output(path, overwrite=overwrite or resume, format=format)
        self.path, self._overwrite, self._resume = path, overwrite, resume

    def is_complete(self, key: RunKey) -> bool:
        """Tell whether a run to be resumed has its output already.

        Raises:
            OutputExistsError: an output of another run is there.
        """
        if not self._resume or not self.path.exists() or ledger_path(self.path).exists():
            return False
        if run_of(self.path) != key.run_id:
            raise OutputExistsError(
                f"{self.path}: exists, made from another scene, model or options; pass --overwrite to replace it"
            )
        return True

    @contextmanager
    def ledger(self, key: RunKey, *, lasting: bool) -> Iterator[Ledger]:
        """Keep the ledger of a run open. What ends the run early leaves it there, to go on from.

        Args:
            key: of the run.
            lasting: keep it even if the scene cannot be read: the next try may be luckier, as with an address.

        Raises:
            UsageError, OutputExistsError, InputError, D2DetError: as ``Ledger.start`` and ``Ledger.resume``.
        """
        path = ledger_path(self.path)
        ledger = Ledger.resume(path, key) if self._resume else Ledger.start(path, key, overwrite=self._overwrite)
        with ledger:
            remove_unfinished(self.path)  # whoever owns the ledger is the only one to write the output
            try:
                yield ledger
            except BaseException as error:
                done = ledger.next_window
                if done == 0 or (isinstance(error, InputError) and not lasting):
                    ledger.discard()
                elif isinstance(error, D2DetError):
                    error.add_note(f"{done} windows are done and kept, the same command with --resume goes on")
                raise

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, and drop the ledger: the output is there."""
        write_manifest(self.path, manifest)
        ledger_path(self.path).unlink(missing_ok=True)
