"""Rows of delimited text as arrays: fast where the text is plain, with file, line and column where it is not.

pyarrow parses what is plain. What it does not take, or what is not finite, is gone through line by line, which either
reads it or says what is wrong with which line. The second way alone decides what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from d2det_geo.errors import InputError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a format."""

    columns: tuple[str, ...]
    """Names, in order, as messages call them."""
    required: int
    """How many of them each line has at least; the others may be missing at its end."""
    words: tuple[str, ...] = ()
    """Those that hold text; the others hold numbers."""
    separator: str = ","
    """One character. A space stands for any run of spaces and tabs."""
    more: bool = False
    """Lines may have further columns, which are passed over."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """N rows of a text file; blank lines make no row."""

    source: str
    """File, for messages."""
    text: str
    layout: Layout
    numbers: NDArray[np.float64]
    """``[N, C]`` the columns of numbers in their order, finite; NaN where a line ends before."""
    words: dict[str, tuple[NDArray[np.int64], tuple[str, ...]]]
    """For each column of text the positions ``[N]`` in its different words, and those."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.numbers)

    def column(self, name: str) -> NDArray[np.float64]:
        """Give a column of numbers ``[N]``."""
        return self.numbers[:, self._position(name)]

    def whole(self, name: str, least: int, most: int | None = None) -> NDArray[np.int64]:
        """Give a column of whole numbers ``[N]``.

        Raises:
            InputError: one of them is not whole or outside [``least``, ``most``].
        """
        values = self.column(name)
        high = float(2**53) if most is None else most
        wrong = ~((values == np.floor(values)) & (values >= least) & (values <= high))
        upper = "" if most is None else f" to {most}"
        wanted = f"a whole number from {least}{upper}" if upper else f"a whole number of at least {least}"
        self.refuse(wrong, partial(self._wrong_value, name, wanted))
        return values.astype(np.int64)

    def boxes(self, *, empty: bool = False) -> NDArray[np.float64]:
        """Join the columns left, top, width and height to boxes ``[N, 4]`` as ``(x1, y1, x2, y2)``.

        Args:
            empty: allow sizes of zero.

        Raises:
            InputError: a size is negative, or zero where that is not allowed.
        """
        first = self._position("left")
        left_top, sizes = self.numbers[:, first : first + 2], self.numbers[:, first + 2 : first + 4]
        for index, name in enumerate(("width", "height")):
            values = sizes[:, index]
            wrong = values < 0 if empty else values <= 0
            wanted = f"{'0 or more' if empty else 'more than 0'} px"
            self.refuse(wrong, partial(self._wrong_value, name, wanted))
        return np.hstack((left_top, left_top + sizes))

    def refuse(self, wrong: NDArray[np.bool_], problem: Callable[[int], str]) -> None:
        """Raise an ``InputError`` for the first of the rows ``[N]`` that are wrong, if any."""
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{self.source}:{self.line(row)}: {problem(row)}")

    def line(self, row: int) -> int:
        """Find the line of a row, counted from 1."""
        return [number for number, line in enumerate(self.text.split("\n"), 1) if line.strip()][row]

    def _wrong_value(self, name: str, wanted: str, row: int) -> str:
        value = self.column(name)[row]
        return f"{name} is {'missing' if np.isnan(value) else f'{value:.12g}'}; give {wanted}"

    def _position(self, name: str) -> int:
        return [column for column in self.layout.columns if column not in self.layout.words].index(name)


