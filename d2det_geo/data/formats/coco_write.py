"""COCO object detection JSON, written: truth and results.

Numbers are written as they are, so that what is read again is what was there. Ids of images and classes are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Images, Runs
from d2det_geo.data.formats.coco import REGION_CLASS
from d2det_geo.errors import InputError
from d2det_geo.runs import DamagedError, measured, whole
from d2det_geo.vector.repair import parts_without_holes

_AT_ONCE = 10_000  # rows turned into text at once


def write(truth: Annotations, path: Path) -> None:
    """Write truth: ``images``, ``categories``, ``annotations``.

    Ignored objects become crowds, regions crowds of a category ``ignore`` of their own. Holes are cut open: COCO's
    polygons have none. Annotations are numbered from 1, unless they have ids; ``area`` is the stated one, or else what
    the outline or the box covers.

    Args:
        truth: what to write.
        path: of the file.

    Raises:
        InputError: a mask leaves its image, or the image's size is not known.
    """
    classes, ids = list(truth.classes), list(_class_ids(truth))
    if (truth.labels == REGION).any() and REGION_CLASS not in classes:
        classes.append(REGION_CLASS)
        ids.append(max(ids, default=0) + 1)
    categories: list[dict[str, Any]] = [{"id": number, "name": name} for number, name in zip(ids, classes, strict=True)]
    for category, kind in zip(categories, truth.supercategories or (), strict=False):
        category["supercategory"] = kind
    head = {"images": _image_rows(truth.images), "categories": categories}
    region = ids[classes.index(REGION_CLASS)] if REGION_CLASS in classes else 0
    numbers = truth.columns.get("id", np.arange(1, len(truth) + 1))

    def columns(part: Annotations, rows: slice) -> dict[str, list[Any]]:
        known = np.array([*ids, region], np.int64)  # REGION is -1: the last
        return {
            "id": numbers[rows].tolist(),
            **_common(part, known[np.where(part.labels == REGION, -1, part.labels)]),
            "area": _areas(part).tolist(),
            "iscrowd": part.ignored.astype(int).tolist(),
        }

    with path.open("w", encoding="utf-8") as file:
        file.write(_text(head)[:-1] + ', "annotations": [')
        file.writelines(_rows(truth, columns))
        file.write("]}\n")


def write_results(predictions: Annotations, path: Path) -> None:
    """Write results: a list of ``{image_id, category_id, bbox, score}``, with ``segmentation`` where there is one.

    Args:
        predictions: with scores.
        path: of the file.

    Raises:
        InputError: as ``write``.
    """
    ids = np.array(_class_ids(predictions), np.int64)

    def columns(part: Annotations, _: slice) -> dict[str, list[Any]]:
        scores = np.ones(len(part)) if part.scores is None else part.scores
        return {**_common(part, ids[part.labels]), "score": scores.tolist()}

    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        file.writelines(_rows(predictions, columns))
        file.write("]\n")


def _rows(annotations: Annotations, columns: Callable[[Annotations, slice], dict[str, list[Any]]]) -> Iterator[str]:
    """Write annotations as JSON rows, some at a time."""
    for start in range(0, len(annotations), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        part = annotations.rows(np.arange(len(annotations))[rows])
        found = columns(part, rows)
        outlines = _segmentations(part)
        texts = []
        for values, outline in zip(zip(*found.values(), strict=True), outlines, strict=True):
            row = dict(zip(found, values, strict=True))
            texts.append(_text(row if outline is None else {**row, "segmentation": outline}))
        yield (",\n" if start else "\n") + ",\n".join(texts)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _class_ids(annotations: Annotations) -> tuple[int, ...]:
    return annotations.class_ids or tuple(range(1, len(annotations.classes) + 1))


def _image_rows(images: Images) -> list[dict[str, Any]]:
    """Describe images; what is not known of one is left out."""
    rows = []
    for index, (number, name, (width, height)) in enumerate(
        zip(images.ids.tolist(), images.names, images.sizes.tolist(), strict=True)
    ):
        row: dict[str, Any] = {"id": number, "file_name": name}
        if width and height:
            row |= {"width": width, "height": height}
        if images.groups is not None:
            row["scene"] = images.groups[index]
        if images.windows is not None:
            row["window"] = images.windows[index].tolist()
        if images.gsd_m is not None and np.isfinite(images.gsd_m[index]):
            row["gsd_m"] = float(images.gsd_m[index])
        if images.tags:
            row["tags"] = [tag for tag, has in images.tags.items() if has[index]]
        rows.append(row)
    return rows


def _common(part: Annotations, category_ids: NDArray[np.int64]) -> dict[str, list[Any]]:
    boxes = np.column_stack([part.boxes[:, :2], part.boxes[:, 2:] - part.boxes[:, :2]])
    return {
        "image_id": part.images.ids[part.image].tolist(),
        "category_id": category_ids.tolist(),
        "bbox": boxes.tolist(),
    }


def _areas(part: Annotations) -> NDArray[np.float64]:
    if part.areas is not None:
        return part.areas
    width, height = (part.boxes[:, 2:] - part.boxes[:, :2]).T
    areas: NDArray[np.float64] = width * height
    if part.outlines is not None:
        masks, polygons = _kinds(part.outlines)
        areas[masks] = measured(list(part.outlines[masks])).areas
        areas[polygons] = shapely.area(part.outlines[polygons])
    return areas


def _kinds(outlines: NDArray[np.object_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the masks and the polygons."""
    masks = np.array([isinstance(outline, Runs) for outline in outlines], np.bool_)
    polygons = np.array([outline is not None for outline in outlines], np.bool_) & ~masks
    return np.flatnonzero(masks), np.flatnonzero(polygons)


