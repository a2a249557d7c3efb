"""Values of any real type to the uint8 the model wants, by one scaling for the whole scene.

Scaling per chip would show the network the same roof in two greys, so the range is taken
once, from a decimated read of the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True)
class Scaling:
    """A linear map of ``[low, high]`` to ``[0, 255]``, the same for the three bands so that colours keep their hue."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Scale, clip and round. Values that are not finite become 0; the validity mask tells them apart."""
        scaled = (values.astype(np.float32) - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
        grey: NDArray[np.uint8] = np.rint(np.nan_to_num(np.clip(scaled, 0, 255))).astype(np.uint8)
        return grey


def scaling_of(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> Scaling:
    """Take the range of a sample of the scene.

    Args:
        values: ``[3, H, W]`` of any real type.
        valid: ``[H, W]``.

    Returns:
        The scaling of the 2nd to 98th percentile of the valid values; a range of one value is widened by one.
    """
    sample = values[:, valid].astype(np.float64)
    low, high = (float(value) for value in np.percentile(sample, PERCENTILES)) if sample.size else (0.0, 1.0)
    return Scaling(low, high if high > low else low + 1.0)
