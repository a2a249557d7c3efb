"""Masks of detections as run lengths over crops of their image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from d2det_geo.annotations import Runs
from d2det_geo.detections import Detections
from d2det_geo.model.convention import Convention
from d2det_geo.model.paste import paste_masks
from d2det_geo.runs import runs_of

Crop = tuple[NDArray[np.bool_], int, int]
"""Pixels, and where their upper left corner is, px of the image."""


def mask_runs(found: Detections, size: tuple[int, int], convention: Convention) -> list[Runs]:
    """Draw masks into the pixels of their image and keep their run lengths; no mask takes the whole image.

    Args:
        found: D objects with masks, in px of the image. What has pieces is the union of these.
        size: ``(width, height)`` of the image, px.
        convention: of the network.

    Returns:
        A mask for each object, one without pixels where nothing of it reaches 0.5.
    """
    if found.masks is None:
        raise ValueError("detections carry no masks")
    crops = _pasted(found.masks, found.boxes, size, convention)
    pieces = found.pieces
    if pieces is not None and len(pieces.owners):
        parts = _pasted(pieces.masks, pieces.boxes, size, convention)
        for owner in np.unique(pieces.owners).tolist():
            crops[owner] = _united([parts[row] for row in np.flatnonzero(pieces.owners == owner)])
    return [runs_of(*crop) for crop in crops]


def _pasted(
    masks: NDArray[np.float32], boxes: NDArray[np.float64], size: tuple[int, int], convention: Convention
) -> list[Crop]:
    pasted = paste_masks(torch.from_numpy(masks), torch.from_numpy(boxes).float(), (size[1], size[0]), convention)
    corners = pasted.windows[:, :2].tolist()
    return [_solid((pasted.crop(row).numpy(), x, y)) for row, (x, y) in enumerate(corners)]


def _solid(crop: Crop) -> Crop:
    """Give a crop of no pixels one of the background: run lengths need something to go over."""
    return crop if crop[0].size else (np.zeros((1, 1), np.bool_), 0, 0)


def _united(crops: list[Crop]) -> Crop:
    crops = [crop for crop in crops if crop[0].any()]
    if not crops:
        return np.zeros((1, 1), np.bool_), 0, 0
    left, top = min(x for _, x, _ in crops), min(y for _, _, y in crops)
    right, bottom = max(x + mask.shape[1] for mask, x, _ in crops), max(y + mask.shape[0] for mask, _, y in crops)
    whole = np.zeros((bottom - top, right - left), np.bool_)
    for mask, x, y in crops:
        whole[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] |= mask
    return whole, left, top
