"""Detections as DOTA's server takes them (spec section 2.4): a text file a class, in a folder or a zip.

Task 1: ``image score x1 y1 ... x4 y4`` in ``Task1_<class>.txt``. Task 2: ``image score xmin ymin xmax ymax`` in
``Task2_<class>.txt``. Images are named without suffix, coordinates are px of the whole image.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.data.formats.dota import CORNERS, check_class_names
from d2det_geo.data.formats.dota_corners import bounds, corners, polygons
from d2det_geo.data.formats.dota_patches import patch_of
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, read_text
from d2det_geo.data.formats.image_files import row_by_stem
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import listed, row_text
from d2det_geo.data.formats.tables import Layout, Table, read_table
from d2det_geo.errors import InputError

Task: TypeAlias = Literal[1, 2]
_LAYOUTS = {
    1: Layout(("image", "score", *CORNERS), 10, words=("image",), separator=" "),
    2: Layout(("image", "score", "xmin", "ymin", "xmax", "ymax"), 6, words=("image",), separator=" "),
}
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def read_task1(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read turned boxes of the images of a truth: ``outlines`` have the four corners, ``boxes`` go around them.

    Args:
        path: folder or zip of ``Task1_<class>.txt``.
        truth: what they are detections of.
        reading: its notices name the classes without a file.

    Raises:
        InputError: a wrong line, or an image or a class the truth does not have.
    """
    return _read(path, truth, reading, 1)


def read_task2(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read boxes of the images of a truth, ``(xmin, ymin, xmax, ymax)`` as they are in the files.

    Args:
        path: folder or zip of ``Task2_<class>.txt``.
        truth: what they are detections of.
        reading: its notices name the classes without a file.

    Raises:
        InputError: a wrong line, or an image or a class the truth does not have.
    """
    return _read(path, truth, reading, 2)


def _read(path: Path, truth: Annotations, reading: Reading, task: Task) -> Annotations:
    tables: dict[str, Table] = {}
    for source, name, text in _texts(path, task):
        if name not in truth.classes:
            raise InputError(f"{source}:1: the truth has no class {name!r}; its classes are {', '.join(truth.classes)}")
        if name in tables:
            raise InputError(f"{source}: there is also {tables[name].source}; keep one file of a class")
        tables[name] = read_table(source, text, _LAYOUTS[task])
    without = [name for name in truth.classes if name not in tables]
    if without:
        reading.notices.append(f"{path}: has no file of {listed(without)}; nothing was found of it")
    rows = row_by_stem(truth.images)
    ordered = [(label, tables[name]) for label, name in enumerate(truth.classes) if name in tables]
    image = np.concatenate([_image_rows(table, rows) for _, table in ordered])
    numbers = np.concatenate([table.numbers for _, table in ordered])
    if task == 1:
        quads = numbers[:, 1:].reshape(-1, 4, 2)
        boxes, outlines = bounds(quads), polygons(quads)
    else:
        for _, table in ordered:
            _check_order(table)
        boxes, outlines = numbers[:, 1:], None
    return Annotations(
        images=truth.images,
        classes=truth.classes,
        image=image,
        boxes=boxes,
        labels=np.repeat([label for label, _ in ordered], [len(table) for _, table in ordered]).astype(np.int64),
        ignored=np.zeros(len(image), dtype=np.bool_),
        scores=numbers[:, 0],
        outlines=outlines,
    )


def _check_order(table: Table) -> None:
    for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
        table.refuse(table.column(high) < table.column(low), lambda _, h=high, lo=low: f"{h} is less than {lo}")  # type: ignore[misc]


def _image_rows(table: Table, rows: dict[str, int]) -> NDArray[np.int64]:
    if not len(table):
        return np.zeros(0, dtype=np.int64)
    codes, names = table.words["image"]
    found = np.array([rows.get(name, rows.get(_stem(name), -1)) for name in names], dtype=np.int64)[codes]
    table.refuse(found < 0, lambda row: _no_image(names[codes[row]], rows))
    return found


def _stem(name: str) -> str:
    """Drop folders and the suffix of an image: what else follows a dot, as in ``P1.7``, is part of the name."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _no_image(name: str, rows: dict[str, int]) -> str:
    patch = patch_of(name)
    if patch is not None and patch.image in rows:
        return f"image {name!r} is a patch of {patch.image!r}; merge detections of patches into the whole images first"
    return f"the truth has no image {name[:80]!r}; take the line away or add its truth"


def _texts(path: Path, task: Task) -> Iterator[tuple[str, str, str]]:
    """Give source, class and text of each file of detections.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    prefix, wanted = f"Task{task}_", f"detections named like Task{task}_plane.txt"
    if path.suffix.lower() == ".zip" and path.is_file():
        found = list(_zipped(path, prefix))
    else:
        files = files_in(path, frozenset({".txt"}), wanted)
        found = [(str(file), file.stem, read_text(file, wanted)) for file in files if file.name.startswith(prefix)]
    if not found:
        raise InputError(f"{path}: holds no {prefix}<class>.txt; give a folder or zip of {wanted}")
    for source, stem, text in found:
        yield source, stem.removeprefix(prefix), text


def _zipped(path: Path, prefix: str) -> Iterator[tuple[str, str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                member = PurePosixPath(name)
                if member.name.startswith(prefix) and member.suffix == ".txt":
                    yield f"{path}/{name}", member.stem, archive.read(name).decode("utf-8-sig")
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as a zip ({error}); write it again") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a file in it is not text in UTF-8 (byte {error.start}); write it again") from error


def write_task1(annotations: Annotations, path: Path) -> None:
    """Write turned boxes: the corners of outlines that have four, the least rectangle around others, or the box.

    Args:
        annotations: with scores.
        path: a folder that does not exist yet; or a file that ends with ``.zip``, as the server takes it.

    Raises:
        InputError: a name of a class holds a space, or two images have the same name but for folder and suffix.
    """
    _write(annotations, path, 1, corners(annotations).reshape(-1, 8))


def write_task2(annotations: Annotations, path: Path) -> None:
    """Write boxes. Arguments and errors as of ``write_task1``."""
    _write(annotations, path, 2, annotations.boxes)


def _write(annotations: Annotations, path: Path, task: Task, places: NDArray[np.float64]) -> None:
    if annotations.scores is None:
        raise ValueError("detections have scores")
    check_class_names(annotations.classes)
    stems = np.empty(len(annotations.images), dtype=object)
    for stem, row in row_by_stem(annotations.images).items():
        if any(letter.isspace() for letter in stem):
            raise InputError(f"image {stem!r} cannot be written for DOTA; rename it without spaces")
        stems[row] = stem
    texts = {}
    for label, name in enumerate(annotations.classes):
        rows = np.flatnonzero(annotations.labels == label)
        columns = [stems[annotations.image[rows]], annotations.scores[rows], *places[rows].T]
        texts[f"Task{task}_{name}.txt"] = row_text(columns, " ")
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text, zipfile.ZIP_DEFLATED)
        return
    path.mkdir(parents=True)
    for name, text in texts.items():
        (path / name).write_text(text, encoding="utf-8", newline="\n")
