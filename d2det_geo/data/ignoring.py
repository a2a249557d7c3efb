"""What training makes of regions to ignore: nothing, black pixels, or a gap in the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.data.images import LabelledImage
from d2det_geo.data.truth import Truth, no_geometries

LEAST_HIDDEN = 0.5  # an object with this share of its area in black pixels cannot be learnt from
IgnoreRegions: TypeAlias = Literal["none", "blackout", "mask-loss"]


def with_ignore_regions(image: LabelledImage, how: IgnoreRegions) -> LabelledImage:
    """Treat the ignore regions of an image for training.

    Args:
        image: as its source gives it.
        how: ``mask-loss`` leaves it as it is: what lies in a region is neither right nor wrong. ``none`` drops the
            regions: what lies there and is no object of the truth is background. ``blackout`` hides their pixels;
            objects with at least half of their area in the regions of the image are dropped, and nothing is ignored.
            Of all three, objects that a chip cuts off are ignored in that chip.
    """
    regions = image.truth.ignored
    if how == "mask-loss" or len(regions) == 0:
        return image
    truth = replace(image.truth, ignored=no_geometries())
    if how == "none":
        return replace(image, truth=truth)
    return replace(image, truth=_seen(truth, regions), hidden=regions)


def _seen(truth: Truth, regions: NDArray[np.object_]) -> Truth:
    """Drop the objects that regions hide."""
    shapes = shapely.box(*truth.boxes.T) if truth.polygons is None else truth.polygons
    hidden = shapely.area(shapely.intersection(shapes, shapely.union_all(regions)))
    kept = hidden < LEAST_HIDDEN * shapely.area(shapes)
    polygons = None if truth.polygons is None else truth.polygons[kept]
    return Truth(truth.boxes[kept], truth.labels[kept], polygons, truth.ignored)
