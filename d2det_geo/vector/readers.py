"""Vector files in: objects and areas of interest as valid polygons in the caller's CRS."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

from d2det_geo.errors import InputError
from d2det_geo.places import Extent
from d2det_geo.vector.repair import all_polygon_parts, valid_polygons
from d2det_geo.vector.turns import turned_to

if TYPE_CHECKING:
    from rasterio.crs import CRS

_AREAL = ("Polygon", "Surface", "Collection", "Unknown")  # parts of the names of layer types that may hold polygons


Pixels = Literal["pixels"]
"""The frame of a scene without georeference, to which no CRS leads."""


@dataclass(frozen=True, slots=True)
class Aoi:
    """An area of interest."""

    area: shapely.Geometry
    """The union of a file's polygons."""
    notices: tuple[str, ...]
    """What the user should know about how the file was understood."""
    crs_assumed: bool
    """The file names no CRS."""


def read_objects(
    path: str | Path, *, crs: CRS | Pixels | None = None, extent: Extent | None = None
) -> gpd.GeoDataFrame:
    """Read every polygon of a local vector file that GDAL knows, with its attributes.

    Geometry collections are reduced to their polygons, invalid outlines repaired, rows
    without a polygon dropped; Z is dropped. A file without features gives zero rows. GeoJSON
    whose coordinates cannot be longitude and latitude has no CRS (the pixel coordinates of a
    scene without one). A file of another format that names no CRS is taken to be in ``crs``.

    Args:
        path: file on this machine; of several layers, the one that holds polygons.
        crs: what to reproject to, or ``pixels`` where the caller has no georeference; None keeps the file's own.
        extent: of what the objects go with, in ``crs``. Objects a turn of the earth away from it are moved to it:
            a scene from 179 to 181 degrees gets both halves of what RFC 7946 splits at 180.

    Returns:
        Valid, non-empty (Multi)Polygons in column ``geometry``, rows numbered from 0. ``attrs`` counts
        ``repaired`` and ``dropped`` rows, for ``feature_of`` lists the latter (``dropped_at``), and tells what was
        taken on trust: that the file is in ``crs`` (``crs_assumed``), or in pixels although it may be longitude and
        latitude (``pixels_assumed``).

    Raises:
        InputError: missing, unreadable, not a vector file, no polygons, or not in a CRS that leads to ``crs``.
    """
    path = Path(path)
    table, driver = _read(path)
    polygons = all_polygon_parts(table.geometry.to_numpy())
    objects = table.set_geometry(gpd.GeoSeries(polygons, crs=table.crs))
    crs_assumed = pixels_assumed = False
    if isinstance(crs, str):
        objects, pixels_assumed = _in_pixels(objects, driver, path)
    else:
        if driver.startswith("GeoJSON") and _beyond_lon_lat(objects):
            objects = _without_crs(objects, crs, path)
        crs_assumed = crs is not None and objects.crs is None
        objects = objects if crs is None else _reproject(objects, crs, path)
        if extent is not None and objects.crs is not None:
            moved = turned_to(objects.geometry.to_numpy(), objects.crs, extent)
            objects = objects.set_geometry(gpd.GeoSeries(moved, crs=objects.crs))
    polygons, repaired = valid_polygons(objects.geometry.to_numpy())
    kept = ~shapely.is_empty(polygons)
    if len(table) and not kept.any():
        kinds = ", ".join(sorted({str(kind) for kind in table.geometry.geom_type.dropna()})) or "no geometry"
        raise InputError(f"{path}: holds no polygon with an area (found {kinds}); give a file of polygons")
    objects = objects.set_geometry(gpd.GeoSeries(polygons, crs=objects.crs))[kept].reset_index(drop=True)
    objects.attrs.update(repaired=int((repaired & kept).sum()), dropped=int((~kept).sum()))
    objects.attrs.update(dropped_at=np.flatnonzero(~kept).tolist())
    objects.attrs.update(crs_assumed=crs_assumed, pixels_assumed=pixels_assumed)
    return objects


def feature_of(objects: gpd.GeoDataFrame, row: int) -> int:
    """Tell which feature of its file, from 0, a row of ``read_objects`` was: rows are dropped before it."""
    for dropped in objects.attrs["dropped_at"]:
        row += dropped <= row
    return row


def read_aoi(path: str | Path, crs: CRS | Pixels | None, *, extent: Extent | None = None) -> Aoi:
    """Read an area of interest; ``crs`` and ``extent`` as in ``read_objects``.

    Raises:
        InputError: as ``read_objects``, and when the file holds no area.
    """
    objects = read_objects(path, crs=crs, extent=extent)
    if objects.empty:
        raise InputError(f"{path}: holds no polygons; an area of interest needs at least one")
    area = shapely.union_all(objects.geometry.to_numpy())
    return Aoi(area, reading_notices(objects, path), bool(objects.attrs["crs_assumed"]))


