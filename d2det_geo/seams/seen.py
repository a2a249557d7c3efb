"""What the parts of the merger tell each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Seen(NamedTuple):
    """D detections of a scene, best first, and what the windows say about them."""

    boxes: NDArray[np.float64]
    """``[D, 4]`` px in the scene."""
    labels: NDArray[np.int64]
    """``[D]``"""
    windows: NDArray[np.int32]
    """``[D]`` row of ``frames`` each was made in."""
    frames: NDArray[np.float64]
    """``[V, 4]`` windows, px in the scene."""
    cut: NDArray[np.bool_]
    """``[D]`` whether an inner edge of its window cuts it."""
    masks: NDArray[np.float32]
    """``[D, S, S]`` probabilities over each box; ``[0, S, S]`` if there are none."""


class Pairs(NamedTuple):
    """P pairs of detections of one class from different windows, by falling agreement."""

    first: NDArray[np.int32]
    """``[P]`` positions."""
    second: NDArray[np.int32]
    """``[P]`` positions, greater than those of ``first``."""
    agree: NDArray[np.bool_]
    """``[P]`` whether the two are one object, as far as both windows tell."""
    covered: NDArray[np.uint8]
    """``[P]`` 1 if the first is a fragment inside the second, 2 if the second is one inside the first, 3 if both."""
