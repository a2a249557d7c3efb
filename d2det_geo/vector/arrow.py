"""Objects as Arrow tables, which GDAL and Parquet take."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

GEOMETRY = "geometry"
ROWS = 4096
"""Objects of a batch: some 10 MB."""
_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_ONE_PART = np.uint32(1).tobytes()
_MULTIPOLYGON = b"\x01" + np.uint32(6).tobytes() + _ONE_PART  # little-endian head of a MultiPolygon of one part
_POLYGON = 3


def schema_of(columns: dict[str, type]) -> pa.Schema:
    """Give the schema of a layer's attributes and its geometry, which is WKB and the last column."""
    fields = [pa.field(name, _TYPES[kind]) for name, kind in columns.items()]
    return pa.schema([*fields, pa.field(GEOMETRY, pa.large_binary())])


def record_batch(
    schema: pa.Schema, columns: dict[str, NDArray[Any]], geometries: NDArray[np.object_], *, multi: bool
) -> pa.RecordBatch:
    """Make a batch of the columns in the schema's order, and geometries ``[N]``.

    Args:
        schema: as ``schema_of`` makes it; its names may differ from those of the columns.
        columns: name to ``[N]`` values; what is not a number becomes null.
        geometries: ``[N]``; Z and M are left out.
        multi: make all of them MultiPolygons.
    """
    values = [_array(column, field.type) for column, field in zip(columns.values(), schema, strict=False)]
    return pa.RecordBatch.from_arrays([*values, _wkb(geometries, multi)], schema=schema)


def _array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return _strings(values)
    if values.dtype.kind == "f":
        return pa.array(values, kind, mask=~np.isfinite(values))
    if values.dtype.kind in "iub":
        return pa.array(values, kind)
    missing = [value is None or (isinstance(value, float) and not math.isfinite(value)) for value in values.tolist()]
    return pa.array(values, kind, mask=np.array(missing, np.bool_))


def _strings(values: NDArray[Any]) -> pa.Array:
    items = values.tolist()
    known = {value: _clean(value) for value in set(items)}
    return pa.array([known[value] for value in items], pa.string())


def _clean(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    # Names of files may hold bytes that are no text.
    return str(value).encode(errors="replace").decode()


def _wkb(geometries: NDArray[np.object_], multi: bool) -> pa.Array:
    packed = shapely.to_wkb(geometries, output_dimension=2, byte_order=1).tolist()
    if multi:
        packed = [_MULTIPOLYGON + wkb if wkb[1] == _POLYGON else wkb for wkb in packed]
    # An array of a buffer and its offsets takes a sixth of the time of an array of objects.
    offsets = np.fromiter(accumulate(map(len, packed), initial=0), np.int64, len(packed) + 1)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(packed))]
    return pa.Array.from_buffers(pa.large_binary(), len(packed), buffers)
