"""Truth and predictions as hotcoco holds them: columns in, no object per annotation.

Pitfalls of the COCO libraries settled here: annotations are numbered from 1 (0 means "unmatched" to them); images
are numbered by rising id, which decides among equal scores; the area of a result compared by mask is that of the
mask, not of its box; an ignore region is a crowd of every class, never the ``ignore`` key, which they overwrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from hotcoco import COCO
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.errors import InputError
from d2det_geo.metrics.box_match import sides
from d2det_geo.metrics.curves import scores_of
from d2det_geo.metrics.masks import polygon_masks
from d2det_geo.metrics.outcome import Iou
from d2det_geo.runs import MOST_PIXELS, Spans, measured, spans, whole


@dataclass(frozen=True, slots=True, eq=False)
class CocoIndex:
    """Two datasets, and what their numbers stand for. Category ``c + 1`` is class ``c``."""

    truth: COCO
    results: COCO
    """Result ``r + 1`` is row ``r`` of the predictions."""
    truth_rows: NDArray[np.intp]
    """``[A]`` row of the truth annotation ``a + 1`` was made of."""
    truth_labels: NDArray[np.int64]
    """``[A]`` its class: a region is an annotation of every class."""
    image_ids: NDArray[np.int64]
    """``[M]`` number each image has here."""
    truth_spans: Spans | None
    """``[N]`` pixels of the rows of the truth; None where boxes are compared."""
    spans: Spans | None
    """``[P]`` pixels of the results; None where boxes are compared."""


def index_coco(truth: Annotations, predictions: Annotations, iou: Iou) -> CocoIndex:
    """Build the datasets of an evaluation.

    Args:
        truth: objects and regions; ``areas``, where stated, sort objects into size ranges, else what they cover.
        predictions: of the same images and classes.
        iou: compare boxes or masks.

    Raises:
        InputError: masks are to be compared and an object has none.
    """
    image_ids = np.empty(len(truth.images), np.int64)
    image_ids[np.argsort(truth.images.ids, kind="stable")] = np.arange(1, len(image_ids) + 1)
    sizes = _canvases(truth, predictions)
    images = [
        {"id": number, "width": width, "height": height, "file_name": str(number)}
        for number, (width, height) in zip(image_ids.tolist(), sizes.tolist(), strict=True)
    ]
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(truth.classes)]
    rows, labels = _rows_per_class(truth)
    masks, areas = _truth_masks(truth, sizes, iou)
    index = COCO.from_arrays(
        images,
        categories,
        image_ids[truth.image[rows]],
        labels + 1,
        sides(truth)[rows],
        ids=np.arange(1, len(rows) + 1),
        area=areas[rows],
        iscrowd=truth.ignored[rows].astype(np.int64),
        segmentation=None if masks is None else _documents([masks[row] for row in rows.tolist()]),
    )
    truth_spans = None if masks is None else spans(masks)
    results, result_spans = _results(index, predictions, image_ids, sizes, iou)
    return CocoIndex(index, results, rows, labels, image_ids, truth_spans, result_spans)


def _results(
    index: COCO, predictions: Annotations, image_ids: NDArray[np.int64], sizes: NDArray[np.int64], iou: Iou
) -> tuple[COCO, Spans | None]:
    columns = np.column_stack(
        [image_ids[predictions.image], sides(predictions), scores_of(predictions), predictions.labels + 1]
    ).astype(np.float64)
    if len(columns) == 0:  # hotcoco infers nothing from no rows
        none = COCO.from_arrays(index.dataset["images"], index.dataset["categories"], [], [], np.zeros((0, 4)))
        return none, None if iou == "bbox" else spans([])
    if iou == "bbox":
        return index.load_res(columns), None
    masks = _masks(predictions, sizes, "predictions")
    found = spans(masks)
    results = index.load_res(columns, segmentation=_documents(masks))
    results.update_anns(ids=np.arange(1, len(columns) + 1), area=found.areas)  # from boxes where both are given
    return results, found


def _rows_per_class(truth: Annotations) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Repeat the rows of regions once per class; return rows and labels."""
    every = len(truth.classes)
    repeats = np.where(truth.labels == REGION, every, 1)
    rows = np.repeat(np.arange(len(truth)), repeats)
    position = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return rows, np.where(truth.labels[rows] == REGION, position, truth.labels[rows])


