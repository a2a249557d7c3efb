"""Resampling of whole images in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resampled(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample ``[3, H, W]`` to ``[3, height, width]``, edges on edges; anti-aliased when it shrinks."""
    if image.shape[1:] == (height, width):
        return image
    resized = Image.fromarray(image.transpose(1, 2, 0)).resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
