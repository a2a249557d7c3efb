"""Truth and predictions as hotcoco holds them: columns in, no object per annotation.

Pitfalls of the COCO libraries settled here: annotations are numbered from 1 (0 means "unmatched" to them); images
are numbered by rising id, which decides among equal scores; the area of a result compared by mask is that of the
mask, not of its box; an ignore region is a crowd of every class, never the ``ignore`` key, which they overwrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.metrics.box_match import sides
from d2det_geo.metrics.curves import scores_of
from d2det_geo.metrics.image_masks import canvases, masks_of
from d2det_geo.metrics.outcome import Iou
from d2det_geo.runs import Spans, measured, spans


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
    sizes = canvases(truth, predictions)
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
    masks = masks_of(predictions, sizes, "predictions")
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
    masks = None if iou == "bbox" else masks_of(truth, sizes, "truth")
    if len(unknown):
        found = masks_of(truth.rows(unknown), sizes, "truth") if masks is None else [masks[row] for row in unknown]
        areas[unknown] = measured(found).areas
    return masks, areas


def _documents(masks: list[Runs]) -> list[Any]:
    """Return masks as COCO has them; those of one size share the list that says so."""
    sizes: dict[tuple[int, int], list[int]] = {}
    return [
        {"size": sizes.setdefault((mask.height, mask.width), [mask.height, mask.width]), "counts": mask.counts}
        for mask in masks
    ]
