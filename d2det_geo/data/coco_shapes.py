"""COCO's two notations of an outline, rings and run lengths, as shapely geometries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from pycocotools import mask as coco_mask
from rasterio.features import shapes

from d2det_geo.data.coco_file import ImageRow, Ring, Runs
from d2det_geo.errors import InputError


def outline(segmentation: Runs | Sequence[Ring], image: ImageRow, where: str) -> shapely.Geometry:
    """Turn the ``segmentation`` of a row into a geometry in image px, perhaps one without area.

    Run lengths become outlines along pixel edges.

    Args:
        segmentation: as in the row.
        image: the row of its image.
        where: the row, for messages.

    Raises:
        InputError: run lengths that do not fill the image.
    """
    if isinstance(segmentation, Runs):
        return _of_runs(segmentation, image, where)
    rings = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in segmentation]
    return shapely.union_all(shapely.make_valid(rings))


def _of_runs(runs: Runs, image: ImageRow, where: str) -> shapely.Geometry:
    size = [image.height, image.width]
    if list(runs.size) != size:
        raise InputError(f"{where}: run lengths of size {list(runs.size)} in an image of {size}; correct the row")
    packed: object = {"size": size, "counts": runs.counts}
    if isinstance(runs.counts, list):
        if sum(runs.counts) != size[0] * size[1] or min(runs.counts) < 0:
            raise InputError(f"{where}: run lengths must be 0 or more and fill {size[0] * size[1]} px; correct the row")
        packed = coco_mask.frPyObjects(packed, *size)
    try:
        cells = coco_mask.decode(packed)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: malformed run lengths ({error}); correct the row") from error
    return shapely.union_all([shapely.geometry.shape(ring) for ring, _ in shapes(cells, mask=cells > 0)])
