"""How much of a scene is held in memory: GDAL's block cache, and the chips read ahead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from d2det_geo.errors import UsageError

MIB = 2**20
_CACHE = 512 * MIB  # at most, when nobody says how much
_AHEAD = 256 * MIB
_LEAST_CACHE = 16 * MIB
_RESERVE = 0.2  # of what is in use: objects, of which noise has few, waiting for their neighbours and being written


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes for each of the two."""

    cache: int
    ahead: int


def share_memory(limit: int | None, used: int, *, cache_wanted: int, row: int, batch: int) -> Budget:
    """Share out what may be used.

    Args:
        limit: bytes the process should not exceed; None is no limit.
        used: bytes it needs without reading anything.
        cache_wanted: bytes of GDAL's cache with which no block is decoded twice.
        row: bytes of a row of chips.
        batch: bytes of the chips of a batch.

    Raises:
        UsageError: the limit leaves too little to read the scene at all.
    """
    if limit is None:
        return Budget(min(cache_wanted, _CACHE), max(min(row, _AHEAD), 2 * batch))
    least = _LEAST_CACHE + 2 * batch
    spare = limit - int(used * (1 + _RESERVE))
    if spare < least:
        needed = int(used * (1 + _RESERVE)) + least
        raise UsageError(
            f"--max-memory {limit / 1e6:.0f}MB: the network and its batch alone need {needed / 1e6:.0f} MB;"
            " allow more, or use a smaller --batch-size or --chip-size"
        )
    cache = max(_LEAST_CACHE, min(cache_wanted, spare - max(2 * batch, spare // 3)))
    return Budget(cache, max(2 * batch, min(row, spare - cache)))


def peak_bytes() -> int:
    """Give the most memory this process ever had resident; where the system does not keep that, what it has now."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)
