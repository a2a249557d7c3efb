"""Rows of numbers and words as delimited text, and files of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MAPPED = "rename it with --class-map {0}=..., or drop it with --class-map {0}="
"""What to do about a class that a format does not have."""
_DIGITS = 9  # of a side, px: more are what is left of subtracting
Column: TypeAlias = Iterable[float] | Iterable[str]


def row_text(columns: Sequence[Column], separator: str = ",") -> str:
    """Write columns ``[N]`` of numbers or words as lines; numbers with the digits that bring them back exactly."""
    texts = [_texts(column) for column in columns]
    return "".join(f"{separator.join(row)}\n" for row in zip(*texts, strict=True))


def _texts(column: Column) -> list[str]:
    values: list[float | str] = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return [value if isinstance(value, str) else _digits(float(value)) for value in values]


def _digits(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure ``[N, 2]`` width and height of boxes ``(x1, y1, x2, y2)``."""
    exact = boxes[:, 2:] - boxes[:, :2]
    short = np.round(exact, _DIGITS)
    return np.where(boxes[:, :2] + short == boxes[:, 2:], short, exact)


def listed(items: Sequence[str], most: int = 6) -> str:
    """Name the first of some things in a sentence, and count the others."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
