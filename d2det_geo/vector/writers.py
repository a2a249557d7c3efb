"""Objects out, all at once: a table of them as a file of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from d2det_geo.errors import UsageError
from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.output import FORMATS, atomic_path, check_output, format_of
from d2det_geo.vector.sinks import open_sink

__all__ = ["FORMATS", "atomic_path", "check_output", "write_objects"]


def write_objects(frame: gpd.GeoDataFrame, path: Path, *, overwrite: bool) -> None:
    """Write (Multi)Polygons and their attributes in the format of the suffix; see ``open_sink``.

    A frame without CRS is in pixels; COCO JSON takes no other.

    Raises:
        UsageError, OutputExistsError, D2DetError: as ``open_sink``; UsageError also for COCO JSON of a frame that
            has a CRS or no column ``class``.
    """
    check_output(path, overwrite=overwrite)
    geometries = frame.geometry.to_numpy()
    attributes = frame.drop(columns=frame.geometry.name)
    if format_of(path) == "coco" and (frame.crs is not None or "class" not in attributes):
        raise UsageError(f"{path}: COCO JSON is of objects in pixels with a class; choose another format")
    columns = {str(name): _values(attributes[name]) for name in attributes}
    if format_of(path) == "coco":
        columns["class"] = columns["class"].astype(str).astype(object)
    classes = tuple(sorted({str(name) for name in columns.get("class", ())}))
    corners = shapely.bounds(geometries)[:, 2:]  # NaN of empty ones, which no sink writes
    width, height = np.ceil(np.nanmax(corners, axis=0, initial=0)).astype(int).tolist()
    kinds = {name: _kind(values) for name, values in columns.items()}
    layer = Layer(frame.crs, path.name, width, height, classes, kinds)
    with open_sink(path, layer, overwrite=overwrite) as sink:
        sink.write(Features(geometries, geometries, columns))


def _values(column: pd.Series) -> NDArray[Any]:
    """Take the values of a column; what is missing, however pandas says so, is NaN of a number and else None."""
    missing = column.isna()
    if not missing.any():
        return np.asarray(column.to_numpy())
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(column.astype(object).where(~missing, None).to_numpy())


def _kind(values: NDArray[Any]) -> type:
    if pd.api.types.is_bool_dtype(values):
        return bool
    if pd.api.types.is_integer_dtype(values):
        return int
    return float if pd.api.types.is_float_dtype(values) else str
