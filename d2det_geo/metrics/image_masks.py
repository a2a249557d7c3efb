"""Objects of every kind of outline as masks of their whole images."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.errors import InputError
from d2det_geo.metrics.masks import polygon_masks
from d2det_geo.runs import MOST_PIXELS, whole


def canvases(truth: Annotations, predictions: Annotations) -> NDArray[np.int64]:
    """Return ``[M, 2]`` width and height of the images, px; where unknown, one that holds all boxes of both."""
    sizes = truth.images.sizes.reshape(-1, 2).astype(np.int64)
    if len(sizes) == 0 or sizes.min() > 0:
        return sizes
    extent = np.ones_like(sizes)
    for objects in (truth, predictions):
        corners = np.ceil(objects.boxes.reshape(-1, 4)[:, 2:]).astype(np.int64)
        np.maximum.at(extent, objects.image, corners)
    return np.where((sizes > 0).all(axis=1, keepdims=True), sizes, extent)


def masks_of(annotations: Annotations, sizes: NDArray[np.int64], what: str) -> list[Runs]:
    """Return a mask of each row over its whole image.

    Args:
        annotations: with an outline each, or else regions.
        sizes: ``[M, 2]`` width and height of the images, px.
        what: the annotations are, for messages.

    Raises:
        InputError: an image has too many pixels, or an object has no outline.
    """
    large = sizes.prod(axis=1) >= MOST_PIXELS
    if large.any():
        raise InputError(
            f"image {annotations.images.names[large.argmax()]} has 2^32 px or more, too many for COCO masks; "
            "cut it (d2det tile), or compare boxes (--iou bbox)"
        )
    outlines, sizes = _outlines(annotations, what), sizes[annotations.image]
    crops = np.array([isinstance(outline, Runs) for outline in outlines], bool)
    placed = iter(whole(outlines[crops].tolist(), sizes[crops], cut=True))
    drawn = iter(polygon_masks(outlines[~crops], sizes[~crops]))
    return [next(placed) if crop else next(drawn) for crop in crops.tolist()]


def _outlines(annotations: Annotations, what: str) -> NDArray[np.object_]:
    """Return an outline of every row; that of a region may be its box.

    Raises:
        InputError: an object has none.
    """
    outlines = np.full(len(annotations), None, object)
    if annotations.outlines is not None:
        outlines[:] = annotations.outlines
    bare = np.array([outline is None for outline in outlines], bool)
    objects = np.flatnonzero(bare & (annotations.labels != REGION))
    if len(objects):
        name = annotations.images.names[annotations.image[objects[0]]]
        raise InputError(
            f"{what}: {len(objects)} objects have a box but no outline or mask, the first in image {name}; "
            "add segmentation, or compare boxes (--iou bbox)"
        )
    outlines[bare] = shapely.box(*annotations.boxes[bare].T)
    return outlines
