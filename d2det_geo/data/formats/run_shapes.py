"""Masks as polygons along the edges of their pixels."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes

from d2det_geo.annotations import Runs
from d2det_geo.runs import pixels


def shapes_of(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Turn outlines ``[N]`` that are ``Runs`` into (Multi)Polygons, px of the image; the others stay."""
    result = outlines.copy()
    for index, outline in enumerate(outlines):
        if isinstance(outline, Runs):
            result[index] = _shape(outline)
    return result


def _shape(runs: Runs) -> shapely.Geometry:
    cells = np.ascontiguousarray(pixels(runs), np.uint8)
    parts = [shapely.geometry.shape(ring) for ring, _ in shapes(cells, mask=cells > 0)]
    return shapely.transform(shapely.union_all(parts), lambda points: points + np.array([runs.x, runs.y]))
