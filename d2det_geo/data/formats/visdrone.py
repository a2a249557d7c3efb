"""VisDrone-DET: one text file an image, truth and detections alike (spec section 4).

Boxes are ``left, top, width, height`` in the files and ``(left, top, left + width, top + height)`` here, as they are:
the toolkit's rounding to pixels is the protocol's. Category 0 is a region ignored for all classes; an object of score 0
is ignored. Three boxes of the released training set have no height, so truth may have sizes of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats.files import files_in, read_text
from d2det_geo.data.formats.image_files import ImageFolder, row_by_stem
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import MAPPED, listed, row_text, sides
from d2det_geo.data.formats.tables import Layout, Table, read_table
from d2det_geo.errors import InputError

CLASSES = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
    "others",
)
"""Categories 1 to 11 of the files."""
SAID = ("truncation", "occlusion")
"""Columns of a truth, of ``Annotations``; 0 where a region has none."""

_COLUMNS = ("left", "top", "width", "height", "score", "category", *SAID)
_TRUTH, _RESULTS = Layout(_COLUMNS, len(_COLUMNS)), Layout(_COLUMNS, 6)
_TEXT = frozenset({".txt"})


def read(path: Path, reading: Reading) -> Annotations:
    """Read truth.

    Images are those with a text file, also an empty one. Their names and sizes come from ``reading.images``, or the
    folder ``images`` beside ``annotations``; without either names end with ``.jpg`` and sizes are 0.

    Args:
        path: folder of the text files, or of ``annotations``.
        reading: see above.

    Raises:
        InputError: no such folder, a wrong line, or an image that is missing.
    """
    folder = _folder(path)
    files = files_in(folder, _TEXT, "VisDrone's annotations")
    near = folder.parent / "images" if folder.resolve().name == "annotations" else None
    beside = near if near is not None and near.is_dir() else None
    images = ImageFolder.of(reading.images or beside, ".jpg").images([file.stem for file in files], folder)
    tables = [_table(file, _TRUTH) for file in files]
    labels = np.concatenate([table.whole("category", 0, len(CLASSES)) - 1 for table in tables])
    scores = np.concatenate([table.whole("score", 0, 1) for table in tables])
    return Annotations(
        images=images,
        classes=CLASSES,
        image=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        boxes=np.concatenate([table.boxes(empty=True) for table in tables]),
        labels=labels,
        ignored=(labels == REGION) | (scores == 0),
        columns={name: np.concatenate([table.whole(name, -1) for table in tables]) for name in SAID},
    )


def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read detections of the images of a truth, those of an image in the order of its file, which the cap goes by.

    Boxes may be without area.

    Args:
        path: folder of one text file an image.
        truth: what they are detections of; it has VisDrone's classes, or some of them.
        reading: its notices name the images without a file.

    Raises:
        InputError: a wrong line, or an image or a class the truth does not have.
    """
    rows = row_by_stem(truth.images)
    files = files_in(_folder(path), _TEXT, "VisDrone results, one text file an image")
    tables = [_table(file, _RESULTS) for file in files]
    image = np.array([_image_row(file, rows) for file in files], dtype=np.int64)
    there = {file.stem for file in files}
    without = [stem for stem in rows if stem not in there]
    if without:
        reading.notices.append(f"{path}: has no file of {listed(without)}; nothing was found there")
    none = np.zeros(sum(len(table) for table in tables), dtype=np.bool_)
    return Annotations(
        images=truth.images,
        classes=truth.classes,
        image=np.repeat(image, [len(table) for table in tables]),
        boxes=np.concatenate([table.boxes(empty=True) for table in tables]),
        labels=np.concatenate([_labels(table, truth.classes) for table in tables]),
        ignored=none,
        scores=np.concatenate([table.column("score") for table in tables]),
    )


def _folder(path: Path) -> Path:
    return path / "annotations" if (path / "annotations").is_dir() else path


def _table(path: Path, layout: Layout) -> Table:
    return read_table(path, read_text(path, "a file of VisDrone"), layout)


def _image_row(file: Path, rows: Mapping[str, int]) -> int:
    if file.stem not in rows:
        raise InputError(f"{file}:1: the truth has no image {file.stem!r}; take the file away or add its truth")
    return rows[file.stem]


def _labels(table: Table, classes: tuple[str, ...]) -> NDArray[np.int64]:
    category = table.whole("category", 1, len(CLASSES))
    labels = np.array([classes.index(name) if name in classes else -1 for name in CLASSES])[category - 1]
    table.refuse(
        labels < 0,
        lambda row: (
            f"category {category[row]} is {CLASSES[category[row] - 1]}, which the truth does not have; "
            f"its classes are {', '.join(classes)}"
        ),
    )
    return labels


def write(annotations: Annotations, path: Path) -> None:
    """Write truth: one file an image in ``annotations``, also for images without objects.

    Args:
        annotations: of VisDrone's classes, or some of them.
        path: a folder that does not exist yet.

    Raises:
        InputError: a class is none of VisDrone's, or two images have the same name but for folder and suffix.
    """
    category = _categories(annotations)
    scores = np.where(annotations.ignored, 0, 1)
    zeros = np.zeros(len(annotations), dtype=np.int64)
    said = [annotations.columns.get(name, zeros) for name in SAID]
    order, ends = annotations.by_image()
    _write_files(annotations, path / "annotations", (order, ends), [scores, category, *said])


def write_results(annotations: Annotations, path: Path) -> None:
    """Write detections: one file an image, the surest first, since the protocol caps by the order of rows.

    Args:
        annotations: with scores, of VisDrone's classes, or some of them.
        path: a folder that does not exist yet.

    Raises:
        InputError: a class is none of VisDrone's, or two images have the same name but for folder and suffix.
    """
    if annotations.scores is None:
        raise ValueError("detections have scores")
    unsaid = np.full(len(annotations), -1)
    columns = [annotations.scores, _categories(annotations), unsaid, unsaid]
    order = np.lexsort((-annotations.scores, annotations.image))
    ends = np.searchsorted(annotations.image[order], np.arange(len(annotations.images) + 1))
    _write_files(annotations, path, (order, ends), columns)


def _write_files(
    annotations: Annotations,
    folder: Path,
    by_image: tuple[NDArray[np.intp], NDArray[np.intp]],
    columns: list[NDArray[np.int64] | NDArray[np.float64]],
) -> None:
    order, ends = by_image
    stems = row_by_stem(annotations.images)
    folder.mkdir(parents=True)
    boxes = (*annotations.boxes[:, :2].T, *sides(annotations.boxes).T)
    for stem, image in stems.items():
        rows = order[ends[image] : ends[image + 1]]
        text = row_text([column[rows] for column in (*boxes, *columns)])
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8", newline="\n")


def _categories(annotations: Annotations) -> NDArray[np.int64]:
    """Category ``[N]`` of each object, 0 for regions."""
    known = {name: number for number, name in enumerate(CLASSES, 1)}
    numbers = np.array([*(known.get(name.lower(), -1) for name in annotations.classes), 0], dtype=np.int64)
    category: NDArray[np.int64] = numbers[annotations.labels]
    if (category < 0).any():
        name = annotations.classes[int(annotations.labels[np.argmax(category < 0)])]
        raise InputError(f"class {name!r} has no category in VisDrone ({', '.join(CLASSES)}); {MAPPED.format(name)}")
    return category
