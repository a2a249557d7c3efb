"""Detections as DOTA's server takes them (spec section 2.4): a text file a class, in a folder or a zip.

Task 1: ``image score x1 y1 ... x4 y4`` in ``Task1_<class>.txt``. Task 2: ``image score xmin ymin xmax ymax`` in
``Task2_<class>.txt``. Images are named without suffix, coordinates are px of the whole image.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.dota import CORNERS, check_class_names
from d2det_geo.data.formats.dota_corners import bounds, corners, polygons
from d2det_geo.data.formats.dota_merge import merged
from d2det_geo.data.formats.dota_patches import bare_name, patch_of
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, read_text
from d2det_geo.data.formats.image_files import row_by_stem
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import listed, row_text
from d2det_geo.data.formats.tables import Layout, Table, read_table
from d2det_geo.data.formats.zip_file import opened_zip, unpacked
from d2det_geo.errors import InputError

Task: TypeAlias = Literal[1, 2]
_LAYOUTS = {
    1: Layout(("image", "score", *CORNERS), 10, words=("image",), separator=" "),
    2: Layout(("image", "score", "xmin", "ymin", "xmax", "ymax"), 6, words=("image",), separator=" "),
}
THRESHOLD = 0.3
"""IoU above which of detections of patches only the surest is kept, as in the devkit."""
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def read_task1(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read turned boxes of the images of a truth: ``outlines`` have the four corners, ``boxes`` go around them.

    Args:
        path: folder or zip of ``Task1_<class>.txt``.
        truth: what they are detections of.
        reading: its notices name the classes without a file; ``merge_patches``.

    Raises:
        InputError: a wrong line, or an image or a class the truth does not have.
    """
    return _read(path, truth, reading, 1)


def read_task2(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read boxes of the images of a truth, ``(xmin, ymin, xmax, ymax)`` as they are in the files.

    Args:
        path: folder or zip of ``Task2_<class>.txt``.
        truth: what they are detections of.
        reading: its notices name the classes without a file; ``merge_patches``.

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
    ordered = [(label, tables[name]) for label, name in enumerate(truth.classes) if name in tables]
    read_images = _patch_rows if reading.merge_patches else _whole_rows
    images, image = read_images([table for _, table in ordered], truth.images)
    numbers = np.concatenate([table.numbers for _, table in ordered])
    if task == 1:
        quads = numbers[:, 1:].reshape(-1, 4, 2)
        boxes, outlines = bounds(quads), polygons(quads)
    else:
        for _, table in ordered:
            _check_order(table)
        boxes, outlines = numbers[:, 1:], None
    found = Annotations(
        images=images,
        classes=truth.classes,
        image=image,
        boxes=boxes,
        labels=np.repeat([label for label, _ in ordered], [len(table) for _, table in ordered]).astype(np.int64),
        ignored=np.zeros(len(image), dtype=np.bool_),
        scores=numbers[:, 0],
        outlines=outlines,
    )
    return _merged(found, truth, path, reading, task) if reading.merge_patches else found


def _merged(found: Annotations, truth: Annotations, path: Path, reading: Reading, task: Task) -> Annotations:
    """Bring detections of patches to the images of a truth."""
    kept = merged(found, truth.images, THRESHOLD, task=task)
    reading.notices.append(
        f"{path}: {len(found):,} detections of patches merged into {len(kept):,} of whole images, "
        f"of those that overlap by more than {THRESHOLD:g} the surest"
    )
    return kept


def _check_order(table: Table) -> None:
    for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
        table.refuse(table.column(high) < table.column(low), lambda _, h=high, lo=low: f"{h} is less than {lo}")  # type: ignore[misc]


_Placed: TypeAlias = tuple[Images, NDArray[np.int64]]


def _whole_rows(tables: list[Table], images: Images) -> _Placed:
    """Find the images of rows ``[N]`` of tables."""
    rows = row_by_stem(images)
    return images, np.concatenate([_rows_in(table, lambda name: _whole_row(name, rows), rows) for table in tables])


def _patch_rows(tables: list[Table], images: Images) -> _Placed:
    """Find the patches of rows ``[N]`` of tables, and the set of them; whole images may be among them."""
    rows, names = row_by_stem(images), dict[str, int]()

    def row_of(name: str) -> int:
        patch = patch_of(bare_name(name))
        known = _whole_row(name, rows) >= 0 or (patch is not None and patch.image in rows)
        return names.setdefault(name, len(names)) if known else -1

    image = np.concatenate([_rows_in(table, row_of, rows) for table in tables])
    numbers, none = np.arange(1, len(names) + 1), np.zeros((len(names), 2), np.int64)
    return Images(filled(list(names)), numbers, none), image


def _rows_in(table: Table, row_of: Callable[[str], int], rows: Mapping[str, int]) -> NDArray[np.int64]:
    if not len(table):
        return np.zeros(0, dtype=np.int64)
    codes, names = table.words["image"]
    found = np.array([row_of(name) for name in names], dtype=np.int64)[codes]
    table.refuse(found < 0, lambda row: _no_image(names[codes[row]], rows))
    return found


def _whole_row(name: str, rows: Mapping[str, int]) -> int:
    return rows.get(name, rows.get(_stem(name), -1))


def _stem(name: str) -> str:
    """Drop folders and the suffix of an image: what else follows a dot, as in ``P1.7``, is part of the name."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _no_image(name: str, rows: Mapping[str, int]) -> str:
    patch = patch_of(bare_name(name))
    if patch is not None and patch.image in rows:
        return f"image {name!r} is a patch of {patch.image!r}; merge detections of patches with --merge-patches"
    return f"the truth has no image {name[:80]!r}; take the line away or add its truth"


def _texts(path: Path, task: Task) -> Iterator[tuple[str, str, str]]:
    """Give source, class and text of each file of detections.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    prefix, wanted = f"Task{task}_", f"detections named like Task{task}_plane.txt"
    if path.suffix.lower() == ".zip" and path.is_file():
        found = list(_zipped(path, prefix, wanted))
    else:
        files = files_in(path, frozenset({".txt"}), wanted)
        found = [(str(file), file.stem, read_text(file, wanted)) for file in files if file.name.startswith(prefix)]
    if not found:
        raise InputError(f"{path}: holds no {prefix}<class>.txt; give a folder or zip of {wanted}")
    for source, stem, text in found:
        yield source, stem.removeprefix(prefix), text


def _zipped(path: Path, prefix: str, wanted: str) -> Iterator[tuple[str, str, str]]:
    with opened_zip(path, wanted) as archive:
        names = {member.filename: PurePosixPath(member.filename) for member in archive.infolist()}
        chosen = [name for name, file in names.items() if file.name.startswith(prefix) and file.suffix == ".txt"]
        for name, data in unpacked(archive, [archive.getinfo(name) for name in sorted(chosen)], path):
            yield f"{path}/{name}", names[name].stem, _decoded(data, f"{path}/{name}")


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not text in UTF-8 (byte {error.start}); write it again") from error


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
