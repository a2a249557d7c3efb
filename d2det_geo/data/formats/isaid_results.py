"""What iSAID's evaluation server takes: a zip with one COCO results list of masks."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.data.formats import coco
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.isaid_classes import LABELS, normalised
from d2det_geo.data.formats.json_file import load_json, parse_json
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.zip_file import opened_zip, unpacked
from d2det_geo.errors import InputError
from d2det_geo.runs import of_lengths, whole
from d2det_geo.vector.repair import parts_without_holes

MEMBER = "instance_result.json"
"""In the zip. No source says what the server wants it to be called; users call the zip ``instance_result.zip``."""
_AT_ONCE = 10_000  # rows turned into text at once
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip knows: the same results are the same bytes
_WHAT = "iSAID results: a zip of one COCO results list, or the list itself"


def write_results(predictions: Annotations, path: Path) -> None:
    """Write a zip for the server: ``image_id``, official ``category_id``, run lengths and ``score`` of each mask.

    The order is that of ``predictions``, on which AP depends among equal scores. The name of the file in the zip,
    ``instance_result.json``, is a guess: nobody documents it.

    Args:
        predictions: of iSAID's patches, with scores and outlines; classes by any spelling of their names.
        path: of the zip.

    Raises:
        InputError: a detection has no outline, an image no size, or a class is none of iSAID's.
    """
    numbers = np.array([_official(name) for name in predictions.classes], np.int64)
    member = zipfile.ZipInfo(MEMBER, _DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    with zipfile.ZipFile(path, "w") as archive, archive.open(member, "w", force_zip64=True) as file:
        file.write(b"[")
        for text in _rows(predictions, numbers):
            file.write(text.encode())
        file.write(b"]\n")


def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read the server's zip, or the COCO results list in it.

    Args:
        path: a zip of exactly one file, or a JSON file.
        truth: the images and classes that may be referred to.
        reading: not used.

    Raises:
        InputError: neither, the zip holds something else or too much, or a row is wrong; names file and row.
    """
    try:
        packed = zipfile.is_zipfile(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of {_WHAT}") from error
    if not packed:
        return coco.results_of(load_json(path, _WHAT), path, truth)
    with opened_zip(path, _WHAT) as archive:
        name, data = _only_member(archive, path)
    where = f"{path}: {name}"
    return coco.results_of(parse_json(data, where, _WHAT), where, truth)


def _only_member(archive: zipfile.ZipFile, path: Path) -> tuple[str, bytes]:
    members = archive.infolist()
    if len(members) != 1 or members[0].is_dir():
        names = ", ".join(member.filename for member in members[:3]) or "nothing"
        raise InputError(f"{path}: must hold exactly one JSON file, holds {names}; give {_WHAT}")
    return next(unpacked(archive, members, path))


def _official(name: str) -> int:
    label = LABELS.get(normalised(name))
    if label is None:
        raise InputError(f"class {name!r:.60} is none of iSAID's 15; rename it, or write results as coco")
    return label + 1


def _rows(predictions: Annotations, numbers: NDArray[np.int64]) -> Iterator[str]:
    """Write detections as rows of JSON, some at a time."""
    for start in range(0, len(predictions), _AT_ONCE):
        part = predictions.rows(np.arange(start, min(start + _AT_ONCE, len(predictions))))
        sizes = part.images.sizes[part.image]
        masks = whole([_runs(part, row, sizes[row]) for row in range(len(part))], sizes)
        scores = np.ones(len(part)) if part.scores is None else part.scores
        columns = (part.images.ids[part.image], numbers[part.labels], scores, sizes)
        rows = zip(masks, *(column.tolist() for column in columns), strict=True)
        yield (",\n" if start else "\n") + ",\n".join(json.dumps(_row(*values)) for values in rows)


def _row(runs: Runs, image: int, category: int, score: float, size: list[int]) -> dict[str, Any]:
    mask = {"size": size[::-1], "counts": runs.counts.decode("ascii")}
    return {"image_id": image, "category_id": category, "segmentation": mask, "score": score}


def _runs(part: Annotations, row: int, size: NDArray[np.int64]) -> Runs:
    """Give the mask of a detection; of a polygon, as COCO rasterises it."""
    outline = None if part.outlines is None else part.outlines[row]
    name, (width, height) = part.images.names[part.image[row]], size.tolist()
    if outline is None:
        raise InputError(f"{name}: a detection has no outline; iSAID is scored by masks, predict with a mask model")
    if width < 1 or height < 1:
        raise InputError(f"{name}: its size is not known; give the folder of the images")
    if isinstance(outline, Runs):
        if min(outline.x, outline.y, width - outline.x - outline.width, height - outline.y - outline.height) < 0:
            raise InputError(f"{name}: a mask of {outline.width} x {outline.height} px leaves the image; correct it")
        return outline
    parts, _ = parts_without_holes(filled([outline]))
    rings = [shapely.get_coordinates(piece.exterior)[:-1].ravel() for piece in parts]
    if not rings:
        return of_lengths([width * height], width, height)
    packed = coco_mask.merge(coco_mask.frPyObjects([ring.tolist() for ring in rings], height, width))
    return Runs(0, 0, width, height, packed["counts"])
