"""YOLO text: a folder with one file an image, and rows in shares of the image's width and height.

``class x y width height`` is a box by its centre, ``class x1 y1 x2 y2 x3 y3 ...`` an outline; detections have their
confidence at the end of the row. Classes are numbers from 0, whose names stand elsewhere, and so do the images: without
their folder nobody knows a pixel. Edges of pixels are at integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, image_size, images_for, natural_key, read_text
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.yolo_names import CLASSES, class_names
from d2det_geo.errors import InputError

_LEAST, _MOST = -1.0, 2.0  # objects may stick out of the image, and whoever writes pixels is far beyond
_BOX = 5  # numbers in a row


@dataclass(slots=True)
class _Rows:
    """Rows of all files, as they come."""

    image: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    shapes: list[NDArray[np.float64]] = field(default_factory=list)
    """``[4]`` centre, width and height, or ``[P, 2]`` corners; px."""


def read(path: Path, reading: Reading) -> Annotations:
    """Read truth.

    The images are those of ``reading.images``, or of the folder ``images`` that goes with a folder ``labels``. An
    image without a file has no objects. Class names are those of ``reading.class_names``, or of a ``classes.txt`` or
    ``data.yaml`` in the folder or up to two above.

    Args:
        path: folder of text files, named like the images, in folders like them; or one that holds it as ``labels``.
        reading: ``images`` and ``class_names``.

    Raises:
        InputError: a row has the wrong numbers, or numbers that are no shares; a file belongs to no image; names or
            images are not known; the message names file and line.
    """
    labels = _labels_folder(path)
    images = _images(_images_folder(labels, reading.images))
    return _read(labels, images, class_names(labels, reading.class_names), scored=False)


def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read detections of the images and classes of a truth, which class numbers count from 0.

    Args:
        path: as of ``read``; each row ends with its confidence.
        truth: whose images have sizes.
        reading: not used.

    Raises:
        InputError: as ``read``.
    """
    return _read(_labels_folder(path), truth.images, truth.classes, scored=True)


def _labels_folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give the folder of YOLO text files")
    inner = path / "labels"
    return inner if inner.is_dir() else path


def _images_folder(labels: Path, images: Path | None) -> Path:
    """Find the folder of the images: the one given, or the one that goes with ``labels``."""
    images = images or images_for(labels)
    if images is None or not images.is_dir():
        place = "" if images is None else f"{images} is not a folder; "
        raise InputError(f"{labels}: YOLO rows are shares of images; {place}give the folder of the images")
    return images


def _images(folder: Path) -> Images:
    files = [file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    if not files:
        raise InputError(f"{folder}: holds no images; give the folder of the images")
    names = sorted((file.relative_to(folder).as_posix() for file in files), key=natural_key)
    sizes = np.array([image_size(folder / name) for name in names], np.int64)
    return Images(filled(names), np.arange(1, len(names) + 1), sizes)


def _read(folder: Path, images: Images, classes: tuple[str, ...], *, scored: bool) -> Annotations:
    files = sorted((file for file in folder.rglob("*.txt") if file.name != CLASSES), key=lambda f: natural_key(str(f)))
    if not files:
        raise InputError(f"{folder}: holds no .txt file; give the folder of YOLO text files")
    owners = _owners(images, folder)
    rows = _Rows()
    for file in files:
        index = owners.get(file.relative_to(folder).with_suffix("").as_posix())
        if index is None:
            raise InputError(f"{file}: no image goes with it; remove it, or check the folder of the images")
        _read_file(file, index, images.sizes[index], len(classes), scored, rows)
    return _annotations(rows, images, classes, scored=scored)


def _owners(images: Images, folder: Path) -> dict[str, int]:
    """Tell which image a file belongs to, by its path without suffix."""
    owners: dict[str, int] = {}
    for index, name in enumerate(images.names):
        stem = Path(name).with_suffix("").as_posix()
        if stem in owners:
            both = f"{images.names[owners[stem]]} and {name}"
            raise InputError(
                f"{folder}: {stem}.txt would belong to {both}; give images that differ in more than suffix"
            )
        owners[stem] = index
    return owners


def _read_file(file: Path, image: int, size: NDArray[np.int64], classes: int, scored: bool, rows: _Rows) -> None:
    if not size.all():
        raise InputError(f"{file}: the size of its image is not known, of which its rows are shares; give the images")
    scale = size.astype(np.float64)
    for number, line in enumerate(read_text(file, "a YOLO text file").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, values, score = _parsed(line.split(), classes, scored)
        except ValueError as error:
            raise InputError(f"{file}:{number}: {error}") from error
        rows.image.append(image)
        rows.labels.append(label)
        rows.scores.append(score)
        pairs = values.reshape(-1, 2) * scale
        rows.shapes.append(pairs.ravel() if len(pairs) == 2 else pairs)


def _parsed(words: Sequence[str], classes: int, scored: bool) -> tuple[int, NDArray[np.float64], float]:
    """Read a row: label, shares, score. What is wrong is a ``ValueError``."""
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        raise ValueError(f"holds what is no number: {' '.join(words)[:60]!r}; correct the row") from None
    expected = "class, x, y, width, height" + (", confidence" if scored else "")
    count = len(numbers) - scored
    if count != _BOX and (count < 7 or count % 2 == 0):
        hint = "; a number more is a confidence: read it as detections" if not scored and count == _BOX + 1 else ""
        raise ValueError(f"has {len(numbers)} numbers; give {expected}, or an outline of at least 3 corners{hint}")
    label, values = numbers[0], numbers[1:count]
    if not (label == int(label) if np.isfinite(label) else False) or not 0 <= label < classes:
        raise ValueError(f"class is {words[0]}; there are {classes}, numbered from 0")
    if not ((values >= _LEAST) & (values <= _MOST)).all():
        raise ValueError(f"coordinates must be shares of the image, about 0 to 1, got {' '.join(words[1:])[:60]}")
    least = 0.0 if scored else np.nextafter(0, 1)
    if count == _BOX and values[2:].min() < least:
        raise ValueError(
            f"width and height must be {'at least' if scored else 'more than'} 0, got {' '.join(words[3:5])}"
        )
    score = numbers[-1] if scored else 1.0
    if not np.isfinite(score):
        raise ValueError(f"confidence must be a finite number, got {words[-1]}")
    return int(label), values, float(score)


def _annotations(rows: _Rows, images: Images, classes: tuple[str, ...], *, scored: bool) -> Annotations:
    count = len(rows.image)
    boxes, outlines = np.zeros((count, 4)), np.full(count, None, object)
    for index, shape in enumerate(rows.shapes):
        if shape.ndim == 1:
            boxes[index] = np.concatenate([shape[:2] - shape[2:] / 2, shape[:2] + shape[2:] / 2])
        else:
            boxes[index] = *shape.min(axis=0), *shape.max(axis=0)
            outlines[index] = shapely.Polygon(shape)
    return Annotations(
        images=images,
        classes=classes,
        image=np.array(rows.image, np.int64),
        boxes=boxes,
        labels=np.array(rows.labels, np.int64),
        ignored=np.zeros(count, np.bool_),
        scores=np.array(rows.scores, np.float64) if scored else None,
        outlines=outlines if any(outline is not None for outline in outlines) else None,
    )
