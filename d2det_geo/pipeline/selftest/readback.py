"""The files of a prediction, read without GDAL: GeoPackage by SQLite, GeoJSON by its grammar."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from d2det_geo.errors import D2DetError

_ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by the code in the flags of a GeoPackage geometry
_HEADER_BYTES = 8


def read_outlines(path: Path) -> tuple[NDArray[np.object_], pyproj.CRS | None]:
    """Read the geometries of a file and the CRS it names; None where it names none.

    Raises:
        D2DetError: a file that is not what its suffix says.
    """
    try:
        return _geojson(path) if path.suffix == ".geojson" else _geopackage(path)
    except (sqlite3.Error, ValueError, LookupError, TypeError, shapely.errors.ShapelyError) as error:
        raise D2DetError(f"{path.name}: what was written cannot be read back ({error}); please report this") from error


def _geojson(path: Path) -> tuple[NDArray[np.object_], pyproj.CRS | None]:
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    return np.array([shapely.geometry.shape(feature["geometry"]) for feature in features], object), pyproj.CRS(4326)


def _geopackage(path: Path) -> tuple[NDArray[np.object_], pyproj.CRS | None]:
    with closing(sqlite3.connect(path)) as file:
        ((table, column, code),) = file.execute("SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns")
        organization, number, definition = file.execute(
            "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
            (code,),
        ).fetchone()
        blobs = [row[0] for row in file.execute(f'SELECT "{column}" FROM "{table}"')]  # noqa: S608 - names of our file
    crs = None
    if code > 0:
        crs = pyproj.CRS(f"EPSG:{number}" if organization.upper() == "EPSG" else definition)
    return np.array([shapely.from_wkb(_wkb(blob)) for blob in blobs], object), crs


def _wkb(blob: bytes) -> bytes:
    if blob[:2] != b"GP":
        raise ValueError("a geometry that is not one of a GeoPackage")
    return blob[_HEADER_BYTES + _ENVELOPE_BYTES[blob[3] >> 1 & 0b111] :]
