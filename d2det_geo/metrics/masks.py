"""Polygons as COCO masks of whole images."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as mask_tools

from d2det_geo.annotations import Runs
from d2det_geo.runs import of_lengths, spans


def polygon_masks(polygons: NDArray[np.object_], sizes: NDArray[np.int64]) -> list[Runs]:
    """Rasterise (multi)polygons as pycocotools does; holes are taken out.

    Args:
        polygons: ``[N]`` in px of their images.
        sizes: ``[N, 2]`` width and height of their images, px.
    """
    masks = np.full(len(polygons), None, object)
    plain = (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(polygons)
    plain &= shapely.get_num_interior_rings(polygons) == 0
    _, first, canvas = np.unique(sizes[:, 0] << 32 | sizes[:, 1], return_index=True, return_inverse=True)
    for number, (width, height) in enumerate(sizes[first].tolist()):
        rows = np.flatnonzero(plain & (canvas == number))
        if len(rows):
            found = mask_tools.frPyObjects(flat_rings(shapely.get_exterior_ring(polygons[rows])), height, width)
            for row, mask in zip(rows.tolist(), found, strict=True):
                masks[row] = Runs(0, 0, width, height, mask["counts"])
    for row in np.flatnonzero(~plain).tolist():
        masks[row] = polygon_mask(polygons[row], (int(sizes[row, 0]), int(sizes[row, 1])))
    return list(masks)


def polygon_mask(polygon: shapely.Geometry, size: tuple[int, int]) -> Runs:
    """Rasterise a (multi)polygon as pycocotools does; holes are taken out.

    Args:
        polygon: in px of the image.
        size: width and height of the image, px.
    """
    parts = shapely.get_parts(polygon)
    if not shapely.get_num_interior_rings(parts).any():
        return _merged(shapely.get_exterior_ring(parts), size)
    return _joined([_with_holes(part, size) for part in parts])


def flat_rings(rings: NDArray[np.object_]) -> list[list[float]]:
    """Return rings as COCO has them: ``[x1, y1, x2, y2, ...]``, not closed."""
    points, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.searchsorted(ring, np.arange(len(rings) + 1))
    flat: list[float] = points.ravel().tolist()
    return [flat[2 * start : 2 * end - 2] for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def _with_holes(part: shapely.Polygon, size: tuple[int, int]) -> Runs:
    rings = shapely.get_rings(part)  # the outside, then the holes
    outside = _merged(rings[:1], size)
    return outside if len(rings) == 1 else _joined([outside, _inverted(_merged(rings[1:], size))], common=True)


def _merged(rings: NDArray[np.object_], size: tuple[int, int]) -> Runs:
    width, height = size
    if len(rings) == 0:
        return of_lengths([width * height], width, height)
    mask = mask_tools.merge(mask_tools.frPyObjects(flat_rings(rings), height, width))
    return Runs(0, 0, width, height, mask["counts"])


def _joined(masks: list[Runs], *, common: bool = False) -> Runs:
    """Return the pixels of any of the masks, or those that all of them have."""
    width, height = masks[0].width, masks[0].height
    found = [{"size": [height, width], "counts": mask.counts} for mask in masks]
    return Runs(0, 0, width, height, mask_tools.merge(found, intersect=common)["counts"])


def _inverted(mask: Runs) -> Runs:
    found = spans([mask])
    turns = np.column_stack([found.starts, found.stops]).ravel().astype(np.int64)
    lengths = np.diff(turns, prepend=0, append=mask.width * mask.height)
    return of_lengths([0, *lengths.tolist()], mask.width, mask.height)
