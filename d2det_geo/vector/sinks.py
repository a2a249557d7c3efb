"""The door to every output format: objects in, while they are found; a whole file or none out."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyogrio
import pyproj
import shapely

from d2det_geo.errors import D2DetError, UsageError
from d2det_geo.vector.coco import CocoSink
from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.geojson import GeoJsonSeqSink, GeoJsonSink
from d2det_geo.vector.ogr import OgrSink
from d2det_geo.vector.output import atomic_path, check_output, format_of
from d2det_geo.vector.parquet import ParquetSink
from d2det_geo.vector.reproject import target_crs

_FAILURES = (
    OSError,
    sqlite3.Error,
    pa.ArrowException,
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
)


class _Format(Protocol):
    """How one format is written."""

    @property
    def dropped(self) -> int: ...
    def write(self, features: Features) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


_SINKS: dict[str, Callable[[Layer, pyproj.CRS | None, Path], _Format]] = {
    "geojson": GeoJsonSink,
    "geojsonseq": GeoJsonSeqSink,
    "gpkg": partial(OgrSink, format="gpkg"),
    "flatgeobuf": partial(OgrSink, format="flatgeobuf"),
    "shapefile": partial(OgrSink, format="shapefile"),
    "geoparquet": ParquetSink,
    "coco": CocoSink,
}
_ANY_NAMES = {"geojson", "geojsonseq", "coco"}
_OWN_NAMES = {"geometry", "geom", "fid"}  # of a table's columns, whatever their case
_STDOUT = "standard output"


class _ReaderGoneError(Exception):
    """Whoever read standard output has seen enough."""


class Sink:
    """Takes the objects of a layer, in any portions."""

    def __init__(self, inner: _Format, layer: Layer, name: str) -> None:
        self._inner, self._layer, self._name = inner, layer, name
        self._empty = 0

    @property
    def dropped(self) -> int:
        """Objects left out: without area, or smaller than the last decimal of the format."""
        return self._empty + self._inner.dropped

    def write(self, features: Features) -> None:
        """Add objects; memory holds them and at most two batches more.

        Raises:
            D2DetError: they cannot be written, or lie where the file's CRS is not defined.
            ValueError: their columns are not the layer's.
        """
        if list(features.columns) != list(self._layer.columns):
            raise ValueError(f"columns {list(features.columns)} in a layer of {list(self._layer.columns)}")
        with _explained(self._name):
            solid = self._solid(features)
            if len(solid):
                self._inner.write(solid)

    def finish(self) -> None:
        """Complete the file."""
        with _explained(self._name):
            self._inner.finish()

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        self._inner.abandon()

    def _solid(self, features: Features) -> Features:
        """Leave out what has no geometry."""
        empty = shapely.is_empty(features.geometries) | shapely.is_missing(features.geometries)
        self._empty += int(empty.sum())
        return features.chosen(~empty) if empty.any() else features


@contextmanager
def open_sink(
    path: Path | None,
    layer: Layer,
    *,
    overwrite: bool = False,
    format: str | None = None,
    crs: Any = None,
) -> Iterator[Sink]:
    """Open an output to write objects to while they are found.

    The file appears when the block ends well, complete; otherwise nothing is left, and what was there is
    untouched. The same objects give the same bytes, in whatever portions they are written. GeoJSON is RFC 7946;
    the other formats keep the layer's CRS; COCO, and a layer without CRS, are in pixels.

    Args:
        path: of the file; None is GeoJSONSeq on standard output, where a reader that leaves ends the block early.
        layer: what will be written.
        overwrite: replace what is there.
        format: one of ``FORMATS``; None is what the suffix says.
        crs: another CRS for the file, in any notation pyproj knows.

    Raises:
        UsageError: no such format or CRS, or one that does not go with the other; columns the format has no names for.
        OutputExistsError: the file is there, and ``overwrite`` is off.
        D2DetError: it cannot be written.
    """
    if path is None:
        with _standard_output(layer, crs) as sink:
            yield sink
        return
    name = format_of(path, format)
    target = target_crs(layer, name, crs)
    _check_columns(path, layer, name)
    check_output(path, overwrite=overwrite, format=format)
    with atomic_path(path) as temporary:
        with _explained(str(path)):
            inner = _SINKS[name](layer, target, temporary)
        sink = Sink(inner, layer, str(path))
        try:
            yield sink
            sink.finish()
        except BaseException:
            sink.abandon()
            raise


def _check_columns(path: Path, layer: Layer, format: str) -> None:
    """Refuse names that a table has for itself, or cannot tell apart."""
    if format in _ANY_NAMES:
        return
    names = [name.lower() for name in layer.columns]
    wrong = [name for name in layer.columns if name.lower() in _OWN_NAMES]
    if not wrong and format != "shapefile":  # whose names are cut, and numbered
        wrong = [name for name in layer.columns if names.count(name.lower()) > 1]
    if wrong:
        raise UsageError(
            f"{path}: columns {', '.join(wrong)}: a {format} file needs these names itself, or cannot tell them"
            " apart; rename them"
        )


@contextmanager
def _standard_output(layer: Layer, crs: Any) -> Iterator[Sink]:
    target = target_crs(layer, "geojsonseq", crs)
    sink = Sink(GeoJsonSeqSink(layer, target), layer, _STDOUT)
    try:
        yield sink
        sink.finish()
    except _ReaderGoneError:
        # What Python still holds for the reader has to go somewhere when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Put a failure to write in words."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error
    except _FAILURES as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise D2DetError(f"{name}: cannot be written ({reason:.200}); check the disk and the CRS") from error
