"""Masks and boxes become polygons; polygons move to the world and are measured there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.detections import Detections
from d2det_geo.places import mapped
from d2det_geo.vector.repair import valid_polygons

if TYPE_CHECKING:
    from affine import Affine

SPECK = 0.01  # a part below this share of the largest part's area is noise of the network, not an object's wing
_BATCH = 4096  # masks contoured at once: 33 MB of field
# Log-odds beyond which a cell is sure. Where a mask holds the share of each cell that is covered, its edges then lie
# where they should by 0.03 cells; between the shares themselves they would by 0.09.
_SURE = 3.5
_LEAST = 1e-6  # probability that has log-odds well beyond
_FLAT = 1e-7  # cells; vertices that bend the outline by less are on a straight line


def mask_polygons(detections: Detections, threshold: float = 0.5) -> NDArray[np.object_]:
    """Outline each mask where its field of probabilities crosses ``threshold``.

    What varies linearly between the centres of the cells, and on to the box's edge, are the log-odds, as they do in
    the network: the outline is sub-pixel, and ends on the box's edge where the mask touches it. Holes are
    kept, and every part of a mask in several parts but for specks (under 1 % of the largest). Of an object
    with pieces, the pieces are outlined and united.

    Args:
        detections: D objects with masks, ``[D, S, S]``, S at least 2.
        threshold: of probability, in ``(0, 1)``.

    Returns:
        ``[D]`` valid Polygons and MultiPolygons in the boxes' frame, px; an empty Polygon where no
        cell of a mask is above ``threshold`` or the box has no area. The caller drops and counts these.
    """
    masks = detections.masks
    if masks is None:
        raise ValueError("detections carry no masks; use box_polygons")
    if masks.shape[-1] < 2:
        raise ValueError(
            f"masks of {masks.shape[-1]} cell have no slope to go on to the box's edge; give at least 2 x 2"
        )
    pieces = detections.pieces
    if pieces is None or len(pieces.owners) == 0:
        return _without_specks(_in_batches(masks, detections.boxes, threshold))
    outlines = np.empty(len(detections), dtype=object)
    owners, group = np.unique(pieces.owners, return_inverse=True)
    whole = np.delete(np.arange(len(detections)), owners)  # the masks of the others are coarse, and not looked at
    outlines[whole] = _in_batches(masks[whole], detections.boxes[whole], threshold)
    parts = _in_batches(pieces.masks, pieces.boxes, threshold)
    united = shapely.unary_union(shapely.geometrycollections(parts, indices=group)[:, None], axis=1)
    outlines[owners], _ = valid_polygons(united)
    return _without_specks(outlines)


def box_polygons(boxes: NDArray[np.float64]) -> NDArray[np.object_]:
    """Make a rectangle of each box ``[D, 4]``; a box without area gives an empty Polygon."""
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    polygons: NDArray[np.object_] = np.asarray(shapely.box(x1, y1, x2, y2))
    polygons[(x2 <= x1) | (y2 <= y1)] = shapely.Polygon()
    return polygons


def to_world(geometries: NDArray[np.object_], transform: Affine) -> NDArray[np.object_]:
    """Map geometries from px to world coordinates through all six terms of ``transform``.

    Returns:
        Valid (Multi)Polygons whose shells run counter-clockwise, also where the transform mirrors.
    """
    placed, _ = valid_polygons(mapped(geometries, transform))
    return np.asarray(shapely.orient_polygons(placed))


def _in_batches(masks: NDArray[np.float32], boxes: NDArray[np.float64], threshold: float) -> NDArray[np.object_]:
    """Outline masks ``[D, S, S]`` over boxes ``[D, 4]``, so many at a time that the field stays small."""
    starts = range(0, len(boxes), _BATCH)
    batches = [_outlines(masks[start : start + _BATCH], boxes[start : start + _BATCH], threshold) for start in starts]
    return np.concatenate([np.empty(0, dtype=object), *batches])


def _outlines(masks: NDArray[np.float32], boxes: NDArray[np.float64], threshold: float) -> NDArray[np.object_]:
    """Contour a batch of masks as one tall field, and share out the polygons found."""
    polygons, owners = _contours(masks, threshold)
    kept = shapely.area(polygons) > 0
    polygons, owners = polygons[kept], owners[kept]
    outlines, _ = valid_polygons(_gathered(_placed(polygons, owners, boxes, masks.shape[-1]), owners, len(masks)))
    return outlines


def _without_specks(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Take the parts that are specks off outlines; in place."""
    several = np.flatnonzero(shapely.get_num_geometries(outlines) > 1)
    parts, owners = shapely.get_parts(outlines[several], return_index=True)
    areas, largest = shapely.area(parts), np.zeros(len(several))
    np.maximum.at(largest, owners, areas)
    kept = areas >= SPECK * largest[owners]
    outlines[several] = _gathered(parts[kept], owners[kept], len(several))
    return outlines


