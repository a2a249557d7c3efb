"""What happened on the way from a scene to its objects: counts, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")
_COUNTS = ("objects", "skipped", "chips", "split_chips", "capped_chips")
_DROPPED = "dropped."


@dataclass(slots=True)
class Tally:
    """Filled in by the steps of a prediction."""

    windows: int = 0
    """that cover the scene"""
    skipped: int = 0
    """of them, outside the area of interest or without a valid pixel"""
    chips: int = 0
    """of them, that went through the network"""
    objects: int = 0
    """that were outlined and written"""
    split_chips: int = 0
    """chips looked at again in quarters, because the network reached its cap of detections there"""
    capped_chips: int = 0
    """quarters where it still did, and chips too small to have any: some objects may be missing"""
    dropped: dict[str, int] = field(default_factory=dict)
    """objects left out, by reason: ``invalid`` (centre without image), ``outside`` (the AOI), ``empty`` (outline),
    ``small`` (below the least area)"""
    seconds: dict[str, float] = field(default_factory=dict)
    """wall time by step; ``read`` is what the network waited, since reading runs beside it"""

    def drop(self, reason: str, count: int) -> None:
        """Count objects that are left out, if there are any."""
        if count == 0:
            return
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def lose(self, count: int) -> None:
        """Take back objects that were too small for the decimals of the file."""
        self.objects -= count
        self.drop("empty", count)

    def counts(self) -> dict[str, int]:
        """Give the counts, ``dropped`` flattened; ``windows`` is not one, it is known beforehand."""
        dropped = {f"{_DROPPED}{reason}": count for reason, count in self.dropped.items()}
        return {name: getattr(self, name) for name in _COUNTS} | dropped

    def since(self, before: dict[str, int]) -> dict[str, int]:
        """Give what was counted since ``counts`` gave ``before``, without zeros."""
        differences = {name: count - before.get(name, 0) for name, count in self.counts().items()}
        return {name: count for name, count in differences.items() if count}

    def add(self, counts: dict[str, int]) -> None:
        """Count again what an earlier run counted."""
        for name, count in counts.items():
            if name.startswith(_DROPPED):
                self.drop(name.removeprefix(_DROPPED), count)
            elif name in _COUNTS:
                setattr(self, name, getattr(self, name) + count)

    def join(self, other: Tally) -> None:
        """Add what another thread counted and timed."""
        self.add(other.counts())
        for step, seconds in other.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def awaited(self, step: str, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on, adding to a step the time each kept us waiting."""
        iterator = iter(items)
        while True:
            with self.timed(step):
                item = next(iterator, None)
            if item is None:
                return
            yield item
