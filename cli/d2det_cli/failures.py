"""How a command ends when it cannot go on: one line on standard error and an exit code.

What a user can act on is explained and has no traceback; everything else is a bug of ours
and keeps its own.
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from d2det_geo.errors import D2DetError, DependencyError

INTERRUPTED = 130
GO_ON = "d2det.go_on"
"""Key of ``typer.Context.meta``: what to say to a user who pressed Ctrl-C."""


class Commands(TyperGroup):
    """The group of all commands, and the one place where their failures are told."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; turn failures a user can act on into a line and an exit code."""
        try:
            with _terminated_as_interrupted():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(f"\nd2det: interrupted; {ctx.meta.get(GO_ON, 'the same command starts again')}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            known = explained(error)
            if known is None:
                raise
            words = [str(known), *getattr(error, "__notes__", ())]
            typer.echo(f"d2det: error: {' '.join('; '.join(words).splitlines())}", err=True)
            raise typer.Exit(known.exit_code) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, which time limits and schedulers send, for a Ctrl-C: what is open is closed in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def explained(error: Exception) -> D2DetError | None:
    """Put a failure of the surroundings in words; None means the failure is a bug."""
    match error:
        case D2DetError():
            return error
        case ImportError() if not (error.name or "").startswith("d2det_"):
            return DependencyError(f"{error}; `d2det doctor` says what to install")
        case RuntimeError() if "torchvision::nms" in str(error):
            return DependencyError("torch and torchvision do not fit together; `d2det doctor` says what to install")
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":
            return D2DetError("the GPU is out of memory; use a smaller --batch-size or --chip-size, or --device cpu")
        case OSError() if error.errno == errno.ENOSPC:
            return D2DetError(f"{error.filename or 'output'}: no space left on the disk; free some and run again")
    return None
