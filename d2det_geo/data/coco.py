"""COCO JSON as labelled images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from d2det_geo.data.coco_file import CocoFile, ImageRow, ObjectRow, read_coco
from d2det_geo.data.coco_shapes import outline
from d2det_geo.data.images import LabelledImage, Read
from d2det_geo.data.pixels import Decoder, image_decoder
from d2det_geo.data.resample import resampled
from d2det_geo.data.truth import IGNORE, ClassMap, Truth
from d2det_geo.errors import InputError
from d2det_geo.places import mapped
from d2det_geo.vector.repair import polygonal

CACHED_IMAGES = 16  # decoded images kept in memory per file
Decode = Callable[[Decoder, int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A row of ``annotations`` with the model's label, or ``IGNORE``."""

    row: ObjectRow
    label: int
    where: str


def coco_images(
    annotations_json: Path,
    images_dir: Path,
    *,
    class_map: ClassMap,
    gsd_m: float | None = None,
    image_gsd_m: float | None = None,
) -> list[LabelledImage]:
    """Read a COCO file.

    Crowds and ignored classes become ignore regions. Outlines are used when every object of the file has
    one, otherwise all images have boxes only. An outline without area becomes an ignored box. Images are
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
    data = read_coco(annotations_json)
    objects = _labelled(data, class_map, annotations_json)
    outlines = _all_outlined(objects)
    by_image = defaultdict(list)
    for item in objects:
        by_image[item.row.image_id].append(item)
    decode = lru_cache(CACHED_IMAGES)(_decode)
    result = []
    for index, image in enumerate(data.images):
        where = f"{annotations_json}: images[{index}]"
        decoder = _decoder(images_dir, image, where)
        width, height = _grid_size(image, gsd_m, image_gsd_m, where)
        to_grid = Affine.scale(width / image.width, height / image.height)
        truth = _annotations(by_image[image.id], image, to_grid, outlines=outlines)
        result.append(LabelledImage(image.file_name, width, height, truth, _reader(decode, decoder, width, height)))
    return result


def _labelled(data: CocoFile, class_map: ClassMap, path: Path) -> list[_Labelled]:
    """The rows that matter to the model."""
    names = {category.id: category.name for category in data.categories}
    result = []
    for index, row in enumerate(data.annotations):
        where = f"{path}: annotations[{index}]"
        label = class_map.label(names[row.category_id], source=where)
        if label is not None:
            result.append(_Labelled(row, IGNORE if row.iscrowd else label, where))
    return result


def _all_outlined(objects: Sequence[_Labelled]) -> bool:
    rows = [item.row for item in objects if item.label != IGNORE]
    return bool(rows) and all(row.segmentation for row in rows)


def _decoder(folder: Path, image: ImageRow, where: str) -> Decoder:
    path = (folder / image.file_name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{where}: file_name {image.file_name!r} leads out of {folder}; keep the images inside")
    return image_decoder(path, image.width, image.height, where)


def _grid_size(image: ImageRow, gsd_m: float | None, image_gsd_m: float | None, where: str) -> tuple[int, int]:
    if gsd_m is None:
        return image.width, image.height
    own = image.gsd_m or image_gsd_m
    if own is None:
        raise InputError(
            f"{where}: its GSD is unknown, so it cannot be resampled to {gsd_m} m/px; give the image a gsd_m, "
            "give the source one for all its images, or set data.gsd_m to null"
        )
    return max(round(image.width * own / gsd_m), 1), max(round(image.height * own / gsd_m), 1)


def _annotations(objects: Sequence[_Labelled], image: ImageRow, to_grid: Affine, *, outlines: bool) -> Truth:
    """Truth of one image in grid px."""
    corners = np.array([item.row.bbox for item in objects], np.float64).reshape(-1, 4)
    frames = shapely.box(*corners[:, :2].T, *(corners[:, :2] + corners[:, 2:]).T)
    shapes = np.array(frames, dtype=object)
    labels = np.array([item.label for item in objects], np.int64)
    for index, item in enumerate(objects):
        if item.row.segmentation and (outlines or item.label == IGNORE):
            shapes[index] = outline(item.row.segmentation, image, item.where)
    shapes = polygonal(mapped(shapes, to_grid))
    flat = shapely.area(shapes) <= 0  # nothing to learn a shape from
    shapes[flat], labels[flat] = mapped(frames[flat], to_grid), IGNORE
    known = labels != IGNORE
    truth = Truth.of_polygons(shapes[known], labels[known], shapes[~known])
    return truth if outlines else Truth(truth.boxes, truth.labels, None, truth.ignored)


def _decode(decoder: Decoder, width: int, height: int) -> NDArray[np.uint8]:
    return resampled(decoder(), width, height)


def _reader(decode: Decode, decoder: Decoder, grid_width: int, grid_height: int) -> Read:
    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return decode(decoder, grid_width, grid_height)[:, y : y + height, x : x + width]

    return read
