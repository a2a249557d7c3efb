"""YOLO text, written: ``labels/<image>.txt`` and ``data.yaml`` with the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
import yaml
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.data.formats.files import inside
from d2det_geo.data.formats.yolo_names import DATA
from d2det_geo.errors import InputError

_DIGITS = 9  # of a share: a hundredth of a thousandth of a px in the widest scene


def write(annotations: Annotations, path: Path) -> None:
    """Write truth or, where there are scores, detections: a file for each image, also one without objects.

    An outline of one ring is written as one, all others as their boxes. What is ignored cannot be said in YOLO and must
    have been left out.

    Args:
        annotations: of images whose sizes are known.
        path: folder to make.

    Raises:
        InputError: the size of an image is not known, two images differ in their suffix only, or a name leads out of
            the folder.
    """
    if annotations.ignored.any():
        raise ValueError("YOLO rows cannot be ignored")
    path.mkdir()
    names = dict(enumerate(annotations.classes))
    text = yaml.safe_dump({"names": names}, allow_unicode=True, sort_keys=False)
    (path / DATA).write_text(text, encoding="utf-8")
    labels = path / "labels"
    labels.mkdir()
    order, ends = annotations.by_image()
    for index, name in enumerate(annotations.images.names):
        file = inside(labels, str(Path(name).with_suffix(".txt")), f"image {name}")
        if file.exists():
            raise InputError(f"image {name}: {file.name} is another image's already; rename one of them")
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = order[ends[index] : ends[index + 1]]
        size = annotations.images.sizes[index]
        if len(rows) and not size.all():
            raise InputError(f"image {name}: its size is not known, of which YOLO rows are shares; give --images DIR")
        file.write_text("".join(_lines(annotations, rows, np.maximum(size, 1).astype(np.float64))), encoding="utf-8")


def _is_ring(outline: object) -> bool:
    """Tell whether an outline is one ring, which is all a row holds."""
    return isinstance(outline, shapely.Polygon) and not outline.is_empty and not outline.interiors


def _lines(annotations: Annotations, rows: NDArray[np.intp], size: NDArray[np.float64]) -> Iterator[str]:
    boxes = annotations.boxes[rows].reshape(-1, 2, 2)
    shares = np.concatenate([boxes.mean(axis=1), boxes[:, 1] - boxes[:, 0]], axis=1) / np.tile(size, 2)
    for row, share in zip(rows.tolist(), shares, strict=True):
        outline: shapely.Geometry | Runs | None = None if annotations.outlines is None else annotations.outlines[row]
        values = share
        if _is_ring(outline):
            values = (shapely.get_coordinates(shapely.get_exterior_ring(outline))[:-1] / size).ravel()
        numbers = [f"{value:.{_DIGITS}g}" for value in values.tolist()]
        if annotations.scores is not None:
            numbers.append(f"{annotations.scores[row]:.{_DIGITS}g}")
        yield f"{annotations.labels[row]} {' '.join(numbers)}\n"
