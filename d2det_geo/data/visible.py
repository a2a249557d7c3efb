"""What of an image's truth is seen through a view: whole objects, cut objects, ignored places."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from d2det_geo.data.truth import Truth
from d2det_geo.places import mapped
from d2det_geo.vector.repair import polygonal

LEAST_SHARE = 0.25  # an object of which less is seen is ignored
LEAST_SIDE = 2.0  # px; an object seen thinner than this is ignored
LEAST_FILL = 0.7  # an ignore region that fills less of its box is quartered...
LEAST_PIECE = 32.0  # ...into pieces no smaller than this, px


def visible_objects(truth: Truth, region: shapely.Geometry, view: Affine, size: int) -> Truth:
    """Cut the truth of an image to a chip.

    An object keeps the part that lies in the chip and in the usable region. One of which less than a
    quarter of the area, or less than 2 px of width or height, is left becomes an ignored region.

    Args:
        truth: truth in grid px. Objects without outlines are taken for their boxes.
        region: usable area, grid px.
        view: chip px -> grid px; quarter turns only where there are no outlines.
        size: side of the chip, px.

    Returns:
        The truth in chip px; ``polygons`` only if the image has them.
    """
    frame = shapely.box(0, 0, size, size)
    seen = mapped(frame, view)
    near = np.flatnonzero(_meet(truth.boxes, np.array(seen.bounds)))
    window = polygonal(np.array([shapely.intersection(mapped(region, ~view), frame)], dtype=object))[0]
    whole = _outlines(truth, near, ~view)
    parts = _clipped(whole, window)
    area, bounds = shapely.area(parts), shapely.bounds(parts)
    some = area > 0
    enough = some & (area >= LEAST_SHARE * shapely.area(whole))
    enough[enough] = np.min(bounds[enough, 2:] - bounds[enough, :2], axis=1) >= LEAST_SIDE
    ignored = truth.ignored[shapely.intersects(truth.ignored, seen)]
    unknown = _clipped(polygonal(mapped(ignored, ~view)), window)
    return Truth(
        boxes=bounds[enough].reshape(-1, 4),
        labels=truth.labels[near[enough]],
        polygons=None if truth.polygons is None else parts[enough],
        ignored=np.concatenate([parts[some & ~enough], unknown[shapely.area(unknown) > 0]]),
    )


def covering_boxes(regions: NDArray[np.object_]) -> NDArray[np.float64]:
    """Cover regions with boxes that swallow little else.

    A region that fills less than 70 % of its box is quartered, again and again, until its pieces do
    or are small.

    Returns:
        ``[I, 4]`` boxes whose union covers the regions.
    """
    boxes = []
    pending = [part for part in shapely.get_parts(regions) if part.area > 0]
    while pending:
        region = pending.pop()
        x1, y1, x2, y2 = region.bounds
        if region.area >= LEAST_FILL * (x2 - x1) * (y2 - y1) or max(x2 - x1, y2 - y1) < 2 * LEAST_PIECE:
            boxes.append((x1, y1, x2, y2))
            continue
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        quarters = shapely.box([x1, x, x1, x], [y1, y1, y, y], [x, x2, x, x2], [y, y, y2, y2])
        pieces = shapely.get_parts(shapely.intersection(region, quarters))
        pending.extend(piece for piece in pieces if piece.area > 0)
    return np.array(boxes, np.float64).reshape(-1, 4)


def _outlines(truth: Truth, index: NDArray[np.intp], to_chip: Affine) -> NDArray[np.object_]:
    if truth.polygons is None:
        # The bounds of a turned box are the box again, free of the rounding of a turn.
        turned = shapely.bounds(mapped(shapely.box(*truth.boxes[index].T), to_chip)).reshape(-1, 4)
        return np.asarray(shapely.box(*turned.T), dtype=object)
    return polygonal(mapped(truth.polygons[index], to_chip))


def _clipped(polygons: NDArray[np.object_], window: shapely.Geometry) -> NDArray[np.object_]:
    """Intersect; polygons wholly inside, the most, are left as they are."""
    shapely.prepare(window)
    result = polygons.copy()
    crossing = ~shapely.covers(window, polygons)
    result[crossing] = polygonal(shapely.intersection(polygons[crossing], window))
    return result


def _meet(boxes: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    meet: NDArray[np.bool_] = np.all((boxes[:, :2] < bounds[2:]) & (boxes[:, 2:] > bounds[:2]), axis=1)
    return meet
