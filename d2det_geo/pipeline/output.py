"""An output file and what stands beside it: the ledger while a run goes on, the manifest once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d2det_geo.errors import InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.ledger import Ledger, RunKey, ledger_path
from d2det_geo.pipeline.manifest import read_manifest, write_manifest
from d2det_geo.vector.output import check_output, remove_unfinished

_REPLACES = "--overwrite --resume replaces what is of another run, and goes on with the rest"


class Kept:
    """Where the result of a run goes, and what is kept of it while it is not complete."""

    def __init__(self, path: Path, *, overwrite: bool, resume: bool, units: str = "windows") -> None:
        """Take an output that was checked.

        Args:
            path: of the output, a file or a folder.
            overwrite: replace what is there.
            resume: go on with what the same run left there; together with ``overwrite``, replace what another left.
            units: what the ledger counts.
        """
        self.path, self._overwrite, self._resume, self._units = path, overwrite, resume, units

    def complete(self, key: RunKey) -> dict[str, Any] | None:
        """Give the manifest of the output that a run to be resumed has already; None where there is work to do.

        Raises:
            OutputExistsError: an output of another run is there, and is not to be overwritten.
        """
        if not self._resume or not self.path.exists() or ledger_path(self.path).exists():
            return None
        manifest = read_manifest(self.path)
        if manifest is not None and manifest.get("run") == key.run_id:
            return manifest
        if self._overwrite:
            return None
        raise OutputExistsError(f"{self.path}: exists, made from another scene, model or options; {_REPLACES}")

    @contextmanager
    def ledger(self, key: RunKey) -> Iterator[Ledger]:
        """Keep the ledger of a run open. What ends the run early leaves it there, to go on from.

        Raises:
            UsageError, OutputExistsError, InputError, D2DetError: as ``Ledger.start`` and ``Ledger.resume``.
        """
        with self._opened(key) as ledger:
            remove_unfinished(self.path)  # whoever owns the ledger is the only one to write the output
            try:
                yield ledger
            except BaseException as error:
                done = ledger.next_window
                if done == 0:
                    ledger.discard()
                else:
                    error.add_note(f"{done} {self._units} are done and kept, the same command with --resume goes on")
                raise

    def _opened(self, key: RunKey) -> Ledger:
        path = ledger_path(self.path)
        if not self._resume:
            return Ledger.start(path, key, overwrite=self._overwrite)
        try:
            return Ledger.resume(path, key)
        except (UsageError, InputError) as error:  # another run's, or damaged
            if self._overwrite:
                return Ledger.start(path, key, overwrite=True)
            error.add_note(_REPLACES)
            raise

    def finish(self, manifest: dict[str, Any], *, keep: bool = False) -> None:
        """Write the manifest, and drop the ledger, unless it is to be kept for what failed: the output is there."""
        write_manifest(self.path, manifest)
        if not keep:
            ledger_path(self.path).unlink(missing_ok=True)


class Output(Kept):
    """Where the vector file of a run goes."""

    def __init__(self, path: Path, *, overwrite: bool, resume: bool, format: str | None) -> None:
        """Refuse an output before any work is done for it.

        Args:
            path: of the output.
            overwrite: as of ``Kept``.
            resume: as of ``Kept``.
            format: name of the output's format; None lets the suffix say.

        Raises:
            UsageError: no such format.
            OutputExistsError: it is there and neither is on.
            D2DetError: it cannot be written.
        """
        check_output(path, overwrite=overwrite or resume, format=format)
        super().__init__(path, overwrite=overwrite, resume=resume)
