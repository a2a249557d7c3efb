"""What predictions would do and cost, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from d2det_geo.errors import D2DetError, PartialError

SCHEMA = "d2det-plan/1"

Certainty = Literal["exactly", "about", "at least"]
"""How a number is known: from the file, from a decimated read, or only as far as it costs nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one scene takes."""

    scene: str
    bytes: int | None
    """of its file; None where it is no single file on this machine"""
    width: int
    """scene px"""
    height: int
    crs: str | None
    gsd_m: float | None
    """m per scene px; None without georeference"""
    grid_gsd_m: float | None
    """m per px of what the network sees"""
    grid_width: int
    grid_height: int
    block_width: int
    block_height: int
    striped: bool
    compression: str
    chip_size: int
    overlap: int
    windows: int
    """that cover the scene"""
    outside: int
    """of them, outside the area of interest"""
    empty: int
    """of them, without image"""
    empty_is: Certainty
    chips: int
    """of them, that the network sees; at most, where ``empty`` is at least"""
    coverage: float
    """share of the scene's pixels that are inside a window that is not outside, computed from the windows"""
    memory_mb: int | None
    """expected peak; None for a GPU, where it was not measured"""
    seconds: float | None
    """expected time of the network, rough; None for a GPU"""
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plans:
    """What several scenes take, one after the other."""

    plans: tuple[Plan, ...]
    failed: tuple[tuple[str, D2DetError], ...]
    """scenes that cannot be predicted, and why"""

    def total(self) -> dict[str, float | None]:
        """Add up the work; memory is that of the scene that takes most. None where a scene's is not known."""
        seconds, memory = [plan.seconds for plan in self.plans], [plan.memory_mb for plan in self.plans]
        return {
            "scenes": len(self.plans),
            "mpx": sum(plan.width * plan.height for plan in self.plans) / 1e6,
            "windows": sum(plan.windows for plan in self.plans),
            "skipped": sum(plan.outside + plan.empty for plan in self.plans),
            "chips": sum(plan.chips for plan in self.plans),
            "memory_mb": None if None in memory else max((value for value in memory if value is not None), default=0),
            "seconds": None if None in seconds else sum(value for value in seconds if value is not None),
        }

    def to_json(self) -> dict[str, Any]:
        """Give everything as a document of ``SCHEMA``."""
        failed = [{"scene": scene, "error": str(error)} for scene, error in self.failed]
        return {
            "schema": SCHEMA,
            "scenes": [asdict(plan) for plan in self.plans],
            "failed": failed,
            "total": self.total(),
        }

    def check(self) -> None:
        """Refuse to call it a success if a scene failed.

        Raises:
            PartialError: some scenes failed.
            D2DetError: all did; the last one's error.
        """
        if self.failed and self.plans:
            raise PartialError(f"{len(self.failed)} of {len(self.failed) + len(self.plans)} scenes cannot be predicted")
        if self.failed:
            raise self.failed[-1][1]
