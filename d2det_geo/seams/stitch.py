"""Join the fragments of objects: hull of boxes, union of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.detections import Detections, Pieces
from d2det_ops.compiled import compiled


def stitched(parts: Detections, owners: NDArray[np.signedinteger]) -> Detections:
    """Join D parts into one detection for each of G objects. A part that is alone stays as it is.

    The box is the hull of the boxes, the scores are the best of the parts, the label is the first one's.
    The parts' masks become the pieces of the object, so that its outline is as fine as theirs; its own mask,
    the largest probability any part gives on the cells of the hull, is a coarse picture of it.

    Args:
        parts: sorted by object.
        owners: ``[D]`` number of the object of each, ascending.
    """
    if len(parts) == 0:
        return parts
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    low = np.minimum.reduceat(parts.boxes[:, :2], starts)
    hulls = np.hstack([low, np.maximum.reduceat(parts.boxes[:, 2:], starts)])
    masks, pieces = None, None
    if parts.masks is not None:
        counts = np.diff(starts, append=len(parts))
        masks = parts.masks[starts]
        joined, torn = np.flatnonzero(counts > 1), np.repeat(counts > 1, counts)
        if len(joined):
            owner = np.repeat(np.arange(len(joined)), counts[joined])
            pieces = Pieces(joined[owner], parts.boxes[torn], parts.masks[torn])
            masks[joined] = _coarse(pieces.masks, pieces.boxes, hulls[joined], owner)
    mask_scores = parts.mask_scores
    return Detections(
        boxes=hulls,
        scores=np.maximum.reduceat(parts.scores, starts),
        labels=parts.labels[starts],
        masks=masks,
        mask_scores=None if mask_scores is None else np.maximum.reduceat(mask_scores, starts),
        capped=parts.capped,
        pieces=pieces,
    )


@compiled
def _coarse(
    masks: NDArray[np.float32], boxes: NDArray[np.float64], hulls: NDArray[np.float64], owners: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Give the greatest of the masks ``[P, S, S]`` over ``boxes`` at the centres of the cells of their ``hulls``.

    Between its cells' centres a mask is bilinear, outside its box 0.
    """
    side = masks.shape[1]
    coarse = np.zeros((len(hulls), side, side), dtype=np.float32)
    for piece, owner in enumerate(owners):
        rows, columns = _places(boxes[piece], hulls[owner], 1, side), _places(boxes[piece], hulls[owner], 0, side)
        for row in range(side):
            for column in range(side):
                y, x = rows[row], columns[column]
                if y < 0 or x < 0:
                    continue
                i, j = min(int(y), side - 2), min(int(x), side - 2)
                upper = masks[piece, i, j] * (1 - x + j) + masks[piece, i, j + 1] * (x - j)
                lower = masks[piece, i + 1, j] * (1 - x + j) + masks[piece, i + 1, j + 1] * (x - j)
                value = upper * (1 - y + i) + lower * (y - i)
                coarse[owner, row, column] = max(coarse[owner, row, column], value)
    return coarse


@compiled
def _places(box: NDArray[np.float64], hull: NDArray[np.float64], axis: int, side: int) -> NDArray[np.float64]:
    """Give the places ``[S]`` of a hull's cells among those of a box, along one axis; -1 outside the box."""
    low, high, places = box[axis], box[axis + 2], np.full(side, -1.0)
    for cell in range(side):
        centre = hull[axis] + (cell + 0.5) / side * (hull[axis + 2] - hull[axis])
        if low <= centre <= high and low < high:
            places[cell] = min(max((centre - low) / (high - low) * side - 0.5, 0.0), side - 1.0)
    return places
