"""COCO's two notations of an outline, rings and run lengths, as shapely geometries."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio.features import shapes

from d2det_geo.data.coco_file import ImageRow, Outline, Runs
from d2det_geo.errors import InputError
from d2det_geo.vector.repair import polygonal


def outline(segmentation: Outline, image: ImageRow, where: str) -> shapely.Geometry:
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
    return shapely.union_all(polygonal(np.array(rings, dtype=object)))


def _of_runs(runs: Runs, image: ImageRow, where: str) -> shapely.Geometry:
    size = [image.height, image.width]
    if list(runs.size) != size:
        raise InputError(f"{where}: run lengths of size {list(runs.size)} in an image of {size}; correct the row")
    counts = _unpacked(runs.counts) if isinstance(runs.counts, str) else runs.counts
    # pycocotools would fill the rest of a short mask with whatever is in memory.
    if sum(counts) != size[0] * size[1] or min(counts) < 0:
        raise InputError(f"{where}: run lengths must be 0 or more and fill {size[0] * size[1]} px; correct the row")
    ones = np.repeat(np.arange(len(counts), dtype=np.int64) % 2, counts)
    cells = np.ascontiguousarray(ones.reshape(image.width, image.height).T, np.uint8)
    return shapely.union_all([shapely.geometry.shape(ring) for ring, _ in shapes(cells, mask=cells > 0)])


def _unpacked(text: str) -> list[int]:
    """Read COCO's packed run lengths.

    Signed numbers in groups of 5 bits, lowest first; from the fourth on, differences to the run before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for symbol in text:
        bits = ord(symbol) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