def _contours(masks: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Find the polygons above ``threshold``, in cells from each mask's corner, and the mask each belongs to.

    Two rings of nodes go around each mask: one on the box's edge, where the field goes on as between the two cells
    beside it, then one of certainty, which closes the outline and parts the masks. Every vertex of a contour lies on
    a line between two nodes, so that mapping node numbers to cells (both rings to the edge) keeps it exact.
    """
    count, side, _ = masks.shape
    rows = side + 4
    field = np.full((count, rows, rows), -_SURE)
    inner, edge = field[:, 2:-2, 2:-2], field[:, 1:-1, 1:-1]
    inner[:] = _log_odds(masks, threshold)
    edge[:, 0, 1:-1] = 1.5 * inner[:, 0] - 0.5 * inner[:, 1]
    edge[:, -1, 1:-1] = 1.5 * inner[:, -1] - 0.5 * inner[:, -2]
    edge[:, :, 0] = 1.5 * edge[:, :, 1] - 0.5 * edge[:, :, 2]
    edge[:, :, -1] = 1.5 * edge[:, :, -2] - 0.5 * edge[:, :, -3]
    generator = contourpy.contour_generator(
        z=field.reshape(count * rows, rows), fill_type=contourpy.FillType.ChunkCombinedOffsetOffset
    )
    found: tuple[list[Any], ...] = generator.filled(0, np.inf)  # the type of the result depends on fill_type
    (points,), (ring_starts,), (polygon_starts,) = found
    if points is None:
        return np.empty(0, dtype=object), np.empty(0, dtype=np.intp)
    owner_of_point = (points[:, 1] // rows).astype(np.intp)
    points[:, 1] -= owner_of_point * rows
    cells = np.concatenate([[0, 0], np.arange(side) + 0.5, [side, side]])
    points = np.interp(points, np.arange(rows), cells)
    owners = owner_of_point[ring_starts[polygon_starts[:-1]]]
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (ring_starts, polygon_starts))
    return np.asarray(shapely.simplify(polygons, _FLAT, preserve_topology=False)), owners


def _log_odds(masks: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Turn probabilities into their log-odds less that of ``threshold``."""
    clear = np.clip(masks, np.float32(_LEAST), np.float32(1 - _LEAST))
    odds = np.log(clear / (1 - clear)) - np.float32(np.log(threshold / (1 - threshold)))
    return np.asarray(np.clip(odds, -_SURE, _SURE))


def _placed(
    polygons: NDArray[np.object_], owners: NDArray[np.intp], boxes: NDArray[np.float64], side: int
) -> NDArray[np.object_]:
    """Stretch polygons from cells to the boxes of their owners."""
    points, polygon_of_point = shapely.get_coordinates(polygons, return_index=True)
    corners = boxes[owners[polygon_of_point]]
    share = points / side
    return np.asarray(shapely.set_coordinates(polygons, corners[:, :2] * (1 - share) + corners[:, 2:] * share))


def _gathered(polygons: NDArray[np.object_], owners: NDArray[np.intp], count: int) -> NDArray[np.object_]:
    """Join the polygons of each owner: none, a Polygon, or a MultiPolygon. ``owners`` ascend."""
    parts = np.bincount(owners, minlength=count)
    gathered = np.full(count, shapely.Polygon(), dtype=object)
    alone = parts[owners] == 1
    gathered[owners[alone]] = polygons[alone]
    shared, group = np.unique(owners[~alone], return_inverse=True)
    gathered[shared] = shapely.multipolygons(polygons[~alone], indices=group)
    return gathered
