"""GeoParquet 1.1, a row group at a time."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from d2det_geo.vector.arrow import GEOMETRY, ROWS, record_batch, schema_of
from d2det_geo.vector.features import Batches, Features, Layer
from d2det_geo.vector.reproject import Reprojection


class ParquetSink:
    """A Parquet file whose row groups hold ``ROWS`` objects each."""

    dropped = 0

    def __init__(self, layer: Layer, crs: pyproj.CRS | None, path: Path) -> None:
        self._crs = crs
        self._schema = schema_of(layer.columns)
        self._reprojection = Reprojection(layer, crs)
        self._batches = Batches(ROWS)
        self._kinds: set[str] = set()
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, features: Features) -> None:
        """Add objects."""
        for batch in self._batches.add(features):
            self._put(batch)

    def finish(self) -> None:
        """Complete the file."""
        for batch in self._batches.rest():
            self._put(batch)
        self._file.add_key_value_metadata({"geo": json.dumps(self._description())})
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that will not be complete."""
        with suppress(OSError, pa.ArrowException):
            self._file.close()

    def _put(self, features: Features) -> None:
        geometries = self._reprojection.geometries(features.geometries)
        bounds = shapely.total_bounds(geometries)
        self._low, self._high = np.minimum(self._low, bounds[:2]), np.maximum(self._high, bounds[2:])
        self._kinds |= {
            kind.geom_type for kind in geometries[np.unique(shapely.get_type_id(geometries), return_index=True)[1]]
        }
        self._file.write_batch(
            record_batch(self._schema, features.columns, geometries, multi=False), row_group_size=ROWS
        )

    def _description(self) -> dict[str, object]:
        """Say what GeoParquet wants known of the geometry; a CRS of null is one that is not defined."""
        column: dict[str, object] = {
            "encoding": "WKB",
            "geometry_types": sorted(self._kinds),
            "crs": None if self._crs is None else self._crs.to_json_dict(),
            "edges": "planar",
        }
        if self._kinds:
            column["bbox"] = [*self._low.tolist(), *self._high.tolist()]
        return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
