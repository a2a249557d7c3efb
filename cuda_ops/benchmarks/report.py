"""The table of a run, for the terminal and for the file that is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
COLUMNS = ("shape", "pass", "who", "median ms", "best ms", "GB/s", "of copy", "peak MB", "ours is faster")
NUMBERS_FROM = 3  # the columns before hold words
PROLOGUE = """\
# What the operators cost

Written by `python cuda_ops/benchmarks/run.py --write`: the last run of each operator on each machine. GB/s are the
bytes that must move (`traffic.py` says which) by the median time, beside what a copy of one large tensor reaches in
the same run; peak is how far memory grows during one call; the last column is the rival's median time by ours.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant on one shape."""

    shape: str
    backward: bool
    contestant: str
    seconds: Sequence[float]
    """of every call"""
    moved: int
    """bytes that must move"""
    ceiling: float
    """bytes/s of a copy"""
    peak: int | None
    """bytes"""
    ours: float
    """median seconds of ours on the same shape"""

    def cells(self) -> list[str]:
        """Write the row of the table."""
        middle = median(self.seconds)
        speed = self.moved / middle
        return [
            self.shape,
            "forward + backward" if self.backward else "forward",
            self.contestant,
            f"{1e3 * middle:.3f}",
            f"{1e3 * min(self.seconds):.3f}",
            f"{speed / 1e9:.2f}",
            f"{speed / self.ceiling:.0%}",
            "-" if self.peak is None else f"{self.peak / 1e6:.1f}",
            "" if self.contestant == "ours" else f"{middle / self.ours:.1f}x",
        ]


def plain(rows: Iterable[Row]) -> str:
    """Align the table for a terminal."""
    cells = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < NUMBERS_FROM else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def markdown(rows: Iterable[Row]) -> str:
    """Write the table for a file."""
    rule = ["---"] * NUMBERS_FROM + ["---:"] * (len(COLUMNS) - NUMBERS_FROM)
    lines = [COLUMNS, rule, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(device: torch.device) -> str:
    """Name the machine: its GPU, or its processor and cores."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_processor()}, {os.cpu_count()} cores"


def versions() -> str:
    """List what was measured with."""
    found = []
    for name in ("torch", "torchvision", "triton", "numba"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def write(name: str, blocks: Mapping[str, str], path: Path = RESULTS) -> None:
    """Replace operators' tables in one machine's section of the file, and nothing else.

    Args:
        name: the machine, the section's heading.
        blocks: Markdown by operator; other operators keep what is there.
        path: the file; it is made where there is none.
    """
    _, machines = _split(path.read_text() if path.exists() else "", "## ")
    _, operators = _split(machines.get(name, ""), "### ")
    operators |= blocks
    machines[name] = "\n\n".join(f"### {op}\n\n{body.strip()}" for op, body in operators.items())
    sections = [f"## {heading}\n\n{body.strip()}\n" for heading, body in machines.items()]
    path.write_text("\n".join([PROLOGUE, *sections]))


def _split(text: str, mark: str) -> tuple[str, dict[str, str]]:
    """Split Markdown at the headings that start with ``mark``: what is before them, and bodies by heading."""
    before, *parts = f"\n{text}".split(f"\n{mark}")
    pairs = (part.partition("\n") for part in parts)
    return before.strip(), {heading.strip(): body for heading, _, body in pairs}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
