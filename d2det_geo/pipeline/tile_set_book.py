"""The COCO files of a tiled set, put together from what each scene left: one line of JSON a chip."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2det_geo.annotations import Annotations
from d2det_geo.data.formats.files import natural_key

FLAT, OUTSIDE = "no area", "no part inside the image"
"""Reasons to leave out an object."""


@dataclass(frozen=True, slots=True)
class ChipRow:
    """What is known of a chip."""

    image: dict[str, Any]
    """Its row of ``images`` without ``id``."""
    annotations: list[dict[str, Any]]
    """Its rows of ``annotations`` without ``image_id``; ``id`` counts from 0 in each chip."""
    used: int
    """Annotation ids the chip takes up."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> objects left out."""


@dataclass(frozen=True, slots=True)
class Book:
    """A COCO file to be made."""

    path: str
    """In the folder of output."""
    description: str
    categories: tuple[tuple[int, str], ...]
    """Ids and names in the order of the file."""
    labelled: bool = True
    """Otherwise it has no ``annotations``: nothing is known, not: nothing is there."""
    first_image: int = 1
    first_annotation: int | None = 1
    """Id of the first annotation; None goes on from the book before."""
    seen_only: bool = False
    """List only categories that occur, in the order they occur in all books so far, as iSAID's devkit does."""


@dataclass(slots=True)
class Tally:
    """What is in the books of an output."""

    chips: int = 0
    annotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def outside(objects: Annotations, edges: tuple[int, int]) -> dict[str, int]:
    """Count the objects of a scene that no chip can show, as they lie beside it.

    Args:
        objects: of the scene.
        edges: where what is visible ends, px.
    """
    x1, y1, x2, y2 = objects.boxes.T
    count = int(((x1 >= edges[0]) | (x2 <= 0) | (y1 >= edges[1]) | (y2 <= 0)).sum())
    return {OUTSIDE: count} if count else {}


def write_rows(path: Path, rows: Iterable[ChipRow]) -> None:
    """Write what is known of the chips of a scene; the file appears when all of it is there."""
    lines = [
        json.dumps(
            {"image": row.image, "annotations": row.annotations, "used": row.used, "left_out": row.left_out},
            allow_nan=False,
        )
        for row in rows
    ]
    temporary = path.with_suffix(".part")
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    temporary.replace(path)


def write_books(folder: Path, books: Sequence[tuple[Book, Sequence[Path]]]) -> Tally:
    """Write the COCO files of an output from the rows of its scenes, few of them in memory at a time.

    Images are in natural order of their names.

    Args:
        folder: of the output.
        books: each with the files of rows of its scenes.
    """
    tally, seen, next_id = Tally(), dict[int, None](), 1
    for book, files in books:
        if book.first_annotation is not None:
            next_id = book.first_annotation
        order = sorted(_lines(files), key=lambda line: natural_key(line[0]))
        with (folder / book.path).open("w", encoding="utf-8") as target:
            target.write(f'{{"info": {json.dumps({"description": book.description})}, "images": [')
            for index, (_, file, place) in enumerate(order):
                image = {"id": book.first_image + index, **_row(file, place)["image"]}
                target.write(("" if index == 0 else ", ") + json.dumps(image))
            target.write("]")
            if book.labelled:
                target.write(', "annotations": [')
                next_id = _write_annotations(target.write, book, order, next_id, tally, seen)
                target.write("]")
            names = dict(book.categories)
            listed = [(number, names[number]) for number in seen] if book.seen_only else book.categories
            categories = [{"id": number, "name": name} for number, name in listed]
            target.write(f', "categories": {json.dumps(categories)}}}\n')
        tally.chips += len(order)
    return tally


def _write_annotations(write: Any, book: Book, order: Any, next_id: int, tally: Tally, seen: dict[int, None]) -> int:
    separator = ""
    for index, (_, file, place) in enumerate(order):
        row = _row(file, place)
        for annotation in row["annotations"]:
            number = {"id": next_id + annotation["id"], "image_id": book.first_image + index}
            write(separator + json.dumps({**annotation, **number}))
            separator = ", "
            seen.setdefault(annotation["category_id"])
        next_id += row["used"]
        tally.annotations += len(row["annotations"])
        tally.left_out.update(row["left_out"])
    return next_id


def _lines(files: Sequence[Path]) -> Iterator[tuple[str, Path, int]]:
    """Name the image of each line, its file and where it begins."""
    for file in files:
        place = 0
        with file.open("rb") as lines:
            for line in lines:
                yield json.loads(line)["image"]["file_name"], file, place
                place += len(line)


def _row(file: Path, place: int) -> Mapping[str, Any]:
    with file.open("rb") as lines:
        lines.seek(place)
        row: Mapping[str, Any] = json.loads(lines.readline())
    return row
