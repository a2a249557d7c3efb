"""Loops compiled for the CPU. Importing this costs no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Literal, TypeVar, overload

from numba import njit
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])

RELAXED = {"reassoc", "contract"}  # not nnan, ninf: what is not a number must stay so


@overload
def compiled(function: Function) -> Function: ...
@overload
def compiled(*, relaxed: bool = False, inlined: bool = False) -> Callable[[Function], Function]: ...
def compiled(function: Function | None = None, *, relaxed: bool = False, inlined: bool = False) -> Any:
    """Compile a function at its first call, and keep the machine code on disk where a folder can be written.

    It releases the GIL. ``relaxed`` lets sums be reordered, so that they are vectorised, and a product and a
    sum become one instruction. ``inlined`` saves a call; each argument that is an array costs seven words.

    The kept code is renewed when its own file changes: a compiled function may only call compiled functions
    and read constants of its file.
    """
    if function is None:
        return lambda decorated: _compiled_as(decorated, relaxed, inlined)
    return _compiled_as(function, relaxed, inlined)


class _Kept(FunctionCache):
    """Machine code on disk. What is damaged there is compiled anew, and what cannot be written is not kept."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Give the machine code for arguments of types ``sig``, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a crash may have left anything in the files
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say(f"{self.cache_path} cannot be written ({error.strerror})")


def _compiled_as(function: Function, relaxed: bool, inlined: bool) -> Any:
    inline: Literal["never", "always"] = "always" if inlined else "never"
    dispatcher: Any = njit(nogil=True, fastmath=RELAXED if relaxed else False, inline=inline)(function)
    try:
        dispatcher._cache = _Kept(function)  # what ``cache=True`` does, with numba's own class
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _say("no folder for them can be written")
    return dispatcher


@cache
def _say(reason: str) -> None:
    advice = "name a folder in the environment variable NUMBA_CACHE_DIR"
    warnings.warn(f"d2det compiles its loops at every start, which takes seconds: {reason}; {advice}", stacklevel=3)
