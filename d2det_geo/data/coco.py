"""COCO JSON as labelled images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.data.annotations import IGNORE, Annotations, ClassMap, no_geometries, polygonal
from d2det_geo.data.coco_shapes import outline
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.pixels import check_image, read_pixels
from d2det_geo.data.resample import resampled
from d2det_geo.errors import InputError

CACHED_IMAGES = 16  # decoded images kept in memory per file
Row = Mapping[str, Any]
Decode = Callable[[Path, int, int], NDArray[np.uint8]]


def coco_images(
    annotations_json: Path,
    images_dir: Path,
    *,
    class_map: ClassMap,
    gsd_m: float | None = None,
    image_gsd_m: float | None = None,
) -> list[LabelledImage]:
    """Read a COCO file.

    Crowds and ignored classes become ignore regions. Outlines are used when every object has one,
    otherwise all images have boxes only. An outline without area becomes an ignored box. Images are
    decoded whole, when first read, and a few are kept.

    Args:
        annotations_json: ``images``, ``annotations`` and ``categories``; an image may say its ``gsd_m``.
        images_dir: what ``file_name`` is relative to, and must lie in.
        class_map: from category names to the model's classes.
        gsd_m: resample every image to this GSD, m/px; None keeps them as they are.
        image_gsd_m: GSD of the images that do not say theirs, m/px.

    Raises:
        InputError: the file is not COCO, a row is wrong, an image is missing or of another size, a class or
            a GSD that is needed is unknown; the message names the row.
    """
    data = _load(annotations_json)
    categories = _indexed(data, "categories", annotations_json, {"name": str})
    images = _indexed(data, "images", annotations_json, {"file_name": str, "width": int, "height": int})
    rows_by_image = defaultdict(list)
    for index, row in enumerate(data["annotations"]):
        where = f"{annotations_json}: annotations[{index}]"
        _check_annotation(row, where, images, categories)
        label = class_map.label(categories[row["category_id"]]["name"], source=where)
        if label is not None:
            rows_by_image[row["image_id"]].append((row, IGNORE if row.get("iscrowd") else label, where))
    objects = [row for rows in rows_by_image.values() for row, label, _ in rows if label != IGNORE]
    outlines = bool(objects) and all(row.get("segmentation") for row in objects)
    decode = lru_cache(CACHED_IMAGES)(_decode)
    result = []
    for key, image in images.items():
        where = f"{annotations_json}: image {key}"
        path = _image_path(images_dir, image, where)
        width, height = _grid_size(image, gsd_m, image_gsd_m, where)
        scale = np.array([width / image["width"], height / image["height"]])
        truth = _annotations(rows_by_image[key], image, scale, outlines=outlines)
        result.append(LabelledImage(image["file_name"], width, height, truth, _reader(decode, path, width, height)))
    return result


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the path of a COCO JSON file") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); correct the file") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise InputError(f"{path}: has no list {key!r}, so it is not COCO JSON; give a COCO object detection file")
        if not all(isinstance(row, dict) for row in data[key]):
            raise InputError(f"{path}: {key} holds something that is not an object; correct the file")
    if not data["images"]:
        raise InputError(f"{path}: lists no images; give a COCO file with at least one")
    return data


def _indexed(data: Mapping[str, Any], key: str, path: Path, fields: Mapping[str, type]) -> dict[int, Row]:
    """Rows by id, each with the fields it needs."""
    rows: dict[int, Row] = {}
    for index, row in enumerate(data[key]):
        where = f"{path}: {key}[{index}]"
        for name, kind in {"id": int, **fields}.items():
            value = row.get(name)
            if not isinstance(value, kind) or (kind is int and name != "id" and value <= 0):
                raise InputError(f"{where}: {name} must be {_KINDS[kind]}, got {value!r:.60}; correct the row")
        if row["id"] in rows:
            raise InputError(f"{where}: id {row['id']} appears twice; ids must be unique")
        rows[row["id"]] = row
    return rows


_KINDS = {int: "a whole number (positive for sizes)", str: "a text"}


def _check_annotation(row: Row, where: str, images: Mapping[int, Row], categories: Mapping[int, Row]) -> None:
    for key, known, name in (("image_id", images, "image"), ("category_id", categories, "category")):
        if not isinstance(row.get(key), int) or row[key] not in known:
            raise InputError(f"{where}: {key} {row.get(key)!r:.60} is no {name} of the file; correct the row")
    box = row.get("bbox")
    numbers = isinstance(box, list) and len(box) == 4 and all(type(value) in {int, float} for value in box)
    if not numbers or not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise InputError(
            f"{where}: bbox must be [x, y, width, height] with finite numbers and a positive size, got {box!r:.80}; "
            "correct or remove the row"
        )


def _image_path(folder: Path, image: Row, where: str) -> Path:
    path = (folder / image["file_name"]).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{where}: file_name {image['file_name']!r} leads out of {folder}; keep images inside")
    check_image(path, image["width"], image["height"], where)
    return path


def _grid_size(image: Row, gsd_m: float | None, image_gsd_m: float | None, where: str) -> tuple[int, int]:
    width, height = image["width"], image["height"]
    if gsd_m is None:
        return width, height
    own = image.get("gsd_m", image_gsd_m)
    if type(own) not in {int, float} or not 0 < own < np.inf:
        raise InputError(
            f"{where}: its GSD is needed to resample it to {gsd_m} m/px, got {own!r}; give the image a gsd_m, "
            "or the source one for all its images, or set data.gsd_m to null"
        )
    return max(round(width * own / gsd_m), 1), max(round(height * own / gsd_m), 1)


def _annotations(
    rows: Sequence[tuple[Row, int, str]], image: Row, scale: NDArray[np.float64], *, outlines: bool
) -> Annotations:
    """Truth of one image in grid px."""
    corners = np.array([row["bbox"] for row, _, _ in rows], np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1) * np.tile(scale, 2)
    labels = np.array([label for _, label, _ in rows], np.int64)
    shapes = np.array(shapely.box(*boxes.T), dtype=object).reshape(-1)
    for index, (row, label, where) in enumerate(rows):
        if row.get("segmentation") and (outlines or label == IGNORE):
            drawn = outline(row["segmentation"], image["width"], image["height"], where)
            shape = polygonal(np.array([shapely.transform(drawn, lambda points: points * scale)], dtype=object))[0]
            if shape.area > 0:
                shapes[index] = shape
            else:
                labels[index] = IGNORE  # nothing to learn a shape from
    known = labels != IGNORE
    if outlines:
        return Annotations.of_polygons(shapes[known], labels[known], shapes[~known])
    return Annotations(boxes[known], labels[known], None, shapes[~known] if len(shapes) else no_geometries())


def _decode(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    return resampled(read_pixels(path), width, height)


def _reader(decode: Decode, path: Path, grid_width: int, grid_height: int) -> Callable[..., NDArray[np.uint8]]:
    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return decode(path, grid_width, grid_height)[:, y : y + height, x : x + width]

    return read
