"""COCO documents (parsed JSON) checked field by field, so that nothing odd reaches pycocotools' C code.

Two pitfalls of that library are settled here. It takes annotation id 0 for "unmatched": ids are not
kept. It overwrites ``ignore`` with ``iscrowd``: an annotation with either is an ignore region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.errors import InputError
from d2det_geo.metrics.classes import ClassRules

Iou: TypeAlias = Literal["bbox", "segm"]

_FARTHEST = 1e6  # px; pycocotools' time and memory grow with the length of an outline
_FIELDS: dict[Iou, str] = {"bbox": "bbox", "segm": "segmentation"}


@dataclass(frozen=True, slots=True, eq=False)
class CocoObjects:
    """N annotations or results."""

    images: NDArray[np.int64]
    """``[N]`` image ids."""
    labels: NDArray[np.str_]
    """``[N]`` class names; ``""`` for a region to ignore in every class."""
    shapes: list[Any]
    """N boxes ``[x, y, width, height]`` or COCO segmentations."""
    crowd: NDArray[np.bool_]
    """``[N]`` annotations that mark a region to ignore."""
    scores: NDArray[np.float64]
    """``[N]``, zero for annotations."""


@dataclass(frozen=True, slots=True, eq=False)
class CocoTruth:
    """A truth document, its classes renamed."""

    images: dict[int, tuple[int, int]]
    """Image id -> ``(height, width)``, px; ``(0, 0)`` where the IoU of boxes needs no size."""
    targets: dict[int, str | None]
    """Category id -> class name; ``""`` drops it, None marks ignore regions."""
    objects: CocoObjects


def parse_truth(document: Any, iou: Iou, rules: ClassRules, where: str) -> CocoTruth:
    """Check a COCO truth document and rename its classes.

    Args:
        document: parsed JSON.
        iou: what annotations are compared by: their ``bbox`` or their ``segmentation``.
        rules: what to do with each category, by name.
        where: name of the document in error messages.

    Raises:
        InputError: a key or row is missing, of the wrong type, not finite or refers to nothing.
    """
    if not isinstance(document, dict):
        raise InputError(f"{where}: a COCO truth is an object with images, annotations and categories")
    images = {}
    for place, row in _rows(document.get("images"), f"{where}: images"):
        images[_integer(row, "id", place)] = _size(row, place) if iou == "segm" else (0, 0)
    targets = {}
    for place, row in _rows(document.get("categories"), f"{where}: categories"):
        if not isinstance(row.get("name"), str) or not row["name"]:
            raise InputError(f"{place}.name must be a name, got {row.get('name')!r:.60}")
        targets[_integer(row, "id", place)] = rules.target(row["name"])
    annotations = _rows(document.get("annotations"), f"{where}: annotations")
    return CocoTruth(images, targets, _objects(annotations, images, targets, iou, results=False))


def parse_results(document: Any, truth: CocoTruth, iou: Iou, where: str) -> CocoObjects:
    """Check a COCO results document against its truth; results of dropped and ignored classes are left out.

    Raises:
        InputError: as ``parse_truth``; also an image or category the truth does not list.
    """
    if not isinstance(document, list):
        raise InputError(f"{where}: COCO results are a list of {{image_id, category_id, {_FIELDS[iou]}, score}}")
    return _objects(_rows(document, f"{where}: "), truth.images, truth.targets, iou, results=True)


def _rows(rows: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    """Pair each row with its place, for error messages."""
    if not isinstance(rows, list):
        raise InputError(f"{place} must be a list, got {type(rows).__name__}; is this a COCO file?")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{place}[{index}] must be an object, got {row!r:.60}")
    return [(f"{place}[{index}]", row) for index, row in enumerate(rows)]


def _objects(
    rows: Sequence[tuple[str, dict[str, Any]]],
    images: Mapping[int, tuple[int, int]],
    targets: Mapping[int, str | None],
    iou: Iou,
    *,
    results: bool,
) -> CocoObjects:
    kept = []
    for place, row in rows:
        image = _known(row, "image_id", images, place)
        target = targets[_known(row, "category_id", targets, place)]
        score = _number(row.get("score"), f"{place}.score") if results else 0.0
        crowd = not results and (_flag(row, "iscrowd", place) or _flag(row, "ignore", place))
        if target == "" or (target is None and results):
            continue
        check_shape(row.get(_FIELDS[iou]), iou, images[image], f"{place}.{_FIELDS[iou]}")
        kept.append((image, target or "", row[_FIELDS[iou]], crowd or target is None, score))
    columns = list(zip(*kept, strict=True)) if kept else [()] * 5
    return CocoObjects(
        images=np.array(columns[0], np.int64),
        labels=np.array(columns[1], np.str_),
        shapes=list(columns[2]),
        crowd=np.array(columns[3], bool),
        scores=np.array(columns[4], np.float64),
    )


def check_shape(shape: Any, iou: Iou, size: tuple[int, int], place: str) -> None:
    """Refuse anything but a box, polygons, or a run-length mask of the image's size.

    Args:
        shape: the value of ``bbox`` or ``segmentation``.
        iou: which of the two it is.
        size: ``(height, width)`` of the image, px.
        place: name of the value in error messages.

    Raises:
        InputError: the value is missing, malformed, not finite, or does not fit the image.
    """
    if shape is None or shape == []:
        other = "segm" if iou == "bbox" else "bbox"
        raise InputError(f"{place} is missing; add it, or compare by the other IoU ({other})")
    if iou == "bbox":
        _coordinates(shape, place)
        if len(shape) != 4 or shape[2] < 0 or shape[3] < 0:
            raise InputError(f"{place} must be [x, y, width, height], got {shape!r:.60}")
    elif isinstance(shape, dict):
        _check_runs(shape, size, place)
    else:
        for index, ring in enumerate(shape if isinstance(shape, list) else [shape]):
            _coordinates(ring, f"{place}[{index}]")
            if len(ring) < 6 or len(ring) % 2:
                raise InputError(f"{place}[{index}] must be [x1, y1, x2, y2, x3, y3, ...], got {ring!r:.60}")


def _check_runs(mask: dict[str, Any], size: tuple[int, int], place: str) -> None:
    if mask.get("size") != list(size):
        raise InputError(f"{place}.size must be {list(size)} like the image, got {mask.get('size')!r:.60}")
    counts = mask.get("counts")
    if isinstance(counts, str):
        runs = decoded_runs(counts)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        runs = counts
    else:
        raise InputError(f"{place}.counts must be a string or a list of integers, got {counts!r:.60}")
    if sum(runs) != size[0] * size[1] or min(runs) < 0:
        raise InputError(f"{place}.counts do not add up to an image of {size[0]} x {size[1]} px; is it cut short?")


def decoded_runs(counts: str) -> list[int]:
    """Decode COCO's compressed run lengths: 5 bits a character, from the third run on as differences by two.

    A string with other characters, or that breaks off inside a number, gives ``[-1]``, which no mask has.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return [-1]
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return [-1] if shift or not runs else runs


