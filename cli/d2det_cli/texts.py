"""How the text of options is read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, Literal

from d2det_geo.errors import UsageError

LEAST_SCALE, MOST_SCALE = 0.1, 8.0  # of --tta
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def resuming(arguments: Sequence[str]) -> str:
    """Give the command that goes on with a run, from the arguments of the process that was interrupted."""
    kept = [word for word in arguments[1:] if word != "--resume"]
    return shlex.join(["d2det", *kept, "--resume"])


def parse_size(text: str | None) -> int | None:
    """Read ``--max-memory``, such as ``4GB``, ``1.5GiB`` or ``800MB``, as bytes."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--max-memory {text}: give a size such as 4GB, 1.5GiB or 800MB")
    unit = 1024 ** "kmgt".index(found[2]) * 1024 if found[2] and found[3] else _UNITS[found[2]]
    return int(float(found[1]) * unit)


def parse_bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """Read ``--bbox``."""
    if text is None:
        return None
    try:
        xmin, ymin, xmax, ymax = (float(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"--bbox {text}: give XMIN,YMIN,XMAX,YMAX") from None
    return xmin, ymin, xmax, ymax


def parse_gsd(text: str) -> float | Literal["bundle", "native"]:
    """Read ``--gsd``."""
    match text:
        case "bundle" | "native":
            return text
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--gsd {text}: give bundle, native or a number of m/px") from None


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Read ``--bands``, such as ``4,3,2``."""
    try:
        return None if text is None else tuple(int(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}: give three numbers, such as 4,3,2") from None


def parse_tta(text: str) -> dict[str, Any]:
    """Read ``--tta``, such as ``0.8,1,1.25,flip``, as the arguments ``scales`` and ``flip`` of a prediction."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        scales = tuple(float(word) for word in words if word != "flip")
    except ValueError:
        scales = (0.0,)
    if not all(LEAST_SCALE <= scale <= MOST_SCALE for scale in scales):
        raise UsageError(
            f"--tta {text}: give scales from {LEAST_SCALE:g} to {MOST_SCALE:g} and flip, such as 0.8,1,1.25,flip"
        )
    return {"scales": scales or (1.0,), "flip": "flip" in words}


def parse_class_map(text: str) -> dict[str, str]:
    """Read ``--class-map`` as class in the data -> class of the model; an empty name drops the class."""
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    for name, equals, _ in pairs:
        if not (name.strip() and equals):
            raise UsageError(f"--class-map {text}: {name!r} is not A=B; example: car=vehicle,tree=")
    return {name.strip(): target.strip() for name, _, target in pairs}


def parse_names(text: str) -> tuple[str, ...]:
    """Read a list such as ``a,b``."""
    return tuple(item.strip() for item in text.split(",") if item.strip())
