"""What happened on the way from a scene to its objects: counts, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class Tally:
    """Filled in by the steps of a prediction."""

    windows: int = 0
    """that cover the scene"""
    skipped: int = 0
    """of them, outside the area of interest or without a valid pixel"""
    chips: int = 0
    """of them, that went through the network"""
    capped_chips: int = 0
    """chips where the network reached its cap of detections: some objects may be missing"""
    dropped: dict[str, int] = field(default_factory=dict)
    """objects left out, by reason: ``invalid`` (centre without image), ``outside`` (the AOI), ``empty`` (outline)"""
    seconds: dict[str, float] = field(default_factory=dict)
    """wall time by step; ``read`` is what the network waited, since reading runs beside it"""

    def drop(self, reason: str, count: int) -> None:
        """Count objects that are left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

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