def read_table(source: str | Path, text: str, layout: Layout) -> Table:
    r"""Read rows of text.

    Line ends of any system, blank lines, spaces around separators and a separator at the end of lines are fine.

    Args:
        source: the file, for messages.
        text: its content, lines ended by ``\n``, ``\r\n`` or ``\r``.
        layout: its columns.

    Raises:
        InputError: a line has too few or too many columns, or something that is no finite number.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # pyarrow ends lines at each of the three
    parsed = _parsed(text, layout) or _read_lines(str(source), text, layout)
    return Table(str(source), text, layout, *parsed)


_Parsed = tuple[NDArray[np.float64], dict[str, tuple[NDArray[np.int64], tuple[str, ...]]]]


def _parsed(text: str, layout: Layout) -> _Parsed | None:
    """Read text all at once; None where that takes a closer look."""
    separator = layout.separator
    if separator == " ":
        plain = "\n".join(" ".join(_spaced(line)) for line in text.split("\n")) if _uneven(text) else text
    else:
        plain = text.replace(f"{separator}\n", "\n").removesuffix(separator)
    first = next((line for line in plain.split("\n", 64) if line), "")
    count = min(first.count(separator) + 1, len(layout.columns))
    if not first or count < layout.required or (first.count(separator) + 1 > count and not layout.more):
        return None
    table = _arrow_table(plain.encode(), layout, count)
    return None if table is None else _arrays(table, layout, count)


def _spaced(line: str) -> list[str]:
    return [word for word in line.replace("\t", " ").split(" ") if word]


def _uneven(text: str) -> bool:
    """Tell whether words of text are parted by more than single spaces."""
    return "  " in text or "\t" in text or " \n" in text or "\n " in text or text[:1] == " " or text[-1:] == " "


def _arrow_table(data: bytes, layout: Layout, count: int) -> pa.Table | None:
    text = pa.dictionary(pa.int32(), pa.string())
    types = {f"f{i}": text if layout.columns[i] in layout.words else pa.float64() for i in range(count)}
    reading = pa_csv.ReadOptions(
        use_threads=False, autogenerate_column_names=True, block_size=min(len(data) + 1, 1 << 24)
    )
    parsing = pa_csv.ParseOptions(delimiter=layout.separator, quote_char=False)
    converting = pa_csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[])
    try:
        return pa_csv.read_csv(pa.BufferReader(data), reading, parsing, converting)
    except pa.ArrowInvalid:
        return None


def _arrays(table: pa.Table, layout: Layout, count: int) -> _Parsed | None:
    names = [name for name in layout.columns if name not in layout.words]
    numbers = np.full((table.num_rows, len(names)), np.nan)
    words = {}
    for position, name in enumerate(layout.columns[:count]):
        column = table.column(position)
        if name in layout.words:
            coded = column.unify_dictionaries().combine_chunks()
            words[name] = (coded.indices.to_numpy().astype(np.int64), tuple(coded.dictionary.to_pylist()))
            continue
        values = column.to_numpy()
        if not np.isfinite(values).all():
            return None
        numbers[:, names.index(name)] = values
    return numbers, words


def _read_lines(source: str, text: str, layout: Layout) -> _Parsed:
    rows: list[list[float]] = []
    texts: dict[str, list[str]] = {name: [] for name in layout.words}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = _cells(line, layout)
            for name, cell in zip(layout.columns, cells, strict=False):
                if name in texts:
                    texts[name].append(cell)
            rows.append(_numbers(cells, layout))
        except ValueError as error:
            raise InputError(f"{source}:{number}: {error}") from error
    width = len(layout.columns) - len(layout.words)
    return np.array(rows, dtype=np.float64).reshape(len(rows), width), {n: _coded(t) for n, t in texts.items()}


def _coded(words: list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    known = {word: index for index, word in enumerate(dict.fromkeys(words))}
    return np.array([known[word] for word in words], dtype=np.int64), tuple(known)


def _cells(line: str, layout: Layout) -> list[str]:
    """Part a line, or raise a ``ValueError`` that says why it has the wrong columns."""
    cells = _spaced(line) if layout.separator == " " else [cell.strip() for cell in line.split(layout.separator)]
    if len(cells) > 1 and not cells[-1]:
        cells.pop()
    few, many = len(cells) < layout.required, len(cells) > len(layout.columns) and not layout.more
    if few or many:
        most = "" if layout.required == len(layout.columns) else f" to {len(layout.columns)}"
        wanted = f"{layout.required} or more" if layout.more else f"{layout.required}{most}"
        raise ValueError(f"has {len(cells)} columns; give {wanted}: {', '.join(layout.columns)}")
    return cells[: len(layout.columns)]


def _numbers(cells: list[str], layout: Layout) -> list[float]:
    """Read the numbers of a line, or raise a ``ValueError`` that says which is none."""
    numbers = []
    for name, cell in zip(layout.columns, cells, strict=False):
        if name in layout.words:
            continue
        value = float(cell) if _NUMBER.fullmatch(cell) else np.nan
        if not np.isfinite(value):
            few = len(cells) < len(layout.columns) and bool(layout.words)
            columns = f" (the row has {len(cells)} columns of {', '.join(layout.columns)})" if few else ""
            raise ValueError(f"{name} is {cell[:40]!r}; give a finite number{columns}")
        numbers.append(value)
    width = len(layout.columns) - len(layout.words)
    return numbers + [np.nan] * (width - len(numbers))
