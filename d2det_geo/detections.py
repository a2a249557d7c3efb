"""The one value the rooms of the house exchange: detections as a structure of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

MASK_SIDE = 28  # cells per side of a mask crop: four cells for each of the 7x7 votes
MASK_IOU_SHARE = 0.3  # of the predicted mask IoU in a mask score (D2Det, section 10.4)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """P crops that say, finer than one crop could, what objects larger than a chip look like.

    The shape of an object with pieces is the union of theirs.
    """

    owners: NDArray[np.int64]
    """``[P]`` row of the detection each belongs to, ascending."""
    boxes: NDArray[np.float64]
    """``[P, 4]`` as ``(x1, y1, x2, y2)``, px, in the frame of the detections."""
    masks: NDArray[np.float32]
    """``[P, 28, 28]`` probabilities; the grid of cells spans the box of the piece."""

    def of(self, rows: NDArray[np.intp]) -> Pieces:
        """Take the pieces of some detections; ``rows[i]`` owns them as ``i`` afterwards."""
        starts = np.searchsorted(self.owners, rows)
        counts = np.searchsorted(self.owners, rows, side="right") - starts
        index = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        return Pieces(np.repeat(np.arange(len(rows)), counts), self.boxes[index], self.masks[index])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """D objects in one frame of pixels (a chip's or a scene's; the holder knows which).

    Pixel edges are at integers: pixel (row r, column c) covers ``[c, c+1) x [r, r+1)``.
    """

    boxes: NDArray[np.float64]
    """``[D, 4]`` as ``(x1, y1, x2, y2)``, px."""
    scores: NDArray[np.float32]
    """``[D]`` classification scores in ``[0, 1]``."""
    labels: NDArray[np.int64]
    """``[D]`` class indices from 0."""
    masks: NDArray[np.float32] | None = None
    """``[D, 28, 28]`` probabilities; the grid of cells spans the box from edge to edge."""
    mask_scores: NDArray[np.float32] | None = None
    """``[D]`` classification score plus ``MASK_IOU_SHARE`` times the predicted mask IoU."""
    capped: bool = False
    """Whether the network reached its cap on the way here: objects may be missing."""
    pieces: Pieces | None = None
    """Of the objects that were joined from several detections; their ``masks`` are coarse."""

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths, naming the one that is off."""
        count = len(self.boxes)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be [D, 4], got {list(self.boxes.shape)}")
        for name in ("scores", "labels", "masks", "mask_scores"):
            array = getattr(self, name)
            if array is not None and len(array) != count:
                raise ValueError(f"{name} has {len(array)} rows for {count} boxes")

    def __len__(self) -> int:
        """Count the detections."""
        return len(self.boxes)

    def select(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Keep the rows of ``index`` (a mask or positions), in its order."""
        return Detections(
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            masks=None if self.masks is None else self.masks[index],
            mask_scores=None if self.mask_scores is None else self.mask_scores[index],
            capped=self.capped,
            pieces=None if self.pieces is None else self.pieces.of(np.arange(len(self))[index]),
        )

    def ranked(self) -> Detections:
        """Score by what masks are ranked by, and sort by it; without mask scores, only sort.

        The mask score over its greatest value, 1.3, is in ``[0, 1]`` like a classification score.
        """
        scores = self.scores
        if self.mask_scores is not None:
            scores = np.clip(self.mask_scores / np.float32(1 + MASK_IOU_SHARE), 0, 1)
        order = np.argsort(-scores, kind="stable")
        return replace(self, scores=scores).select(order)

    def moved(self, scale: tuple[float, float] = (1.0, 1.0), offset: tuple[float, float] = (0.0, 0.0)) -> Detections:
        """Map the boxes to another pixel frame: ``x * scale_x + offset_x``, y likewise."""
        factors, offsets = np.array([*scale, *scale]), np.array([*offset, *offset])
        pieces = self.pieces
        if pieces is not None:
            pieces = replace(pieces, boxes=pieces.boxes * factors + offsets)
        return replace(self, boxes=self.boxes * factors + offsets, pieces=pieces)

    @staticmethod
    def empty(*, masks: bool) -> Detections:
        """No detections, with or without mask arrays."""
        return Detections(
            boxes=np.zeros((0, 4)),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int64),
            masks=np.zeros((0, MASK_SIDE, MASK_SIDE), np.float32) if masks else None,
            mask_scores=np.zeros(0, np.float32) if masks else None,
        )

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """Join detections of one frame, in order. ``parts`` must not be empty, and agree on masks."""
        masks = [part.masks for part in parts if part.masks is not None]
        mask_scores = [part.mask_scores for part in parts if part.mask_scores is not None]
        if len(masks) not in {0, len(parts)} or len(mask_scores) not in {0, len(parts)}:
            raise ValueError("cannot join detections with and without masks")
        return Detections(
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            masks=np.concatenate(masks) if masks else None,
            mask_scores=np.concatenate(mask_scores) if mask_scores else None,
            capped=any(part.capped for part in parts),
            pieces=_joined_pieces(parts),
        )


def _joined_pieces(parts: Sequence[Detections]) -> Pieces | None:
    """Join the pieces of detections that are joined in the same order."""
    before = np.cumsum([0, *(len(part) for part in parts)])
    owned = [(part.pieces, start) for part, start in zip(parts, before, strict=False) if part.pieces is not None]
    if not owned:
        return None
    return Pieces(
        owners=np.concatenate([pieces.owners + start for pieces, start in owned]),
        boxes=np.concatenate([pieces.boxes for pieces, _ in owned]),
        masks=np.concatenate([pieces.masks for pieces, _ in owned]),
    )
