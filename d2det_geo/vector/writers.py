"""Objects out: GeoJSON, GeoPackage and Shapefile, complete or not at all, and the same bytes every time."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio

from d2det_geo.errors import D2DetError, OutputExistsError, UsageError

FORMATS = {".geojson": "GeoJSON", ".json": "GeoJSON", ".gpkg": "GPKG", ".shp": "ESRI Shapefile"}
"""Suffix of an output file, lower case, to the GDAL driver that writes it."""

_DATE = "2000-01-01"  # what GPKG and DBF say about when they were written: the same file from the same run
# Companions of a file by its suffix: one left over from an older file would be read with the new one.
_COMPANIONS = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qpj"),
    ".gpkg": (".gpkg-wal", ".gpkg-shm", ".gpkg-journal"),
}


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: no format has this suffix.
        OutputExistsError: it is there, and ``overwrite`` is off.
        D2DetError: its folder is missing or cannot be written to, or the path is a folder.
    """
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"{path}: unknown output format '{path.suffix}'; supported suffixes are {known}")
    if path.is_dir():
        raise D2DetError(f"{path}: is a folder; give the path of a file")
    existing = next((part for part in (path, *_companions(path)) if part.exists()), None)
    if existing is not None and not overwrite:
        raise OutputExistsError(f"{existing}: exists already; pass --overwrite to replace it")
    with atomic_path(path):
        pass


def write_objects(frame: gpd.GeoDataFrame, path: Path, *, overwrite: bool) -> None:
    """Write (Multi)Polygons and their attributes in the format of the suffix.

    GeoJSON is RFC 7946: WGS84, 7 digits, shells counter-clockwise, split at the antimeridian; a frame without
    CRS is written with its coordinates as they are (pixels). The other formats keep the frame's CRS.
    The file appears complete or not at all, and the same frame gives the same bytes.

    Raises:
        UsageError, OutputExistsError, D2DetError: as ``check_output``; D2DetError also when writing fails.
    """
    check_output(path, overwrite=overwrite)
    driver = FORMATS[path.suffix.lower()]
    try:
        with atomic_path(path) as temporary, _fixed_date(), warnings.catch_warnings():
            # pyogrio warns of a frame without CRS, which is written on purpose.
            warnings.simplefilter("ignore")
            pyogrio.write_dataframe(frame, temporary, driver=driver, **_options(driver, frame))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        reason = " ".join(str(error).split())
        raise D2DetError(f"{path}: cannot be written ({reason:.200}); check the disk and the CRS") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path on the same file system, of the same name, to write ``path`` at.

    When the block ends well, everything written beside the temporary path moves to the folder of ``path``
    and replaces what was there, ``path`` itself last; otherwise nothing is left and nothing was touched.
    A block that writes nothing changes nothing.

    Raises:
        D2DetError: the folder is missing or cannot be written to.
    """
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise D2DetError(f"{path}: its folder cannot be written to ({error.strerror}); choose another") from error
    with folder as name:
        temporary = Path(name) / path.name
        yield temporary
        parts = sorted(Path(name).iterdir(), key=lambda part: (part == temporary, part.name))
        try:
            if parts:
                for stale in {part.name for part in _companions(path)} - {part.name for part in parts}:
                    (path.parent / stale).unlink(missing_ok=True)
            for part in parts:
                part.replace(path.parent / part.name)
        except OSError as error:
            raise D2DetError(f"{path}: cannot be replaced ({error.strerror}); close what uses it") from error


def _companions(path: Path) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in _COMPANIONS.get(path.suffix.lower(), ())]


def _options(driver: str, frame: gpd.GeoDataFrame) -> dict[str, Any]:
    """Give pyogrio's arguments for a driver: one geometry type, also for frames that are empty or mixed."""
    if driver == "GeoJSON":
        rfc7946 = "NO" if frame.crs is None else "YES"
        return {"layer_options": {"RFC7946": rfc7946, "COORDINATE_PRECISION": "7", "WRITE_NAME": "NO"}}
    if driver == "GPKG":
        return {"geometry_type": "MultiPolygon", "promote_to_multi": True}
    return {"geometry_type": "Polygon", "layer_options": {"DBF_DATE_LAST_UPDATE": _DATE}}


@contextmanager
def _fixed_date() -> Iterator[None]:
    # The environment's value shows through until an option is set, and must again afterwards.
    before = None if "OGR_CURRENT_DATE" in os.environ else pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{_DATE}T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
