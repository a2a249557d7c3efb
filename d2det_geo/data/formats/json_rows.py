"""Rows of a JSON document, such as COCO's, checked column by column.

A column is checked as a whole by numpy; only if something is wrong are its values looked at one by one, to name the
row: ``gt.json: annotations[12].bbox must be ...``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.errors import InputError

FARTHEST = 1e6
"""Largest coordinate, px: what rasterises outlines takes time and memory by their length."""
_NUMBERS = {int, float}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The objects of a JSON list, and what messages call the list."""

    where: str
    """File and key: ``gt.json: annotations``."""
    rows: list[dict[str, Any]]
    at: NDArray[np.intp] | None = None
    """``[N]`` their places in the list; None for all of it."""

    @staticmethod
    def of(value: Any, where: str) -> Rows:
        """Make sure that a value is a list of objects.

        Raises:
            InputError: it is not, or one of its rows is not.
        """
        if value is None:
            raise InputError(f"{where} is missing; is this a COCO file?")
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, got {type(value).__name__}; is this a COCO file?")
        if not set(map(type, value)) <= {dict}:
            index = next(i for i, row in enumerate(value) if not isinstance(row, dict))
            raise InputError(f"{where}[{index}] must be an object, got {value[index]!r:.60}; correct the row")
        return Rows(where, value)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def values(self, key: str) -> list[Any]:
        """Give a column as it is; None where a row does not have it."""
        try:
            return list(map(itemgetter(key), self.rows))
        except KeyError:
            return [row.get(key) for row in self.rows]

    def given(self, key: str) -> NDArray[np.intp]:
        """Find the rows that have a key; null is not having it."""
        values = self.values(key)
        if values.count(None) == 0:
            return np.arange(len(values))
        return np.flatnonzero([value is not None for value in values])

    def chosen(self, rows: NDArray[np.intp]) -> Rows:
        """Keep some rows, which messages call as before."""
        if len(rows) == len(self):
            return self
        kept = rows if self.at is None else self.at[rows]
        return Rows(self.where, [self.rows[row] for row in rows], kept)

    def place(self, index: int, key: str) -> str:
        """Name a value, for messages."""
        return f"{self.where}[{self._number(index)}].{key}"

    def _number(self, index: int) -> int:
        return index if self.at is None else int(self.at[index])

    def wrong(self, index: int, key: str, must: str) -> InputError:
        """Say what a value must be, and what it is."""
        value = self.rows[index].get(key)
        if value is None:
            return InputError(f"{self.place(index, key)} is missing; it must be {must}")
        return InputError(f"{self.place(index, key)} must be {must}, got {value!r:.60}; correct the row")

    def first_wrong(self, key: str, good: Callable[[Any], bool], must: str) -> InputError:
        """Find the first value that is not good, and say so."""
        return self.wrong(next(i for i, row in enumerate(self.rows) if not good(row.get(key))), key, must)

    def integers(self, key: str, least: int = -(2**63)) -> NDArray[np.int64]:
        """Read a column ``[N]`` of integers that every row must have.

        Raises:
            InputError: a value is missing, not an integer or less than ``least``; names the row.
        """
        values = self.values(key)
        if set(map(type, values)) <= {int}:
            try:
                array = np.array(values, np.int64)
            except OverflowError:
                array = None
            if array is not None and (array >= least).all():
                return array
        must = "an integer" if least < -1 else f"an integer of at least {least}"
        raise self.first_wrong(key, lambda value: type(value) is int and least <= value < 2**63, must)

    def numbers(self, key: str, least: float, most: float) -> NDArray[np.float64]:
        """Read a column ``[N]`` of numbers that every row must have.

        Raises:
            InputError: a value is missing, not a number, not finite or out of bounds; names the row.
        """
        array = numbers_of(self.values(key))
        if array is not None and ((array >= least) & (array <= most)).all():  # False for NaN
            return array
        must = f"a number of {least:g} to {most:g}"
        raise self.first_wrong(key, lambda value: type(value) in _NUMBERS and least <= value <= most, must)

    def optional_numbers(self, key: str, least: float, most: float) -> NDArray[np.float64]:
        """Read a column ``[N]`` of numbers; NaN where a row does not have it.

        Raises:
            InputError: as ``numbers``.
        """
        given = self.given(key)
        numbers = np.full(len(self), np.nan)
        numbers[given] = self.chosen(given).numbers(key, least, most)
        return numbers

    def names(self, key: str) -> list[str]:
        """Read a column ``[N]`` of texts that every row must have, and none twice.

        Raises:
            InputError: a value is missing, empty, not a text or there twice; names the row.
        """
        values: list[str] = self.texts(key)
        if len(set(values)) < len(values):
            first, second = first_repeated(values)
            raise InputError(
                f"{self.place(second, key)} is {values[second]!r:.80} like that of [{self._number(first)}]; "
                "make names unique"
            )
        return values

    def texts(self, key: str) -> list[str]:
        """Read a column ``[N]`` of texts that every row must have.

        Raises:
            InputError: a value is missing, empty or not a text; names the row.
        """
        values = self.values(key)
        if not (set(map(type, values)) <= {str} and all(values)):
            raise self.first_wrong(key, lambda value: isinstance(value, str) and bool(value), "a name")
        return values

    def ids(self, key: str = "id") -> NDArray[np.int64]:
        """Read a column ``[N]`` of integers, none of them twice.

        Raises:
            InputError: a value is missing, not an integer or there twice; names the row.
        """
        ids = self.integers(key)
        if len(np.unique(ids)) < len(ids):
            first, second = first_repeated(ids.tolist())
            at = f"at [{self._number(first)}] and [{self._number(second)}]"
            times = int((ids == ids[second]).sum())
            raise InputError(f"{self.where}: id {ids[second]} appears {times} times, {at}; make ids unique")
        return ids

    def flags(self, key: str) -> NDArray[np.bool_]:
        """Read a column ``[N]`` of 0 and 1; 0 where a row does not have it.

        Raises:
            InputError: a value is something else; names the row.
        """
        values = [0 if value is None else value for value in self.values(key)]
        if set(map(type, values)) <= {int, bool, float} and set(values) <= {0, 1}:
            return np.array(values, np.bool_)
        raise self.first_wrong(key, lambda value: value is None or value in (0, 1), "0 or 1")

    def references(self, key: str, ids: Sequence[int] | NDArray[np.int64], problem: str) -> NDArray[np.int64]:
        """Read a column ``[N]`` of ids as positions in ``ids``.

        Args:
            key: of the column.
            ids: what may be referred to.
            problem: what it means that an id is not there: ``the file has no id``.

        Raises:
            InputError: a value is missing, not an integer, or not one of ``ids``; names the row.
        """
        found, known = self.integers(key), np.asarray(ids, np.int64)
        order = np.argsort(known)
        at = np.searchsorted(known[order], found)
        at[at == len(known)] = 0
        missing = np.flatnonzero(known[order][at] != found) if len(known) else np.arange(len(found))
        if len(missing):
            raise InputError(f"{self.place(missing[0], key)}: {problem} {found[missing[0]]}; correct the row")
        return np.asarray(order[at] if len(known) else at, np.int64)


def numbers_of(values: list[Any]) -> NDArray[np.float64] | None:
    """Turn a flat list into an array; None if something in it is no number."""
    if not set(map(type, values)) <= _NUMBERS:
        return None
    try:
        return np.array(values, np.float64)
    except OverflowError:  # an integer beyond the largest float
        return None


def flattened(values: Sequence[list[Any]]) -> list[Any]:
    """Join lists."""
    return list(chain.from_iterable(values))


def first_repeated(values: Sequence[Any]) -> tuple[int, int]:
    """Find the first value that was there before: where it was, and where it is again."""
    seen: dict[Any, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            return seen[value], index
        seen[value] = index
    raise ValueError("no value is repeated")
