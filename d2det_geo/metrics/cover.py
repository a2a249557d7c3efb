"""The pixels an object covers, as a crop of its image: no mask is as large as the image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from d2det_geo.annotations import Runs
from d2det_geo.runs import pixels


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """A mask at its place."""

    x: int
    y: int
    """Left and top edge of the crop, px of the image."""
    mask: NDArray[np.uint8]
    """``[H, W]`` 0 or 1."""
    area: int
    """Pixels that are 1."""


def cover_of(outline: object, box: NDArray[np.float64], size: tuple[int, int]) -> Cover:
    """Rasterise an outline as pycocotools does, within the image.

    Holes of polygons stay empty, which COCO's lists of rings cannot say.

    Args:
        outline: polygon, ``Runs``, or None: the box.
        box: ``[4]``.
        size: width and height of the image, px; 0 where unknown: nothing is cut off.
    """
    if isinstance(outline, Runs):
        mask = pixels(outline).astype(np.uint8)
        return Cover(outline.x, outline.y, mask, int(np.count_nonzero(mask)))
    polygon = outline if isinstance(outline, shapely.Geometry) else shapely.box(*box)
    x, y, width, height = _crop(shapely.bounds(polygon), size)
    mask = np.zeros((height, width), np.uint8)
    if width > 0 and height > 0:
        for part in shapely.get_parts(polygon):
            mask |= _filled(part, x, y, mask.shape)
    return Cover(x, y, mask, int(np.count_nonzero(mask)))


def shared_px(first: Cover, second: Cover) -> int:
    """Count the pixels both cover."""
    x1, y1 = max(first.x, second.x), max(first.y, second.y)
    x2 = min(first.x + first.mask.shape[1], second.x + second.mask.shape[1])
    y2 = min(first.y + first.mask.shape[0], second.y + second.mask.shape[0])
    if x2 <= x1 or y2 <= y1:
        return 0
    windows = (item.mask[y1 - item.y : y2 - item.y, x1 - item.x : x2 - item.x] for item in (first, second))
    return int(np.count_nonzero(next(windows) & next(windows)))


def _crop(bounds: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    if not np.isfinite(bounds).all():
        return 0, 0, 0, 0
    x1, y1, x2, y2 = floor(bounds[0]), floor(bounds[1]), ceil(bounds[2]) + 1, ceil(bounds[3]) + 1
    width, height = size
    x1, y1 = (max(x1, 0) if width else x1), (max(y1, 0) if height else y1)
    x2, y2 = (min(x2, width) if width else x2), (min(y2, height) if height else y2)
    return x1, y1, max(x2 - x1, 0), max(y2 - y1, 0)


def _filled(part: Any, x: int, y: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Fill a polygon; pycocotools' raster does not change when all moves by whole pixels."""
    rings = [(shapely.get_coordinates(ring) - (x, y)).ravel().tolist() for ring in (part.exterior, *part.interiors)]
    masks = [_decoded(coco_mask.frPyObjects([ring], *shape)[0]) for ring in rings if len(ring) > 5]
    if not masks:
        return np.zeros(shape, np.uint8)
    filled = masks[0]
    for hole in masks[1:]:
        filled &= 1 - hole
    return filled


def _decoded(runs: dict[str, Any]) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools converts as before numpy 2
        mask: NDArray[np.uint8] = coco_mask.decode(runs)
    return mask
