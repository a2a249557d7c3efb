"""COCO object detection JSON: truth and results, read and checked.

COCO's boxes are ``[x, y, width, height]`` with pixel edges at integers; they become corners here. A category called
``ignore`` whose annotations are all crowds is no class: its annotations are regions ignored for all classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.collection import no_collection
from d2det_geo.data.formats.coco_columns import read_areas, read_boxes, read_ids, read_images
from d2det_geo.data.formats.coco_outlines import read_outlines
from d2det_geo.data.formats.json_file import load_json, looks_like
from d2det_geo.data.formats.json_rows import Rows
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError

REGION_CLASS = "ignore"
"""Category of regions ignored for all classes."""
MOST_SCORE = 1e6
"""Scores need not be shares: any number up to this, of either sign."""
_WHAT = "a COCO JSON file"


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """What a COCO file says beside its annotations: enough to predict its images."""

    images: Images
    classes: tuple[str, ...]
    class_ids: tuple[int, ...]
    supercategories: tuple[str, ...] | None


@no_collection()
def read(path: Path, reading: Reading) -> Annotations:
    """Read truth.

    Crowds are ignored. pycocotools overwrites the key ``ignore``: rows that have it stay objects, keep it as a column,
    and a notice says so. A row may have a ``bbox``, a ``segmentation`` or both; without a ``bbox`` its box goes around
    the segmentation. ``id`` becomes a column where rows have it. Images that say no
    ``width`` and ``height`` are measured in ``reading.images``, or stay unknown. Other keys are left alone.

    Args:
        path: an object with ``images``, ``annotations`` and ``categories``.
        reading: ``images``, the folder; takes the notice.

    Raises:
        InputError: not such a file, or a row is wrong: a key missing, a value of the wrong type or not finite, a box
            without area, an id that is there twice or refers to nothing; the message names file and row.
    """
    document = _truth(path)
    content = _set(document, path, reading)
    rows = Rows.of(document.get("annotations"), f"{path}: annotations")
    image = rows.references("image_id", content.images.ids, "the file has no image with id")
    labels = rows.references("category_id", content.class_ids, "the file has no category with id")
    outlines = read_outlines(rows, content.images.sizes[image])
    boxes = read_boxes(rows, outlines)
    truth = Annotations(
        images=content.images,
        classes=content.classes,
        image=image,
        boxes=boxes,
        labels=labels,
        ignored=rows.flags("iscrowd"),
        outlines=outlines.shapes if outlines.any else None,
        areas=read_areas(rows, boxes, outlines),
        columns=read_ids(rows) | _ignore_key(rows, path, reading),
        class_ids=content.class_ids,
        supercategories=content.supercategories,
    )
    return _with_regions(truth)


def read_set(path: Path, reading: Reading) -> Set:
    """Read the images and classes of a file that may have no annotations or categories, as of a test set.

    Raises:
        InputError: as ``read``.
    """
    return _set({"categories": [], **_truth(path)}, path, reading)


@no_collection()
def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read results; boxes may be without area.

    A row with both ``bbox`` and ``segmentation`` keeps both; what it covers is what its outline covers, or else its
    box: results state no areas.

    Args:
        path: a list of ``{image_id, category_id, score}`` with ``bbox``, ``segmentation`` or both.
        truth: the images and classes that may be referred to.
        reading: not used.

    Raises:
        InputError: not such a file, or a row is wrong; the message names file and row.
    """
    return results_of(load_json(path, "a COCO results file"), path, truth)


def results_of(document: Any, path: Path | str, truth: Annotations) -> Annotations:
    """Read results that are parsed already; ``path`` is what messages call them.

    Raises:
        InputError: as ``read_results``.
    """
    if not isinstance(document, list):
        raise InputError(
            f"{path}: COCO results are a list of {{image_id, category_id, bbox or segmentation, score}}; this is "
            f"{looks_like(document)}{_hint(document)}"
        )
    rows = Rows.of(document, f"{path}: results")
    ids = truth.class_ids or range(1, len(truth.classes) + 1)
    image = rows.references("image_id", truth.images.ids, "the truth has no image with id")
    labels = rows.references("category_id", np.array(ids, np.int64), "the truth has no category with id")
    outlines = read_outlines(rows, truth.images.sizes[image])
    return Annotations(
        images=truth.images,
        classes=truth.classes,
        image=image,
        boxes=read_boxes(rows, outlines),
        labels=labels,
        ignored=np.zeros(len(rows), np.bool_),
        scores=rows.numbers("score", -MOST_SCORE, MOST_SCORE),
        outlines=outlines.shapes if outlines.any else None,
        class_ids=truth.class_ids,
    )


def _truth(path: Path) -> dict[str, Any]:
    document = load_json(path, _WHAT)
    if not isinstance(document, dict):
        hint = " (results, not truth?)" if isinstance(document, list) and document else ""
        raise InputError(
            f"{path}: COCO truth is an object with images, annotations and categories; this is "
            f"{looks_like(document)}{hint}"
        )
    return document


def _hint(document: Any) -> str:
    return " (truth, not results?)" if isinstance(document, dict) and "annotations" in document else ""


def _set(document: dict[str, Any], path: Path, reading: Reading) -> Set:
    images = read_images(Rows.of(document.get("images"), f"{path}: images"), reading.images)
    categories = Rows.of(document.get("categories"), f"{path}: categories")
    names = tuple(categories.names("name"))
    return Set(images, names, tuple(categories.ids().tolist()), _supercategories(categories, names))


def _supercategories(categories: Rows, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read what classes are kinds of; one that does not say, or says ``""`` as CVAT does, is a kind of its own."""
    said = categories.values("supercategory")
    if not set(map(type, said)) <= {str, type(None)}:
        raise categories.first_wrong("supercategory", lambda item: isinstance(item, str | None), "a text")
    return tuple(own or name for own, name in zip(said, names, strict=True)) if any(said) else None


def _ignore_key(rows: Rows, path: Path, reading: Reading) -> dict[str, NDArray[np.bool_]]:
    """Keep the key ``ignore`` where a row that is no crowd has it, and tell what it does not do."""
    ignore = rows.flags("ignore") & ~rows.flags("iscrowd")
    if not ignore.any():
        return {}
    reading.notices.append(
        f"{path}: {np.count_nonzero(ignore)} annotations say ignore: 1 and stay objects, as in pycocotools; "
        "write iscrowd: 1 to have them ignored"
    )
    return {"ignore": ignore}


def _with_regions(truth: Annotations) -> Annotations:
    """Turn crowds of the class ``ignore`` into regions, and drop it from the classes."""
    if REGION_CLASS not in truth.classes:
        return truth
    dropped = truth.classes.index(REGION_CLASS)
    of_it = truth.labels == dropped
    if not truth.ignored[of_it].all():
        return truth
    labels = np.where(of_it, REGION, truth.labels - (truth.labels > dropped))
    classes = tuple(name for place, name in enumerate(truth.classes) if place != dropped)
    ids = tuple(number for place, number in enumerate(truth.class_ids or ()) if place != dropped)
    kinds = truth.supercategories
    if kinds is not None:
        kinds = kinds[:dropped] + kinds[dropped + 1 :]
    return replace(truth, labels=labels, classes=classes, class_ids=ids, supercategories=kinds)