def _canvases(truth: Annotations, predictions: Annotations) -> NDArray[np.int64]:
    """Return ``[M, 2]`` sizes of the images; where unknown, one that holds all boxes."""
    sizes = truth.images.sizes.reshape(-1, 2).astype(np.int64)
    if len(sizes) == 0 or sizes.min() > 0:
        return sizes
    extent = np.ones_like(sizes)
    for objects in (truth, predictions):
        corners = np.ceil(objects.boxes.reshape(-1, 4)[:, 2:]).astype(np.int64)
        np.maximum.at(extent, objects.image, corners)
    return np.where((sizes > 0).all(axis=1, keepdims=True), sizes, extent)


def _truth_masks(
    truth: Annotations, sizes: NDArray[np.int64], iou: Iou
) -> tuple[list[Runs] | None, NDArray[np.float64]]:
    """Return what is compared (None: boxes) and the areas ``[N]``."""
    stated = np.full(len(truth), np.nan) if truth.areas is None else truth.areas.astype(np.float64)
    missing = np.isnan(stated)
    boxes = sides(truth)
    areas = np.where(missing, boxes[:, 2] * boxes[:, 3], stated)
    outlined = np.zeros(len(truth), bool)
    if truth.outlines is not None:
        outlined = np.array([outline is not None for outline in truth.outlines], bool)
    unknown = np.flatnonzero(missing & outlined)
    masks = None if iou == "bbox" else _masks(truth, sizes, "truth")
    if len(unknown):
        found = _masks(truth.rows(unknown), sizes, "truth") if masks is None else [masks[row] for row in unknown]
        areas[unknown] = measured(found).areas
    return masks, areas


def _masks(annotations: Annotations, sizes: NDArray[np.int64], what: str) -> list[Runs]:
    """Return a mask of each row over its whole image, which has one of ``sizes`` ``[M, 2]``."""
    large = sizes.prod(axis=1) >= MOST_PIXELS
    if large.any():
        raise InputError(
            f"image {annotations.images.names[large.argmax()]} has 2^32 px or more, too many for COCO masks; "
            "cut it (d2det tile), or compare boxes (--iou bbox)"
        )
    outlines, sizes = _outlines(annotations, what), sizes[annotations.image]
    crops = np.array([isinstance(outline, Runs) for outline in outlines], bool)
    placed = iter(whole(outlines[crops].tolist(), sizes[crops], cut=True))
    drawn = iter(polygon_masks(outlines[~crops], sizes[~crops]))
    return [next(placed) if crop else next(drawn) for crop in crops.tolist()]


def _documents(masks: list[Runs]) -> list[Any]:
    """Return masks as COCO has them; those of one size share the list that says so."""
    sizes: dict[tuple[int, int], list[int]] = {}
    return [
        {"size": sizes.setdefault((mask.height, mask.width), [mask.height, mask.width]), "counts": mask.counts}
        for mask in masks
    ]


def _outlines(annotations: Annotations, what: str) -> NDArray[np.object_]:
    """Return an outline of every row; that of a region may be its box.

    Raises:
        InputError: an object has none.
    """
    outlines = np.full(len(annotations), None, object)
    if annotations.outlines is not None:
        outlines[:] = annotations.outlines
    bare = np.array([outline is None for outline in outlines], bool)
    objects = np.flatnonzero(bare & (annotations.labels != REGION))
    if len(objects):
        name = annotations.images.names[annotations.image[objects[0]]]
        raise InputError(
            f"{what}: {len(objects)} objects have a box but no outline or mask, the first in image {name}; "
            "add segmentation, or compare boxes (--iou bbox)"
        )
    outlines[bare] = shapely.box(*annotations.boxes[bare].T)
    return outlines