def reading_notices(objects: gpd.GeoDataFrame, path: str | Path) -> tuple[str, ...]:
    """Say in words what ``attrs`` of ``read_objects`` hold that the user should know, one sentence each."""
    texts = {
        "repaired": f"{objects.attrs['repaired']} invalid polygons repaired",
        "dropped": f"{objects.attrs['dropped']} features without a polygon left out",
        "crs_assumed": "names no CRS; taken to be in the scene's",
        "pixels_assumed": "may be longitude and latitude, but taken to be in pixels like what it goes with",
    }
    return tuple(f"{path}: {text}" for key, text in texts.items() if objects.attrs[key])


def _read(path: Path) -> tuple[gpd.GeoDataFrame, str]:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {problem}; give the path of a vector file")
    try:
        with warnings.catch_warnings():
            # GDAL's remarks on odd but readable files (repeated ids, M values) are no news to the user.
            warnings.simplefilter("ignore")
            layer = _polygon_layer(path)
            info = pyogrio.read_info(path, layer=layer)
            table = pyogrio.read_dataframe(path, layer=layer, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).partition(";")[0].replace(f"'{path}' ", "").replace("\n", " ")
        raise InputError(
            f"{path}: cannot be read as a vector file ({reason:.200}); give one that is complete"
        ) from error
    if not isinstance(table, gpd.GeoDataFrame):
        table = gpd.GeoDataFrame(table, geometry=gpd.GeoSeries([None] * len(table), dtype=object), crs=info["crs"])
    return table, str(info["driver"])


def _polygon_layer(path: Path) -> str:
    layers = pyogrio.list_layers(path)
    if len(layers) == 1:
        return str(layers[0, 0])
    names = [str(name) for name, kind in layers if any(part in str(kind) for part in _AREAL)]
    if len(names) > 1:
        raise InputError(f"{path}: has several layers of polygons ({', '.join(names)}); give a file with one")
    return names[0] if names else str(layers[0, 0])


def _beyond_lon_lat(objects: gpd.GeoDataFrame) -> bool:
    if objects.empty or objects.crs is None or not objects.crs.is_geographic:
        return False
    x_min, y_min, x_max, y_max = objects.total_bounds
    return bool(x_min < -360 or x_max > 360 or y_min < -90.000001 or y_max > 90.000001)


def _in_pixels(objects: gpd.GeoDataFrame, driver: str, path: Path) -> tuple[gpd.GeoDataFrame, bool]:
    """Take objects as pixels, unless their file says otherwise; tell whether they could be longitude and latitude."""
    if objects.empty or objects.crs is None:
        return objects.set_crs(None, allow_override=True), False
    if not driver.startswith("GeoJSON") or _names_crs(path):
        raise InputError(
            f"{path}: is in {objects.crs.name}, and what it goes with has no georeference; "
            "give it in pixels without a CRS, or georeference the scene"
        )
    return objects.set_crs(None, allow_override=True), not _beyond_lon_lat(objects)


def _names_crs(path: Path) -> bool:
    """Tell whether GeoJSON has a ``crs`` member of its own; GDAL gives WGS84 to all that have none."""
    content = path.read_bytes()
    try:
        # Attributes may be called crs, too, so finding the word is not enough.
        return b'"crs"' in content and json.loads(content).get("crs") is not None
    except ValueError:  # a sequence of features, which cannot have one
        return False


def _without_crs(objects: gpd.GeoDataFrame, crs: CRS | None, path: Path) -> gpd.GeoDataFrame:
    if crs is not None:
        raise InputError(
            f"{path}: coordinates are not longitude and latitude, which GeoJSON is in; "
            "reproject it to WGS84, or save it as GPKG with its CRS"
        )
    return objects.set_crs(None, allow_override=True)


def _reproject(objects: gpd.GeoDataFrame, crs: CRS, path: Path) -> gpd.GeoDataFrame:
    target = pyproj.CRS.from_user_input(crs)
    if objects.crs is None:
        return objects.set_crs(target)
    try:
        moved = objects.to_crs(target)
    except pyproj.exceptions.ProjError as error:
        raise InputError(f"{path}: cannot be reprojected to {target.name} ({error}); check its CRS") from error
    shapes = moved.geometry.to_numpy()
    if not np.isfinite(shapely.bounds(shapes[~shapely.is_empty(shapes)])).all():
        raise InputError(f"{path}: lies where {target.name} is not defined; check its coordinates and CRS")
    return moved
