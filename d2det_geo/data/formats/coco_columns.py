"""Columns of COCO rows: images with what is ours of them, boxes, areas, ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Images
from d2det_geo.data.formats.coco_outlines import Outlines, filled
from d2det_geo.data.formats.files import image_size, inside
from d2det_geo.data.formats.json_rows import FARTHEST, Rows, flattened, numbers_of
from d2det_geo.errors import InputError

_LEAST_GSD, _MOST_GSD = 1e-6, 1e6  # m/px
_WINDOW = "[x, y, width, height], integers in px of the scene"


def read_images(rows: Rows, folder: Path | None) -> Images:
    """Read the list of images.

    ``file_name`` becomes the name. Ours are ``gsd_m``, m/px; ``window`` and ``scene``, which say what an image was cut
    from, and ``tags``, a list of words; they are read when every image has them, ``gsd_m`` where an image has it.

    Args:
        rows: at least one.
        folder: of the images; those whose rows say no ``width`` and ``height`` are measured there.

    Raises:
        InputError: there is none, a row is wrong, or an id or a name is there twice; names the row.
    """
    if not len(rows):
        raise InputError(f"{rows.where} is empty; a set needs at least 1 image")
    names, ids = rows.names("file_name"), rows.ids()
    gsd_m = rows.optional_numbers("gsd_m", _LEAST_GSD, _MOST_GSD)
    return Images(
        names=filled(names),
        ids=ids,
        sizes=_sizes(rows, names, folder),
        groups=filled(rows.texts("scene")) if _all_have(rows, "scene") else None,
        windows=_windows(rows) if _all_have(rows, "window") else None,
        gsd_m=None if np.isnan(gsd_m).all() else gsd_m,
        tags=_tags(rows) if _all_have(rows, "tags") else {},
    )


def _all_have(rows: Rows, key: str) -> bool:
    return None not in rows.values(key)


def _sizes(rows: Rows, names: list[str], folder: Path | None) -> NDArray[np.int64]:
    """Width and height ``[M, 2]``, px; a row that says one must say both."""
    stated = np.union1d(rows.given("width"), rows.given("height"))
    sizes = np.zeros((len(rows), 2), np.int64)
    chosen = rows.chosen(stated)
    sizes[stated] = np.column_stack([chosen.integers("width", least=1), chosen.integers("height", least=1)])
    for axis, key in enumerate(("width", "height")):
        if (sizes[:, axis] > FARTHEST).any():
            raise rows.wrong(int(np.argmax(sizes[:, axis])), key, f"an integer of 1 to {FARTHEST:g}, px")
    if folder is not None:
        for row in np.flatnonzero(sizes[:, 0] == 0).tolist():
            sizes[row] = image_size(inside(folder, names[row], rows.place(row, "file_name")))
    return sizes


def _windows(rows: Rows) -> NDArray[np.int64]:
    def good(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 4 and all(type(v) is int and abs(v) < 2**53 for v in value)

    windows = rows.values("window")
    if not all(map(good, windows)):
        raise rows.first_wrong("window", good, _WINDOW)
    return np.array(windows, np.int64)


def _tags(rows: Rows) -> dict[str, NDArray[np.bool_]]:
    def good(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)

    tags = rows.values("tags")
    if not all(map(good, tags)):
        raise rows.first_wrong("tags", good, "a list of words")
    words = list(dict.fromkeys(flattened(tags)))
    return {word: np.array([word in row for row in tags], np.bool_) for word in words}


def read_boxes(rows: Rows, outlines: Outlines) -> NDArray[np.float64]:
    """Read ``bbox`` as corners ``[N, 4]``; of a row without, those around its outline.

    Width and height may be 0: COCO's own train2017 has such a row.

    Args:
        rows: annotations or results.
        outlines: of the rows.

    Raises:
        InputError: a box is neither given nor implied, or is wrong; names the row.
    """
    given = rows.given("bbox")
    boxes = outlines.boxes.copy()
    missing = np.isnan(boxes[:, 0])
    missing[given] = False
    if missing.any():
        raise rows.wrong(int(np.argmax(missing)), "bbox", "[x, y, width, height] in px, for there is no segmentation")
    boxes[given] = _corners(rows.chosen(given))
    return boxes


def _corners(rows: Rows) -> NDArray[np.float64]:
    values = rows.values("bbox")
    if set(map(type, values)) <= {list} and set(map(len, values)) <= {4}:
        numbers = numbers_of(flattened(values))
        if numbers is not None:
            corners = numbers.reshape(-1, 4)
            sides = corners[:, 2:]
            if (np.abs(corners) <= FARTHEST).all() and (sides >= 0).all():
                sides += corners[:, :2]
                return corners

    def good(value: Any) -> bool:
        numbers = numbers_of(value) if isinstance(value, list) and len(value) == 4 else None
        if numbers is None or not (np.abs(numbers) <= FARTHEST).all():
            return False
        return bool(numbers[2:].min() >= 0)

    least = "width and height of at least 0"
    raise rows.first_wrong("bbox", good, f"[x, y, width, height] in px, up to {FARTHEST:g}, {least}")


def read_areas(rows: Rows, boxes: NDArray[np.float64], outlines: Outlines) -> NDArray[np.float64] | None:
    """Read ``area``, px ``[N]``; where a row states none, what its outline or else its box covers.

    Returns:
        None if no row states any.

    Raises:
        InputError: one is negative or no number; names the row.
    """
    stated = rows.optional_numbers("area", 0, FARTHEST**2)
    if np.isnan(stated).all():
        return None
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    covered = np.where(np.isnan(outlines.areas), width * height, outlines.areas)
    return np.where(np.isnan(stated), covered, stated)


def read_ids(rows: Rows) -> dict[str, NDArray[np.int64]]:
    """Read ``id`` as a column, if every row has it; 0 is an id like any other.

    Raises:
        InputError: two rows share one; names the row.
    """
    given = rows.given("id")
    ids = rows.chosen(given).ids()
    return {"id": ids} if len(given) == len(rows) and len(rows) else {}