def _known(row: dict[str, Any], key: str, known: Mapping[int, Any], place: str) -> int:
    value = _integer(row, key, place)
    if value not in known:
        raise InputError(f"{place}.{key} is {value}, which the truth does not list")
    return value


def _integer(row: dict[str, Any], key: str, place: str) -> int:
    value = row.get(key)
    if type(value) is not int or abs(value) >= 2**63:
        raise InputError(f"{place}.{key} must be an integer, got {value!r:.60}")
    return value


def _number(value: Any, place: str) -> float:
    # The comparison is False for NaN, and safe for integers too large for a float.
    if type(value) not in {int, float} or not abs(value) <= _FARTHEST:
        raise InputError(f"{place} must be a number of at most {_FARTHEST:g}, got {value!r:.60}")
    return float(value)


def _coordinates(values: Any, place: str) -> None:
    if not isinstance(values, list):
        raise InputError(f"{place} must be a list of numbers, got {values!r:.60}")
    for value in values:
        _number(value, place)


def _flag(row: dict[str, Any], key: str, place: str) -> bool:
    value = row.get(key, 0)
    if value not in (0, 1):
        raise InputError(f"{place}.{key} must be 0 or 1, got {value!r:.60}")
    return bool(value)


def _size(row: dict[str, Any], place: str) -> tuple[int, int]:
    height, width = _integer(row, "height", place), _integer(row, "width", place)
    if min(height, width) <= 0:
        raise InputError(f"{place} must have a positive height and width, got {height} x {width}")
    return height, width
