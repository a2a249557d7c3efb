"""The 15 classes of iSAID: official order, spelling and colours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "ship": (0, 0, 63),
    "storage_tank": (0, 63, 63),
    "baseball_diamond": (0, 63, 0),
    "tennis_court": (0, 63, 127),
    "basketball_court": (0, 63, 191),
    "Ground_Track_Field": (0, 63, 255),
    "Bridge": (0, 127, 63),
    "Large_Vehicle": (0, 127, 127),
    "Small_Vehicle": (0, 0, 127),
    "Helicopter": (0, 0, 191),
    "Swimming_pool": (0, 0, 255),
    "Roundabout": (0, 191, 127),
    "Soccer_ball_field": (0, 127, 191),
    "plane": (0, 127, 255),
    "Harbor": (0, 100, 155),
}
"""Red, green, blue of each class in semantic maps; black is no class."""
CLASSES = tuple(COLOURS)
"""In official order: the official category id is the position plus 1."""

_PACKED = np.array([red | green << 8 | blue << 16 for red, green, blue in COLOURS.values()], np.uint32)
_ORDER = np.argsort(_PACKED)
UNLABELLED = -1


def normalised(name: str) -> str:
    """Spell a class as all spellings of it are told apart by: no case, ``_``, ``-`` or space."""
    return re.sub(r"[\s_-]+", "", name).lower()


LABELS: Mapping[str, int] = {normalised(name): label for label, name in enumerate(CLASSES)}
"""Normalised name -> label, from 0 in official order."""


def labels_of_colours(colours: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Tell the class of packed colours (red + 256 green + 65536 blue).

    Returns:
        Labels from 0; ``UNLABELLED`` for black; -2 for a colour no class has.
    """
    place = np.minimum(np.searchsorted(_PACKED, colours, sorter=_ORDER), len(_ORDER) - 1)
    labels = _ORDER[place].astype(np.int64)
    labels[_PACKED[labels] != colours] = -2
    labels[colours == 0] = UNLABELLED
    return labels
