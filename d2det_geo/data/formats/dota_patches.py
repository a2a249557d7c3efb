"""Names of the patches DOTA's devkit splits images into (spec section 2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_PATCH = re.compile(r"(.+)__(\d+(?:\.\d+)?)__(\d+)___(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Patch:
    """What the name of a patch says."""

    image: str
    """Name of the whole image, without suffix."""
    rate: float
    """Size of the resampled image the patch is cut from, over that of the whole image."""
    left: int
    """Px of the resampled image."""
    top: int


def patch_of(name: str) -> Patch | None:
    """Read the name of a patch, ``P0004__1__0___824``, without suffix; None for other names."""
    match = _PATCH.fullmatch(name)
    if match is None or float(match[2]) == 0:
        return None
    return Patch(match[1], float(match[2]), int(match[3]), int(match[4]))


def bare_name(name: str) -> str:
    """Drop folders and suffix, but not the decimals of a rate: ``P1__0.5__0___0`` has no suffix."""
    last = PurePosixPath(name).name
    return last if _PATCH.fullmatch(last) else PurePosixPath(last).stem
