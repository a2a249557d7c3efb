"""COCO JSON: objects in the pixels of the scene, written while they come."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.grid import on_grid
from d2det_geo.vector.json_text import annotations_text, rows_text
from d2det_geo.vector.repair import parts_without_holes
from d2det_geo.vector.rings import Rings, rings_of

DIGITS = 3
"""Decimals of coordinates, px."""
_ROWS = 16_384  # objects turned into text at once: some 10 MB
_BETWEEN = ",\n"
_ROW = _BETWEEN + '{"id":%s,"image_id":1,"category_id":%s,"iscrowd":0,"area":%s,"bbox":[%s,%s,%s,%s]'
_SCORE = ',"score":%s'
_SEGMENTATION = ',"segmentation":'


class CocoSink:
    """One image, and an annotation for each object.

    A COCO polygon has no holes: an object with holes is cut, along lines through them, into several polygons
    without, which together are the object.
    """

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, path: Path) -> None:
        self.dropped = 0
        self._categories = {name: number for number, name in enumerate(layer.classes, start=1)}
        self._count = 0
        self._file = path.open("wb")
        image = {"id": 1, "file_name": layer.scene, "width": layer.width, "height": layer.height}
        head = {"images": [image], "categories": [{"id": i, "name": name} for name, i in self._categories.items()]}
        text = json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [\n'
        self._file.write(text.encode(errors="replace"))

    def write(self, features: Features) -> None:
        """Add objects; those smaller than the last decimal are dropped and counted."""
        for piece in features.pieces(_ROWS):
            rings = _outlines(piece.pixels)
            kept = np.diff(rings.ends, prepend=0) > 0
            self.dropped += int((~kept).sum())
            self._add(piece.chosen(kept), rings.take(np.flatnonzero(kept)))

    def finish(self) -> None:
        """Complete the file."""
        self._file.write(b"\n]}\n")
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        with suppress(OSError):  # what is not on the disk yet does not matter any more
            self._file.close()

    def _add(self, features: Features, rings: Rings) -> None:
        count = len(rings)
        low, high = (corner / 10**DIGITS for corner in rings.spans())
        size = np.round(high - low, DIGITS)
        names = features.columns["class"].tolist()
        values = [
            self._count + np.arange(1, count + 1),
            np.array([self._categories[name] for name in names], np.int64),
            np.round(shapely.area(features.pixels), DIGITS),
            *(low[:, 0], low[:, 1], size[:, 0], size[:, 1]),
        ]
        pattern = _ROW
        if "score" in features.columns:
            pattern += _SCORE
            values.append(features.columns["score"])
        text = annotations_text(*rows_text(pattern + _SEGMENTATION, values, count), rings, DIGITS)
        self._file.write(text if self._count else text[len(_BETWEEN) :])
        self._count += count


def _outlines(polygons: NDArray[np.object_]) -> Rings:
    """Make rings on the grid of (Multi)Polygons ``[N]``, each of parts without holes."""
    flat, owners = parts_without_holes(polygons)
    rings = on_grid(rings_of(flat), DIGITS)
    # Pieces were rounded one by one, for together they touch along the cuts.
    last = np.cumsum(np.bincount(owners, minlength=len(polygons)))
    ends = np.concatenate([np.zeros(1, np.int64), rings.ends])[last]
    return replace(rings, ends=ends, multi=np.ones(len(polygons), np.bool_))
