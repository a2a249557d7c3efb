"""GeoJSON after RFC 7946, as one collection or a feature a line, written while objects come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyproj

from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.grid import on_grid
from d2det_geo.vector.json_text import features_text, rows_text
from d2det_geo.vector.reproject import Reprojection

DIGITS = 7
"""Decimals of coordinates: a centimetre in degrees."""
_ROWS = 16_384  # objects turned into text at once: some 10 MB
_BETWEEN = ",\n"
_RECORD = "\x1e"  # starts a record of an RFC 8142 sequence


class GeoJsonSink:
    """One FeatureCollection; in degrees of WGS84, or in pixels where the layer has no CRS."""

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, path: Path) -> None:
        self._text = _Text(layer, crs, _BETWEEN)
        self._file = path.open("wb")
        self._begun = False
        self._file.write(b'{"type":"FeatureCollection","features":[\n')

    @property
    def dropped(self) -> int:
        """Objects that were smaller than the last decimal."""
        return self._text.dropped

    def write(self, features: Features) -> None:
        """Add objects."""
        for text in self._text.of(features):
            self._file.write(text if self._begun else text[len(_BETWEEN) :])
            self._begun = self._begun or len(text) > 0

    def finish(self) -> None:
        """Complete the file."""
        self._file.write(b"\n]}\n")
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        with suppress(OSError):  # what is not on the disk yet does not matter any more
            self._file.close()


class GeoJsonSeqSink:
    """A feature a line, each on its way as soon as it is written; without a path to standard output."""

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, path: Path | None = None) -> None:
        # A file called .geojsons is a sequence of RFC 8142, whose records start with a separator.
        records = path is not None and path.suffix.lower() == ".geojsons"
        self._text = _Text(layer, crs, _RECORD if records else "", b"\n")
        self._file = sys.stdout.buffer if path is None else path.open("wb")

    @property
    def dropped(self) -> int:
        """Objects that were smaller than the last decimal."""
        return self._text.dropped

    def write(self, features: Features) -> None:
        """Add objects."""
        for text in self._text.of(features):
            self._file.write(text)
        self._file.flush()

    def finish(self) -> None:
        """Complete the file."""
        self._file.flush()
        self._close()

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        with suppress(OSError):  # what is not on the disk yet does not matter any more
            self._close()

    def _close(self) -> None:
        if self._file is not sys.stdout.buffer:
            self._file.close()


class _Text:
    """Objects become text; those smaller than the last decimal are counted instead."""

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, before: str, end: bytes = b"") -> None:
        self.dropped = 0
        self._reprojection = Reprojection(layer, crs)
        names = [json.dumps(name, ensure_ascii=False).replace("%", "%%") for name in layer.columns]
        values = ",".join(f"{name}:%s" for name in names)
        self._pattern = f'{before}{{"type":"Feature","properties":{{{values}}},"geometry":'
        self._end = end

    def of(self, features: Features) -> Iterator[memoryview[int]]:
        """Write objects, some at a time."""
        for piece in features.pieces(_ROWS):
            rings = on_grid(self._reprojection.rings(piece.geometries), DIGITS)
            kept = np.diff(rings.ends, prepend=0) > 0
            if not kept.all():
                self.dropped += int((~kept).sum())
                rings = rings.take(np.flatnonzero(kept))
            columns = (piece if kept.all() else piece.chosen(kept)).columns
            heads, sizes = rows_text(self._pattern, list(columns.values()), len(rings))
            yield features_text(heads, sizes, rings, DIGITS, self._end)
