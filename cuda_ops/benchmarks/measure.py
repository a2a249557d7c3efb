"""Time and peak memory of calls, and how fast the machine copies."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import torch

Call = Callable[[], object]

COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31}
"""size of the tensor that is copied: far beyond any cache"""
FAST_S, CALLS = 0.02, 10
"""after the first round, a contestant that is as fast is called as often in each"""
PATIENCE_S = 40.0
"""once a comparison has taken as long, it ends after ``LEAST_ROUNDS``"""
LEAST_ROUNDS = 3
PROCESS = Path("/proc/self")


class Clock:
    """Seconds of one call on one device; on a GPU by its own events, from a cold L2 cache."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gpu = device.type == "cuda"
        self.flush = torch.empty(1 << 28 if gpu else 0, dtype=torch.uint8, device=device)

    def time(self, call: Call) -> float:
        """Run ``call`` once, to its end."""
        if self.device.type != "cuda":
            started = perf_counter()
            call()
            return perf_counter() - started
        self.flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


def compare(calls: Mapping[str, Call], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Time contestants in turns, so that what else the machine does hits all of them.

    Args:
        calls: the contestants, each called once before to warm up.
        device: what they compute on.
        rounds: every contestant has its turn in each; slow comparisons stop after three.

    Returns:
        Seconds of every call, by contestant.
    """
    clock = Clock(device)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        clock.time(call)
    started = perf_counter()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and perf_counter() - started > PATIENCE_S:
            break
        for name, call in calls.items():
            calls_now = CALLS if done and seconds[name][0] < FAST_S else 1
            seconds[name] += [clock.time(call) for _ in range(calls_now)]
    return seconds


def copy_ceiling(device: torch.device, size: int | None = None) -> float:
    """Measure bytes/s, read and written, of the fastest of several copies of one large tensor."""
    source = torch.ones((size or COPY_BYTES[device.type]) // 4, device=device)
    target = torch.zeros_like(source)
    seconds = compare({"copy": lambda: target.copy_(source)}, device, 9)["copy"]
    return 2 * source.nbytes / min(seconds)


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """Measure how far memory grows during one call, its result included; None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
    if not sys.platform.startswith("linux"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # or memory freed before would be used again unseen
    try:
        (PROCESS / "clear_refs").write_text("5")  # the peak starts from what is resident now
    except OSError:
        return None
    before = _resident("VmRSS")
    call()
    return max(_resident("VmHWM") - before, 0)


def _resident(field: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
