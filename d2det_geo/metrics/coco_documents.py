"""COCO documents scored by pycocotools: a truth document and a results document.

pycocotools compares and matches; averaging is ``scores.summarise``, which equals its ``accumulate``.
pycocotools drops all but the best ``maxDets`` results of an image and class (100 by default, far
less than an aerial image holds): the cap is raised to the number of results, so none is dropped.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2det_geo.metrics.coco_input import CocoObjects, CocoTruth, Iou
from d2det_geo.metrics.scores import IOU_THRESHOLDS, Matches, Scores, summarise


def score_documents(truth: CocoTruth, results: CocoObjects, iou: Iou, *, score: float | None = None) -> Scores:
    """Score results over all images of a truth.

    Crowd annotations and ignore regions absorb any number of results, by intersection over the
    area of the result, as COCO has it.

    Args:
        truth: from ``parse_truth``.
        results: from ``parse_results``, of the same ``iou``.
        iou: compare boxes or masks.
        score: threshold for precision, recall and F1; None takes the score of the best F1.
    """
    classed = truth.objects.labels != ""
    labels, scores, hits, ignored = _match(truth, results, iou)
    return summarise(
        [Matches(truth.objects.labels[classed], truth.objects.crowd[classed], labels, scores, hits, ignored)], score
    )


def _match(
    truth: CocoTruth, results: CocoObjects, iou: Iou
) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return labels ``[P]``, scores ``[P]``, hits ``[10, P]`` and ignored ``[10, P]``, ordered by class and image."""
    classes = np.unique(np.concatenate([truth.objects.labels, results.labels]))
    ids = {str(name): index for index, name in enumerate(classes, start=1) if name}
    # pycocotools prints; standard output is for data.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _index(truth.images, ids, truth.objects, iou), _index(truth.images, ids, results, iou), iou
        )
        evaluation.params.iouThrs = IOU_THRESHOLDS
        evaluation.params.maxDets = [max(len(results.labels), 1)]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
    names = {index: name for name, index in ids.items()}
    parts = [part for part in evaluation.evalImgs if part is not None]
    labels = [name for part in parts for name in [names[part["category_id"]]] * len(part["dtScores"])]
    scores = [value for part in parts for value in part["dtScores"]]
    nothing = np.zeros((len(IOU_THRESHOLDS), 0), bool)
    matched = np.concatenate([nothing, *(part["dtMatches"] > 0 for part in parts)], axis=1)
    ignored = np.concatenate([nothing, *(part["dtIgnore"].astype(bool) for part in parts)], axis=1)
    return np.array(labels, np.str_), np.array(scores, np.float64), matched & ~ignored, ignored


def _index(images: Mapping[int, tuple[int, int]], ids: Mapping[str, int], objects: CocoObjects, iou: Iou) -> COCO:
    """Build pycocotools' own structure; a region to ignore in every class is an annotation of each."""
    index = COCO()
    index.dataset = {
        "images": [{"id": key, "height": size[0], "width": size[1]} for key, size in images.items()],
        "categories": [{"id": value, "name": name} for name, value in ids.items()],
        "annotations": list(_annotations(ids, objects, iou)),
    }
    index.createIndex()
    return index


def _annotations(ids: Mapping[str, int], objects: CocoObjects, iou: Iou) -> Iterable[dict[str, Any]]:
    number = 0
    field = "bbox" if iou == "bbox" else "segmentation"
    columns = zip(objects.images, objects.labels, objects.shapes, objects.crowd, objects.scores, strict=True)
    for image, label, shape, crowd, score in columns:
        for category in [ids[label]] if label else ids.values():
            number += 1  # from 1: pycocotools takes 0 for "unmatched"
            yield {
                "id": number,
                "image_id": int(image),
                "category_id": category,
                field: shape,
                "iscrowd": int(crowd),
                "score": float(score),
                "area": 1.0,  # only sorts objects into size ranges, and there is one
            }
