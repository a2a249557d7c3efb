"""GeoPackage, FlatGeobuf and Shapefile: GDAL writes in a thread of its own what it is handed batch by batch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import pyarrow as pa
import pyogrio
import pyproj

from d2det_geo.vector.arrow import GEOMETRY, ROWS, record_batch, schema_of
from d2det_geo.vector.features import Batches, Features, Layer
from d2det_geo.vector.qgis import finish_geopackage
from d2det_geo.vector.reproject import Reprojection

DATE = "2000-01-01"
"""What a GPKG and a DBF say about when they were written: the same file from the same run."""
_AHEAD = 1  # batches that wait for GDAL
_PATIENCE = 0.1  # seconds between looks whether GDAL's thread is still there
_NAME = 10  # characters of a column's name in a DBF
_RESERVED = ("gpkg", "sqlite_", "layer_styles", "ogr_empty_table")  # beginnings of names of a GPKG's own tables
_DRIVERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "gpkg": ("GPKG", "MultiPolygon", {}),
    "flatgeobuf": ("FlatGeobuf", "MultiPolygon", {}),
    "shapefile": ("ESRI Shapefile", "Polygon", {"DBF_DATE_LAST_UPDATE": DATE, "ENCODING": "UTF-8"}),
}


class _AbandonedError(Exception):
    """Ends GDAL's thread when nothing more will come."""


class OgrSink:
    """A layer that GDAL writes, called as the file.

    Names of a Shapefile's columns are cut to ten characters; the layer of a GeoPackage is called ``d2det_...`` where
    GeoPackages reserve the name.
    """

    dropped = 0

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, path: Path, format: str) -> None:
        self._path, self._layer, self._format = path, layer, format
        self._reprojection = Reprojection(layer, crs)
        names = _short(list(layer.columns)) if format == "shapefile" else list(layer.columns)
        self._schema = schema_of(dict(zip(names, layer.columns.values(), strict=True)))
        self._batches = Batches(ROWS)
        self._writer = _Writer(self._schema, path, crs, format)

    def write(self, features: Features) -> None:
        """Add objects."""
        for batch in self._batches.add(features):
            self._put(batch)

    def finish(self) -> None:
        """Complete the file."""
        for batch in self._batches.rest():
            self._put(batch)
        self._writer.finish()
        if self._format == "shapefile":
            self._path.with_suffix(".shp").replace(self._path)  # GDAL writes small letters, whatever is asked for
        if self._format == "gpkg":
            finish_geopackage(self._path, self._layer, DATE)

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        self._writer.abandon()

    def _put(self, features: Features) -> None:
        geometries = self._reprojection.geometries(features.geometries)
        multi = self._format != "shapefile"
        self._writer.put(record_batch(self._schema, features.columns, geometries, multi=multi))


class _Writer:
    """GDAL in a thread. Whichever side ends early, for whatever reason, the other one ends too."""

    def __init__(self, schema: pa.Schema, path: Path, crs: pyproj.CRS | None, format: str) -> None:
        self._queue: Queue[pa.RecordBatch | _AbandonedError | None] = Queue(_AHEAD)
        self._error: BaseException | None = None
        self._open = threading.Event()
        driver, geometry, options = _DRIVERS[format]
        self._thread = threading.Thread(
            target=self._run,
            args=(pa.RecordBatchReader.from_batches(schema, self._handed()), path),
            kwargs={
                "layer": _layer_name(path.stem) if format == "gpkg" else path.stem,
                "driver": driver,
                "geometry_name": GEOMETRY,
                "geometry_type": geometry,
                "crs": None if crs is None else crs.to_wkt(),
                "layer_options": options,
            },
            name="gdal",
            daemon=True,
        )
        with warnings.catch_warnings():
            # pyogrio warns of a layer without CRS, which is written on purpose, before it asks for a batch.
            warnings.simplefilter("ignore")
            self._thread.start()
            self._open.wait()

    def put(self, batch: pa.RecordBatch) -> None:
        """Hand over a batch when there is room; in memory are the one GDAL is at and ``_AHEAD`` more."""
        self._hand(batch)

    def finish(self) -> None:
        """Wait until GDAL has closed the file."""
        self._hand(None)
        self._thread.join()
        self._raise()

    def abandon(self) -> None:
        """End the thread, without a file."""
        while not self._queue.empty():
            with suppress(Empty):
                self._queue.get_nowait()
        self._queue.put(_AbandonedError())  # there is room: nobody else puts
        self._thread.join()

    def _hand(self, item: pa.RecordBatch | None) -> None:
        while self._thread.is_alive():
            with suppress(Full):
                self._queue.put(item, timeout=_PATIENCE)
                return
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _handed(self) -> Iterator[pa.RecordBatch]:
        self._open.set()
        while (item := self._queue.get()) is not None:
            if isinstance(item, _AbandonedError):
                raise item
            yield item

    def _run(self, *arguments: Any, **options: Any) -> None:
        try:
            pyogrio.write_arrow(*arguments, **options)
        except BaseException as error:
            self._error = error
        finally:
            self._open.set()


def _layer_name(stem: str) -> str:
    """Name the layer of a GeoPackage as its file, where no table of its own, or of SQLite's, is called that."""
    return f"d2det_{stem}" if stem.lower().startswith(_RESERVED) else stem


def _short(names: list[str]) -> list[str]:
    """Cut names to what a DBF holds, and number those that became the same."""
    short: list[str] = []
    for name in names:
        cut = name.encode()[:_NAME].decode(errors="ignore")
        number = 0
        while cut.lower() in (taken.lower() for taken in short):
            number += 1
            end = f"_{number}"
            cut = name.encode()[: _NAME - len(end)].decode(errors="ignore") + end
        short.append(cut)
    return short
