"""JSON files that fit into memory, parsed at once."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from d2det_geo.collection import no_collection
from d2det_geo.errors import InputError

_MEMORY = 8  # times the size of a file, at most, that reading it takes: measured 5 to 6; lists of small floats reach 8


def load_json(path: Path, what: str) -> Any:
    """Parse a JSON file that fits into memory.

    Args:
        path: the file.
        what: what should be there, for messages: ``a COCO JSON file``.

    Raises:
        InputError: it cannot be read, is too large for the memory that is free, or is not JSON.
    """
    try:
        check_memory(path.stat().st_size, path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of {what}") from error
    return parse_json(data, path, what)


def parse_json(data: bytes, path: Path | str, what: str) -> Any:
    """Parse JSON that is in memory; ``path`` and ``what`` are for messages.

    Raises:
        InputError: it is not JSON.
    """
    try:
        with no_collection():
            with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
                return msgspec.json.decode(data)
            return json.loads(data)  # says what is wrong in more words, and takes NaN, which is then told by its row
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) and error.pos > 0
        why = "it ends too soon" if cut else f"{error.msg}, line {error.lineno}, column {error.colno}"
        hint = "is it cut short? give a complete one" if cut else f"give the path of {what}"
        raise InputError(f"{path}: Invalid JSON ({why}); {hint}") from error
    except RecursionError as error:
        raise InputError(f"{path}: Invalid JSON (nested too deep); give the path of {what}") from error
    except ValueError as error:  # not Unicode, or a number of thousands of digits
        raise InputError(f"{path}: Invalid JSON ({error!s:.80}); give the path of {what}") from error


def check_memory(size: int, path: Path | str, kind: str = "JSON") -> None:
    """Refuse text of so many bytes, JSON or tables, that would not fit into the memory that is free.

    Raises:
        InputError: names it.
    """
    needed, free = size * _MEMORY, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{path}: reading its {needed / _MEMORY / 1e9:.1f} GB of {kind} takes up to {needed / 1e9:.0f} GB of "
            f"memory, and {free / 1e9:.1f} GB are free; split it by images, or use a machine with more"
        )


def looks_like(value: Any) -> str:
    """Describe a document at its top level, for messages."""
    if isinstance(value, dict):
        keys = ", ".join(str(key) for key in list(value)[:5])
        return f"an object with {keys}" if keys else "an empty object"
    if isinstance(value, list):
        first = f", the first with {', '.join(list(value[0])[:5])}" if value and isinstance(value[0], dict) else ""
        return f"a list of {len(value)}{first}"
    return f"{value!r:.40}"
