"""Where keys of a configuration stand, and which there are, for messages."""

from __future__ import annotations

import difflib
from typing import TypeAlias, get_args

from pydantic import BaseModel

from d2det_geo.config_sources import Source

Place: TypeAlias = tuple[int | str, ...]
"""Of a value, as pydantic has it: keys, positions in lists, and the kinds of sources."""
_KINDS = {str(get_args(kind.model_fields["kind"].annotation)[0]): kind for kind in get_args(get_args(Source)[0])}


def key_of(place: Place) -> str:
    """Write a place as a reader of the file sees it: ``data.train.0.images``, without the kind of a source."""
    return ".".join(
        str(part) for before, part in zip((None, *place), place, strict=False) if not _is_kind(before, part)
    ) or ("configuration")


def advice(top: type[BaseModel], place: Place) -> str:
    """Name the key that a misspelt one may mean, or else those there are.

    Args:
        top: of the configuration.
        place: of the misspelt key.
    """
    section = top
    for before, part in zip((None, *place), place[:-1], strict=False):
        if _is_kind(before, part):
            section = _KINDS[str(part)]
        elif isinstance(part, str):
            kind = section.model_fields[part].annotation
            section = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else section
    close = difflib.get_close_matches(str(place[-1]), section.model_fields, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(section.model_fields)}"


def is_within(place: Place, other: Place) -> bool:
    """Tell whether a value is a part of another one."""
    return len(place) > len(other) and place[: len(other)] == other


def _is_kind(before: int | str | None, part: int | str) -> bool:
    return isinstance(before, int) and part in _KINDS
