"""Join the fragments of one object: hull of boxes, union of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.detections import Detections


def stitched(fragments: Detections) -> Detections:
    """Join D >= 1 fragments of one object into one detection.

    The box is the hull of the boxes, the mask the largest probability any fragment gives, on the
    cells of the hull; the scores are the best of the fragments, the label the first one's.
    """
    hull = np.concatenate([fragments.boxes[:, :2].min(axis=0), fragments.boxes[:, 2:].max(axis=0)])
    masks = fragments.masks
    if masks is not None:
        masks = np.max(
            [_resampled(mask, box, hull) for mask, box in zip(masks, fragments.boxes, strict=True)],
            axis=0,
            keepdims=True,
        )
    mask_scores = fragments.mask_scores
    return Detections(
        boxes=hull[None],
        scores=fragments.scores.max(keepdims=True),
        labels=fragments.labels[:1],
        masks=masks,
        mask_scores=None if mask_scores is None else mask_scores.max(keepdims=True),
    )


def _resampled(mask: NDArray[np.float32], box: NDArray[np.float64], hull: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sample a mask ``[S, S]`` over ``box`` at the centres of the cells of ``hull``: bilinear, 0 outside the box."""
    side = mask.shape[-1]
    rows = _weights(side, box[1], box[3], hull[1], hull[3])
    columns = _weights(side, box[0], box[2], hull[0], hull[2])
    sampled: NDArray[np.float32] = (rows @ mask @ columns.T).astype(np.float32)
    return sampled


def _weights(side: int, low: float, high: float, hull_low: float, hull_high: float) -> NDArray[np.float64]:
    """Give the weights ``[S, S]`` of a box's cells at the hull's cells, along one axis; rows sum to 1 or 0."""
    centres = hull_low + (np.arange(side) + 0.5) / side * (hull_high - hull_low)
    place = np.clip((centres - low) / (high - low) * side - 0.5, 0, side - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(side)))
    weights[(centres < low) | (centres > high)] = 0
    return weights
