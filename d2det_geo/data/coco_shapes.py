"""COCO's two notations of an outline, polygons and run lengths, as shapely geometries."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from pycocotools import mask as coco_mask
from rasterio.features import shapes

from d2det_geo.errors import InputError


def outline(segmentation: Any, width: int, height: int, where: str) -> shapely.Geometry:
    """Read the ``segmentation`` of an annotation.

    Args:
        segmentation: list of rings ``[x, y, x, y, ...]``, or run lengths ``{"size", "counts"}``.
        width: of the image, px.
        height: of the image, px.
        where: the row, for messages.

    Returns:
        A geometry in image px, perhaps of no area; run lengths become pixel-edge outlines.

    Raises:
        InputError: neither notation, or run lengths of another size.
    """
    if isinstance(segmentation, dict):
        return _of_runs(segmentation, width, height, where)
    if not isinstance(segmentation, list):
        raise InputError(f"{where}: segmentation must be polygons or run lengths; correct the row")
    return shapely.union_all([_of_ring(ring, where) for ring in segmentation])


def _of_ring(ring: object, where: str) -> shapely.Geometry:
    numbers = isinstance(ring, list) and all(type(value) in {int, float} for value in ring)
    if not numbers or len(ring) < 6 or len(ring) % 2 or not np.isfinite(ring).all():  # type: ignore[arg-type]
        raise InputError(f"{where}: a polygon must be [x, y, x, y, x, y, ...], finite numbers; correct the row")
    return shapely.make_valid(shapely.Polygon(np.reshape(np.array(ring, np.float64), (-1, 2))))


def _of_runs(runs: dict[str, Any], width: int, height: int, where: str) -> shapely.Geometry:
    if runs.get("size") != [height, width]:
        raise InputError(f"{where}: run lengths are for size {runs.get('size')}, the image has {[height, width]}")
    counts = runs.get("counts")
    try:
        packed = coco_mask.frPyObjects(runs, height, width) if isinstance(counts, list) else runs
        cells = coco_mask.decode(packed)
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError) as error:
        raise InputError(f"{where}: malformed run lengths ({error}); correct the row") from error
    rings = [shapely.geometry.shape(shape) for shape, value in shapes(cells, mask=cells > 0) if value]
    return shapely.union_all(rings)
