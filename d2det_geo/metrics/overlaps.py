"""Which truths and predictions lie on one another, whatever their classes: the pairs errors are explained by.

Two sets are never compared in full: an index of boxes proposes the pairs, and only those are measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.image_masks import canvases, masks_of
from d2det_geo.runs import Spans, overlaps, spans
from d2det_ops.compiled import compiled

Shapes: TypeAlias = Literal["boxes", "masks", "polygons"]
"""What is compared: boxes; outlines on the pixel grid, as COCO does; outlines as they are, as DOTA and ``geo`` do."""

LEAST = 0.1
"""Objects that share less than this are no pair; the least IoU of COCO's error analysis."""

_CHUNK = 20_000  # predictions whose neighbours are held at a time: bounds memory where many objects overlap
_Rows: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """K pairs of a truth and a prediction of one image."""

    truths: NDArray[np.intp]
    """``[K]`` row of the truth."""
    predictions: NDArray[np.intp]
    """``[K]`` row of the prediction."""
    ious: NDArray[np.float64]
    """``[K]`` at least ``LEAST``; of an absorbing truth, the share of the prediction that it covers."""

    def where(self, rows: NDArray[np.bool_] | _Rows) -> Overlaps:
        """Keep some of the pairs."""
        return Overlaps(self.truths[rows], self.predictions[rows], self.ious[rows])


def find_overlaps(
    truth: Annotations, predictions: Annotations, shapes: Shapes, absorbing: NDArray[np.bool_] | None = None
) -> Overlaps:
    """Find all pairs of any class that share at least ``LEAST``.

    Objects without an outline take part with their box.

    Args:
        truth: T objects.
        predictions: P objects of the same images.
        shapes: what to compare.
        absorbing: ``[T]`` truths that are measured by the share of the prediction they cover, as COCO does with
            crowds; None: none are.
    """
    absorbing = np.zeros(len(truth), bool) if absorbing is None else absorbing
    parts = [Overlaps(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))]
    for t, p in _neighbours(truth, predictions):
        ious = _measured(truth, predictions, shapes, absorbing, (t, p))
        near = ious >= LEAST
        parts.append(Overlaps(t[near], p[near], ious[near]))
    return Overlaps(
        np.concatenate([part.truths for part in parts]),
        np.concatenate([part.predictions for part in parts]),
        np.concatenate([part.ious for part in parts]),
    )


@compiled
def take_first(truths: Any, predictions: Any, shared: Any, taken: Any, found: Any) -> None:
    """Walk pairs in order of preference: each prediction takes the first truth that is free or may be shared.

    Args:
        truths: ``[K]`` of the pairs.
        predictions: ``[K]`` of the pairs.
        shared: ``[T]`` truths any number of predictions may take.
        taken: ``[T]`` bool; those taken are marked.
        found: ``[P]`` -1 to begin with; the truth each prediction took.
    """
    for pair in range(len(truths)):
        truth, prediction = truths[pair], predictions[pair]
        if found[prediction] < 0 and (shared[truth] or not taken[truth]):
            found[prediction] = truth
            taken[truth] = True


def _neighbours(truth: Annotations, predictions: Annotations) -> list[tuple[_Rows, _Rows]]:
    """Propose pairs whose boxes meet, by image in blocks.

    All images lie side by side in one index. Moving boxes rounds them, but never changes the order of their edges,
    so that no pair is lost; pairs across images are dropped here.
    """
    if len(truth) == 0 or len(predictions) == 0:
        return []
    edges = np.concatenate([truth.boxes, predictions.boxes])
    pitch = edges[:, 2].max() - edges[:, 0].min() + 1
    tree = shapely.STRtree(_moved(truth, pitch, slice(None)))
    order, _ = predictions.by_image()
    blocks = []
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        p, t = tree.query(_moved(predictions, pitch, rows))
        same = truth.image[t] == predictions.image[rows[p]]
        blocks.append((t[same], rows[p[same]]))
    return blocks


def _moved(objects: Annotations, pitch: float, rows: _Rows | slice) -> NDArray[np.object_]:
    x1, y1, x2, y2 = objects.boxes[rows].T
    offset = objects.image[rows] * pitch
    moved: NDArray[np.object_] = shapely.box(x1 + offset, y1, x2 + offset, y2)
    return moved


def _measured(
    truth: Annotations,
    predictions: Annotations,
    shapes: Shapes,
    absorbing: NDArray[np.bool_],
    pairs: tuple[_Rows, _Rows],
) -> NDArray[np.float64]:
    measure = {"boxes": _box_areas, "masks": _mask_areas, "polygons": _polygon_areas}[shapes]
    shared, truth_areas, areas = measure(truth, predictions, pairs)
    whole = np.where(absorbing[pairs[0]], areas, truth_areas + areas - shared)
    ious: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ious


_Areas: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Of each pair: what it shares, the truth's area and the prediction's."""


def _box_areas(truth: Annotations, predictions: Annotations, pairs: tuple[_Rows, _Rows]) -> _Areas:
    a, b = truth.boxes[pairs[0]], predictions.boxes[pairs[1]]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    return np.prod(np.maximum(sides, 0.0), axis=1), _box_area(a), _box_area(b)


def _box_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return area


def _polygon_areas(truth: Annotations, predictions: Annotations, pairs: tuple[_Rows, _Rows]) -> _Areas:
    a, b = polygons_of(truth, pairs[0]), polygons_of(predictions, pairs[1])
    return shapely.area(shapely.intersection(a, b)), shapely.area(a), shapely.area(b)


def polygons_of(objects: Annotations, rows: _Rows) -> NDArray[np.object_]:
    """Return valid shapely polygons of some objects: the outline, else the box."""
    polygons: NDArray[np.object_] = shapely.box(*objects.boxes[rows].T)
    if objects.outlines is not None:
        outlines = objects.outlines[rows]
        drawn = np.array([isinstance(item, shapely.Geometry) for item in outlines], bool)
        polygons[drawn] = outlines[drawn]
    invalid = ~shapely.is_valid(polygons)
    polygons[invalid] = shapely.make_valid(polygons[invalid], method="structure", keep_collapsed=False)
    return polygons


def _mask_areas(truth: Annotations, predictions: Annotations, pairs: tuple[_Rows, _Rows]) -> _Areas:
    """Measure on the pixel grid; each mask is made once."""
    sizes = canvases(truth, predictions)
    (first, t), (second, p) = _pixels(truth, pairs[0], sizes), _pixels(predictions, pairs[1], sizes)
    shared = overlaps(first, second, (t, p))
    return shared, first.areas[t].astype(np.float64), second.areas[p].astype(np.float64)


def _pixels(objects: Annotations, rows: _Rows, sizes: NDArray[np.int64]) -> tuple[Spans, _Rows]:
    """Return the pixels of the objects among ``rows``, and which of them each row is."""
    chosen, places = np.unique(rows, return_inverse=True)
    objects = objects.rows(chosen)
    outlines: NDArray[np.object_] = shapely.box(*objects.boxes.T)
    if objects.outlines is not None:
        drawn = np.array([outline is not None for outline in objects.outlines], bool)
        outlines[drawn] = objects.outlines[drawn]
    return spans(masks_of(replace(objects, outlines=outlines), sizes, "objects")), places