def _segmentations(part: Annotations) -> list[Any]:
    """Give ``segmentation`` of each row, or None."""
    result: list[Any] = [None] * len(part)
    if part.outlines is None:
        return result
    masks, polygons = _kinds(part.outlines)
    runs: list[Runs] = list(part.outlines[masks])
    sizes = _sizes(part, masks)
    try:
        wholes = whole(runs, sizes)
    except DamagedError as error:
        name = part.images.names[part.image[masks[error.index]]]
        raise InputError(f"image {name}: a mask is wrong: {error.problem}; check it and the image's size") from error
    for row, item in zip(masks.tolist(), wholes, strict=True):
        result[row] = {"size": [item.height, item.width], "counts": item.counts.decode()}
    for row, rings in zip(polygons.tolist(), _rings(part.outlines[polygons]), strict=True):
        result[row] = rings or None
    return result


def _sizes(part: Annotations, masks: NDArray[np.intp]) -> NDArray[np.int64]:
    """Width and height ``[N, 2]`` of the images of masks; where they are unknown, a mask from its corner says them."""
    sizes = part.images.sizes[part.image[masks]]
    runs: list[Runs] = [] if part.outlines is None else list(part.outlines[masks])
    whole = [(item.width, item.height) if item.x == item.y == 0 else (0, 0) for item in runs]
    return np.where(sizes > 0, sizes, np.array(whole, np.int64).reshape(-1, 2))


def _rings(polygons: NDArray[np.object_]) -> list[list[list[float]]]:
    """Turn (Multi)Polygons into rings, closed only where their last point would be taken for the closing one."""
    parts, owners = parts_without_holes(polygons)
    points, rings = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    ends = np.searchsorted(rings, np.arange(len(parts)), side="right")
    flat = points.ravel().tolist()
    result: list[list[list[float]]] = [[] for _ in polygons]
    start = 0
    for owner, end in zip(owners.tolist(), ends.tolist(), strict=True):
        if end > start:
            ring = flat[2 * start : 2 * end]
            result[owner].append(ring if ring[-4:-2] == ring[:2] else ring[:-2])
        start = end
    return result
