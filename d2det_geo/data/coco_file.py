"""The rows of a COCO JSON file, checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
)

from d2det_geo.errors import InputError


def _pairs(ring: list[float]) -> list[float]:
    if len(ring) % 2:
        raise ValueError(f"a polygon needs an even count of numbers, got {len(ring)}")
    return ring


Ring = Annotated[list[float], Field(min_length=6), AfterValidator(_pairs)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class ImageRow(_Row):
    """An image file."""

    id: int
    file_name: str = Field(min_length=1)
    width: PositiveInt
    height: PositiveInt
    gsd_m: PositiveFloat | None = None


class CategoryRow(_Row):
    """A class."""

    id: int
    name: str = Field(min_length=1)


class Runs(_Row):
    """Run lengths down the columns of a mask, plain or packed."""

    size: tuple[PositiveInt, PositiveInt]
    """Height, width, px."""
    counts: str | list[int]


# Told apart before they are checked, so that a message speaks of the one that was meant.
Outline = Annotated[
    Annotated[Runs, Tag("runs")] | Annotated[list[Ring], Tag("polygons")],
    Discriminator(lambda value: "runs" if isinstance(value, dict | Runs) else "polygons"),
]


class ObjectRow(_Row):
    """An object, or a crowd of them."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, PositiveFloat, PositiveFloat]
    """x, y, width, height, px."""
    iscrowd: Literal[0, 1] = 0
    segmentation: Outline | None = None


class CocoFile(_Row):
    """What is read of a COCO object detection file; other keys are left alone."""

    images: list[ImageRow] = Field(min_length=1)
    annotations: list[ObjectRow]
    categories: list[CategoryRow]


def read_coco(path: Path) -> CocoFile:
    """Read and check a file: every row whole, ids unique, every reference to a row that exists.

    Raises:
        InputError: unreadable, not JSON, not COCO, or a row is wrong; the message names it.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a COCO JSON file") from error
    try:
        data = CocoFile.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {_described(error)}; correct the file") from error
    images = _unique(path, "images", data.images)
    categories = _unique(path, "categories", data.categories)
    for index, row in enumerate(data.annotations):
        for key, known in (("image_id", images), ("category_id", categories)):
            if getattr(row, key) not in known:
                raise InputError(
                    f"{path}: annotations[{index}].{key}: the file has no id {getattr(row, key)}; correct the row"
                )
    return data


def _unique(path: Path, key: str, rows: Sequence[ImageRow | CategoryRow]) -> set[int]:
    counts = Counter(row.id for row in rows)
    repeated = [number for number, count in counts.items() if count > 1]
    if repeated:
        raise InputError(f"{path}: {key}: id {repeated[0]} appears {counts[repeated[0]]} times; make ids unique")
    return set(counts)


def _described(error: ValidationError) -> str:
    """The first problem: row, key, what is wrong, what was given."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return str(first["msg"])
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    given = "" if first["type"] == "missing" else f", got {first['input']!r:.60}"
    rest = error.error_count() - 1
    return f"{where or 'top level'}: {first['msg']}{given}" + (f" (and {rest} more)" if rest else "")
