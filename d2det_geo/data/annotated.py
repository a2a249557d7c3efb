"""The bridge from what annotation formats say to the images a network learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.data.formats.run_shapes import shapes_of
from d2det_geo.data.image_files import ImageFiles, folder_of
from d2det_geo.data.images import LabelledImage, Read
from d2det_geo.data.pixels import Decoder
from d2det_geo.data.resample import resampled
from d2det_geo.data.truth import IGNORE, ClassMap, Truth
from d2det_geo.errors import InputError
from d2det_geo.vector.repair import polygonal

CACHED_IMAGES = 16  # decoded images kept in memory per source
_DROPPED = -2  # label of objects the class map drops
Decode = Callable[[Decoder, int, int], NDArray[np.uint8]]


def labelled_images(
    annotations: Annotations,
    images_dir: Path | None,
    *,
    class_map: ClassMap,
    source: Path,
    gsd_m: float | None = None,
    image_gsd_m: float | None = None,
) -> list[LabelledImage]:
    """Join the truth of a set with its image files.

    Rows that are ignored, regions and classes to ignore become ignore regions. Outlines are used when every object
    has one, run lengths along the edges of their pixels; otherwise all images have boxes only. An outline without
    area becomes an ignored box. Images are decoded whole, when first read, and a few are kept. Of images in groups,
    the frames of sequences, only the first of each group is looked at here: the others have its size, which is
    checked when they are read.

    Args:
        annotations: truth, in px of the images.
        images_dir: what the names of images are relative to, and must lie in; None looks beside ``source``.
        class_map: from class names of the annotations to the model's classes.
        source: where the annotations are from.
        gsd_m: resample every image to this GSD, m/px; None keeps them as they are.
        image_gsd_m: GSD of the images that do not say theirs, m/px.

    Raises:
        InputError: an image is missing, unreadable or of another size, a class or a GSD that is needed is unknown.
    """
    images = annotations.images
    folder = folder_of(source, images) if images_dir is None else images_dir
    sizes, decoders = ImageFiles(images, folder, str(source)).opened()
    grid = _grid_sizes(images, sizes, gsd_m, image_gsd_m, source)
    with np.errstate(divide="ignore", invalid="ignore"):
        truths = _truths(annotations, grid / sizes, _labels(annotations, class_map, source))
    decode = lru_cache(CACHED_IMAGES)(_decode)
    return [
        LabelledImage(str(name), width, height, truth, _reader(decode, decoder, width, height))
        for name, (width, height), truth, decoder in zip(images.names, grid.tolist(), truths, decoders, strict=True)
    ]


def chosen_images(annotations: Annotations, wanted: NDArray[np.bool_]) -> Annotations:
    """Keep some images ``[M]`` of a set, and their objects."""
    images = annotations.images
    columns = ("names", "ids", "sizes", "groups", "windows", "gsd_m")
    kept: dict[str, Any] = {
        name: None if (column := getattr(images, name)) is None else column[wanted] for name in columns
    }
    kept["tags"] = {name: flags[wanted] for name, flags in images.tags.items()}
    some = annotations.rows(wanted[annotations.image])
    return replace(some, images=replace(images, **kept), image=(np.cumsum(wanted) - 1)[some.image])


def _grid_sizes(
    images: Images, sizes: NDArray[np.int64], gsd_m: float | None, image_gsd_m: float | None, source: Path
) -> NDArray[np.int64]:
    """Width and height ``[M, 2]`` of the images at a GSD, px."""
    if gsd_m is None:
        return sizes
    own = np.full(len(images), np.nan) if images.gsd_m is None else images.gsd_m
    own = np.where(np.isfinite(own), own, np.nan if image_gsd_m is None else image_gsd_m)
    unknown = np.flatnonzero(~np.isfinite(own))
    if len(unknown):
        raise InputError(
            f"{source}: images[{unknown[0]}]: its GSD is unknown, so it cannot be resampled to {gsd_m} m/px; give the "
            "image a gsd_m, give the source one for all its images, or set data.gsd_m to null"
        )
    return np.maximum(np.round(sizes * own[:, None] / gsd_m), 1).astype(np.int64)


def _labels(annotations: Annotations, class_map: ClassMap, source: Path) -> NDArray[np.int64]:
    """The model's label ``[N]`` of each row, ``IGNORE``, or ``_DROPPED``."""
    labels = np.full(len(annotations), IGNORE, np.int64)
    for number, name in enumerate(annotations.classes):
        rows = np.flatnonzero(annotations.labels == number)
        if len(rows):
            image = annotations.images.names[annotations.image[rows[0]]]
            where = f"annotations[{rows[0]}] (of image {image})" if source.suffix == ".json" else f"image {image}"
            label = class_map.label(name, source=f"{source}: {where}")
            labels[rows] = _DROPPED if label is None else label
    labels[annotations.ignored & (labels != _DROPPED)] = IGNORE
    labels[annotations.labels == REGION] = IGNORE
    return labels


def _truths(annotations: Annotations, scales: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Truth]:
    """Truth of each image in grid px; ``scales`` ``[M, 2]`` are grid px per px."""
    annotations, labels = annotations.rows(labels != _DROPPED), labels[labels != _DROPPED]
    objects = labels != IGNORE
    outlined = annotations.outlines is not None and bool(objects.any())
    outlined = outlined and not any(outline is None for outline in annotations.outlines[objects])  # type: ignore[index]
    boxes = annotations.boxes * np.tile(scales[annotations.image], 2)
    flat = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    shaped = np.flatnonzero(~objects | outlined | flat)  # the others need no geometry: there may be many
    shapes = np.full(len(labels), None, dtype=object)
    shapes[shaped] = polygonal(_shapes(annotations, shaped, scales))
    empty = shaped[(shapely.area(shapes[shaped]) <= 0) | (flat & objects & (not outlined))[shaped]]  # nothing to learn
    shapes[empty], labels = shapely.box(*boxes[empty].T), labels.copy()
    labels[empty] = IGNORE
    order, ends = annotations.by_image()
    return [
        _truth(boxes[rows], labels[rows], shapes[rows], outlined=outlined)
        for rows in (order[start:stop] for start, stop in pairwise(ends))
    ]


def _truth(
    boxes: NDArray[np.float64], labels: NDArray[np.int64], shapes: NDArray[np.object_], *, outlined: bool
) -> Truth:
    known = labels != IGNORE
    if outlined:
        return Truth.of_polygons(shapes[known], labels[known], shapes[~known])
    return Truth(boxes[known], labels[known], None, shapes[~known])


def _shapes(annotations: Annotations, rows: NDArray[np.intp], scales: NDArray[np.float64]) -> NDArray[np.object_]:
    """Outlines of rows in grid px, or boxes where there is none."""
    shapes = np.asarray(shapely.box(*annotations.boxes[rows].T), dtype=object)
    if annotations.outlines is not None:
        outlines = annotations.outlines[rows]
        known = np.array([outline is not None for outline in outlines], np.bool_)
        shapes[known] = shapes_of(outlines[known])
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    return np.asarray(shapely.set_coordinates(shapes, points * scales[annotations.image[rows]][owners]), dtype=object)


def _decode(decoder: Decoder, width: int, height: int) -> NDArray[np.uint8]:
    return resampled(decoder(), width, height)


def _reader(decode: Decode, decoder: Decoder, grid_width: int, grid_height: int) -> Read:
    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return decode(decoder, grid_width, grid_height)[:, y : y + height, x : x + width]

    return read
