"""DOTA's labelTxt, v1.0, v1.5 and v2.0 (spec section 2.1): one text file an image, four corners an object.

Corners are kept as they are in the files, and so are the boxes around them; the official scripts take the difference of
two coordinates plus one for a width where they compare boxes, which is the protocol's business.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats.dota_corners import bounds, corners, polygons
from d2det_geo.data.formats.files import files_in, read_text
from d2det_geo.data.formats.image_files import ImageFolder, row_by_stem
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import row_text
from d2det_geo.data.formats.tables import Layout, Table, read_table
from d2det_geo.errors import InputError

V1_0 = (
    "plane",
    "baseball-diamond",
    "bridge",
    "ground-track-field",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "tennis-court",
    "basketball-court",
    "storage-tank",
    "soccer-ball-field",
    "roundabout",
    "harbor",
    "swimming-pool",
    "helicopter",
)
V1_5 = (*V1_0, "container-crane")
V2_0 = (*V1_5, "airport", "helipad")
CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")

_LABELS = Layout((*CORNERS, "category", "difficult"), 9, words=("category",), separator=" ")
_TEXT = frozenset({".txt"})


def read(path: Path, reading: Reading) -> Annotations:
    """Read labels of images.

    Images are those with a text file, also an empty one. Their names and sizes come from ``reading.images``, or the
    folder ``images`` beside ``labelTxt``; without either names end with ``.png`` and sizes are 0. Classes are those of
    the first of v1.0, v1.5 and v2.0 that has all names used, or ``reading.class_names``. A difficulty of 1, or of 2 as
    the devkit gives what it cut, makes an object ignored. The official scripts pass over lines of fewer than nine
    words; here they are refused, but for blank ones and the header.

    Args:
        path: folder of the text files, or of ``labelTxt``.
        reading: see above.

    Raises:
        InputError: no such folder, a wrong line, an unknown class, or an image that is missing.
    """
    folder = path / "labelTxt" if (path / "labelTxt").is_dir() else path
    files = files_in(folder, _TEXT, "DOTA labels (labelTxt)")
    for file in files:
        if file.name.startswith(("Task1_", "Task2_")):
            raise InputError(
                f"{file}: holds detections; read it as {file.name[:5].replace('T', 'dota-t')}, not as labels"
            )
    texts = [read_text(file, "DOTA labels") for file in files]
    gsd = np.array([_gsd(file, text) for file, text in zip(files, texts, strict=True)])
    beside = path / "images" if folder != path and (path / "images").is_dir() else None
    images = ImageFolder.of(reading.images or beside, ".png").images(
        [file.stem for file in files], folder, None if np.isnan(gsd).all() else gsd
    )
    tables = [read_table(file, _headless(text), _LABELS) for file, text in zip(files, texts, strict=True)]
    classes = reading.class_names or _version(tables)
    difficult = np.concatenate([_difficult(table) for table in tables])
    quads = np.concatenate([table.numbers[:, :8] for table in tables]).reshape(-1, 4, 2)
    return Annotations(
        images=images,
        classes=classes,
        image=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        boxes=bounds(quads),
        labels=np.concatenate([_labels(table, classes) for table in tables]),
        ignored=difficult > 0,
        outlines=polygons(quads),
        columns={"difficult": difficult},
    )


def _header(text: str) -> dict[int, str]:
    """Find the lines of the header: of the first two those that are no objects."""
    lines = text.split("\n", 2)[:2]
    return {row: line for row, line in enumerate(lines) if line.lower().startswith(("imagesource:", "gsd:"))}


def _headless(text: str) -> str:
    """Blank the header; lines keep their numbers."""
    header, lines = _header(text), text.split("\n", 2)
    return "\n".join("" if row in header else line for row, line in enumerate(lines))


def _gsd(file: Path, text: str) -> float:
    """Read the GSD, m/px, of an image; NaN where its file does not say."""
    for row, line in _header(text).items():
        name, _, said = line.partition(":")
        if name.lower() != "gsd" or said.strip().lower() in {"", "null", "none", "nan"}:
            continue
        try:
            value = float(said)
        except ValueError:
            value = -1.0
        if not 0 < value < np.inf:
            raise InputError(f"{file}:{row + 1}: gsd is {said.strip()[:40]!r}; give m/px above 0, or null")
        return value
    return float("nan")


def _version(tables: list[Table]) -> tuple[str, ...]:
    used = {name for table in tables for name in (table.words["category"][1] if len(table) else ())}
    return next((names for names in (V1_0, V1_5) if used <= set(names)), V2_0)


def _labels(table: Table, classes: tuple[str, ...]) -> NDArray[np.int64]:
    if not len(table):
        return np.zeros(0, dtype=np.int64)
    codes, names = table.words["category"]
    labels: NDArray[np.int64] = np.array([classes.index(name) if name in classes else -1 for name in names])[codes]
    table.refuse(
        labels < 0,
        lambda row: (
            f"class {names[codes[row]][:40]!r} is not one of {', '.join(classes)}; correct it, or name the classes"
        ),
    )
    return labels


def _difficult(table: Table) -> NDArray[np.int64]:
    values = np.nan_to_num(table.column("difficult"))
    table.refuse(~np.isin(values, (0, 1, 2)), lambda row: f"difficult is {values[row]:g}; give 0, 1 or 2")
    return values.astype(np.int64)


def write(annotations: Annotations, path: Path) -> None:
    """Write ``labelTxt``, one file an image, also for images without objects.

    Regions have no place in it and are left out. Outlines of more than four corners become rectangles.

    Args:
        annotations: of any classes whose names hold no space.
        path: a folder that does not exist yet.

    Raises:
        InputError: a name of a class holds a space, or two images have the same name but for folder and suffix.
    """
    check_class_names(annotations.classes)
    stems = row_by_stem(annotations.images)
    kept = annotations.rows(annotations.labels != REGION)
    said = kept.columns.get("difficult", kept.ignored.astype(np.int64))
    difficult = np.where(kept.ignored, np.maximum(said, 1), 0)
    quads = corners(kept).reshape(-1, 8)
    names = np.array([*kept.classes, ""], dtype=object)[kept.labels]
    order, ends = kept.by_image()
    folder = path / "labelTxt"
    folder.mkdir(parents=True)
    gsd = annotations.images.gsd_m
    for stem, image in stems.items():
        rows = order[ends[image] : ends[image + 1]]
        header = (
            ""
            if gsd is None
            else f"imagesource:null\ngsd:{'null' if np.isnan(gsd[image]) else repr(float(gsd[image]))}\n"
        )
        text = header + row_text([*quads[rows].T, names[rows], difficult[rows]], " ")
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8", newline="\n")


def check_class_names(classes: tuple[str, ...]) -> None:
    """Refuse names of classes that DOTA's lines and file names cannot hold.

    Raises:
        InputError: a name is empty or holds a space or a slash.
    """
    for name in classes:
        if not name or any(letter.isspace() or letter in "/\\\0" for letter in name):
            raise InputError(f"class {name!r} cannot be written for DOTA; rename it without spaces and slashes")
