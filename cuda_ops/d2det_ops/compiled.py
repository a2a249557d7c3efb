"""Loops compiled for the CPU, and the threads they run in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar, overload

import torch
from numba import njit

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


def _compiled_as(function: Function, relaxed: bool, inlined: bool) -> Any:
    fastmath = RELAXED if relaxed else False
    inline: Literal["never", "always"] = "always" if inlined else "never"
    try:
        return njit(cache=True, nogil=True, fastmath=fastmath, inline=inline)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return njit(nogil=True, fastmath=fastmath, inline=inline)(function)


def in_threads(count: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(start, stop)`` on contiguous blocks that make up ``[0, count)``, one in each of torch's threads.

    The threads are Python's: numba's pool would fight torch's for the cores, and its loops compile slowly.
    """
    threads = max(min(torch.get_num_threads(), count), 1)
    bounds = [count * index // threads for index in range(threads + 1)]
    if threads == 1:
        work(0, count)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work, bounds[index], bounds[index + 1]) for index in range(1, threads)]
        work(bounds[0], bounds[1])
        for other in others:
            other.result()
