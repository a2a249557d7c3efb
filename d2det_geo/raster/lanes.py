"""Chips read ahead on several threads, each with a dataset handle of its own, and given back in order.

A lane is one thread, the windows it reads, and the chips it holds. Where windows go is decided
before any is read, by the windows alone, so a run repeats; how far a lane is ahead changes
nothing but time.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import groupby
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

Chip = tuple[NDArray[np.uint8], NDArray[np.bool_]]
Read = Callable[[Window], Chip]
"""Window in grid px -> chip ``[3, H, W]`` and which of its pixels are valid ``[H, W]``."""
OpenReader = Callable[[], AbstractContextManager[Read]]
"""Opens a dataset handle that one thread will read from, and closes it."""

MOST_LANES = 4  # beyond, a network cannot keep up, and each lane decodes its edge blocks once more
_BYTES_PER_PX = 4  # of a chip: three bands and its validity


def lane_count() -> int:
    """Count the lanes that pay on this machine."""
    return min(MOST_LANES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def assign_lanes(windows: Sequence[Window], lanes: int, *, block_width: float | None) -> NDArray[np.intp]:
    """Decide which lane reads which window.

    Args:
        windows: row by row.
        lanes: how many there are.
        block_width: of what is decoded at once, grid px. Each lane has a run of neighbours in every row of windows,
            so that few blocks are decoded by two; a row of fewer windows than lanes goes to lanes in turn. None is
            for blocks that span the scene: whole rows go to lanes in turn.

    Returns:
        ``[N]`` the lane of each window.
    """
    assigned: list[int] = []
    for number, (_, group) in enumerate(groupby(windows, key=lambda window: window.row_off)):
        row = list(group)
        if block_width is None:
            assigned += [number % lanes] * len(row)
        elif len(row) < lanes:
            assigned += [(number + column) % lanes for column in range(len(row))]
        else:
            cuts = [_cut(row, len(row) * lane / lanes, block_width) for lane in range(1, lanes)]
            assigned += np.searchsorted(cuts, np.arange(len(row)), side="right").tolist()
    return np.array(assigned, np.intp)


def _cut(row: Sequence[Window], place: float, block_width: float) -> int:
    """Cut a row of windows before or after ``place``, where fewer blocks are under both neighbours."""

    def shared(cut: int) -> int:
        before, after = row[cut - 1], row[cut]
        return int((before.col_off + before.width - 1) // block_width) - int(after.col_off // block_width)

    return min(floor(place), ceil(place), key=shared)


def read_in_lanes(
    open_reader: OpenReader, windows: Sequence[Window], lanes: NDArray[np.intp], ahead_bytes: int
) -> Generator[tuple[Window, Chip]]:
    """Read windows on as many threads as there are lanes.

    Args:
        open_reader: called once for each thread.
        windows: what to read.
        lanes: ``[N]`` the lane of each window.
        ahead_bytes: of chips read or being read and not yet taken, in all lanes; each may hold one chip, however
            large.

    Yields:
        Windows and chips in the order given. An error is raised where its chip would have come. Whoever stops
        early, by an exception or Ctrl-C, waits for no more than the windows being read.
    """
    used, lane_of = np.unique(lanes, return_inverse=True)
    shares = [
        [window for window, own in zip(windows, lane_of, strict=True) if own == lane] for lane in range(len(used))
    ]
    with ExitStack() as files:
        # Opened and closed on this thread, and closed only after the threads that read them have ended.
        running = [_Lane(files.enter_context(open_reader()), share, ahead_bytes // len(shares)) for share in shares]
        try:
            for lane in running:
                lane.start()
            for window, own in zip(windows, lane_of, strict=True):
                yield window, running[own].take()
        finally:
            for lane in running:
                lane.stop()
            for lane in running:
                lane.join()


class _Lane:
    """One thread that reads its windows in order, ``ahead_bytes`` ahead of who takes their chips."""

    def __init__(self, read: Read, windows: Sequence[Window], ahead_bytes: int) -> None:
        self._read = read
        self._windows = windows
        self._ahead_bytes = ahead_bytes
        self._changed = threading.Condition()
        self._chips: deque[tuple[int, Chip] | BaseException] = deque()
        self._held = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="reader")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self) -> Chip:
        """Wait for the next chip, or raise what happened in its place."""
        with self._changed:
            self._changed.wait_for(lambda: self._chips)
            first = self._chips.popleft()
            if isinstance(first, BaseException):
                raise first
            size, chip = first
            self._held -= size
            self._changed.notify_all()
        return chip

    def stop(self) -> None:
        """Read no further window."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until nothing is read any more."""
        if self._thread.ident is not None:  # an interrupt may come before the start
            self._thread.join()

    def _run(self) -> None:
        try:
            for window in self._windows:
                size = int(window.width) * int(window.height) * _BYTES_PER_PX
                if not self._make_room(size):
                    return
                self._hand_over((size, self._read(window)))
        except BaseException as error:  # raised where its chip would have come
            self._hand_over(error)

    def _make_room(self, size: int) -> bool:
        """Wait until a chip may be read; False when none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._held or self._held + size <= self._ahead_bytes)
            self._held += size
            return not self._stopped

    def _hand_over(self, item: tuple[int, Chip] | BaseException) -> None:
        with self._changed:
            self._chips.append(item)
            self._changed.notify_all()
