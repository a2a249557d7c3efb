"""COCO documents as Annotations, and what pycocotools says of them."""

import contextlib
import copy
import io

import numpy as np
import shapely
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2det_geo.annotations import Annotations, Images, Runs

COCO_RANGES = {"all": [0, 1e10], "small": [0, 1024], "medium": [1024, 9216], "large": [9216, 1e10]}


def images_of(rows):
    return Images(
        names=np.array([row.get("file_name", str(row["id"])) for row in rows], object),
        ids=np.array([row["id"] for row in rows], np.int64),
        sizes=np.array([(row["width"], row["height"]) for row in rows], np.int64).reshape(-1, 2),
    )


def outline_of(shape):
    if shape is None:
        return None
    if isinstance(shape, dict):
        height, width = shape["size"]
        return Runs(0, 0, width, height, shape["counts"])
    parts = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in shape]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def annotations_of(document, images, rows, scored=False):
    """Read annotations or results of a COCO document, strictly in the order of the file."""
    numbers = {number: row for row, number in enumerate(images.ids.tolist())}
    labels = {row["id"]: place for place, row in enumerate(document["categories"])}
    boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    outlines = np.full(len(rows), None, object)
    for place, row in enumerate(rows):
        outlines[place] = outline_of(row.get("segmentation"))
    return Annotations(
        images=images,
        classes=tuple(row["name"] for row in document["categories"]),
        image=np.array([numbers[row["image_id"]] for row in rows], np.int64),
        boxes=boxes,
        labels=np.array([labels[row["category_id"]] for row in rows], np.int64),
        ignored=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
        scores=np.array([row["score"] for row in rows], float) if scored else None,
        outlines=outlines,
        areas=None if scored else np.array([row["area"] for row in rows], float),
    )


def sets_of(document, results):
    images = images_of(document["images"])
    truth = annotations_of(document, images, document["annotations"])
    return truth, annotations_of(document, images, results, scored=True)


def reference(document, results, iou="bbox", caps=(1, 10, 100), ranges=None, renumber=True):
    """Evaluate with pycocotools, spared its pitfalls: ids from 1, and no box where masks are compared."""
    ranges = ranges or COCO_RANGES
    document, results = copy.deepcopy(document), copy.deepcopy(results)
    for number, row in enumerate(document["annotations"], start=1):
        row["id"] = number if renumber else row["id"]
    for row in results:
        if iou == "segm":
            del row["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), iou)
        evaluation.params.maxDets = list(caps)
        evaluation.params.areaRng = [list(ends) for ends in ranges.values()]
        evaluation.params.areaRngLbl = list(ranges)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _mean(values):
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def reference_metrics(evaluation, label=None):
    kept = slice(None) if label is None else slice(label, label + 1)
    precision, recall = evaluation.eval["precision"][:, :, kept], evaluation.eval["recall"][:, kept]
    names, caps = evaluation.params.areaRngLbl, evaluation.params.maxDets
    return {
        "ap": _mean(precision[..., 0, -1]),
        "ap50": _mean(precision[:1, ..., 0, -1]),
        "ap75": _mean(precision[5:6, ..., 0, -1]),
        **{f"ap_{name}": _mean(precision[..., row, -1]) for row, name in enumerate(names) if row},
        **{f"ar_{cap}": _mean(recall[..., 0, row]) for row, cap in enumerate(caps)},
        **{f"ar_{name}": _mean(recall[..., row, -1]) for row, name in enumerate(names) if row},
    }
