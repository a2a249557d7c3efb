"""The CRS of a file, and objects on their way to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from d2det_geo.errors import D2DetError, UsageError
from d2det_geo.vector.antimeridian import crossing, cut
from d2det_geo.vector.features import Layer
from d2det_geo.vector.rings import Rings, rings_of

if TYPE_CHECKING:
    from rasterio.crs import CRS

WGS84 = pyproj.CRS.from_user_input("OGC:CRS84")
"""Longitude, latitude: the only CRS of GeoJSON."""
_ROUND_OFF = 1e-6  # degrees beyond a pole that are arithmetic, not a wrong coordinate


def target_crs(layer: Layer, format: str, crs: Any = None) -> pyproj.CRS | None:
    """Choose the CRS of a file: WGS84 for GeoJSON, else ``crs``, else the layer's. None is pixels.

    Args:
        layer: what will be written.
        format: name of the format.
        crs: what the user wants, in any notation pyproj knows.

    Raises:
        UsageError: pyproj does not know it, the format cannot be in it, or the layer has no CRS to come from.
    """
    own = None if layer.crs is None else _known(layer.crs)
    if crs is None:
        return WGS84 if own is not None and format.startswith("geojson") else own
    wanted = _known(crs)
    if format == "coco":
        raise UsageError("COCO JSON is in the pixels of the scene; leave out --crs, or choose another format")
    if own is None:
        raise UsageError(f"{layer.scene}: has no georeference, objects stay in its pixels; leave out --crs")
    if format.startswith("geojson"):
        if not _same(wanted, WGS84):
            raise UsageError(
                f"GeoJSON is in WGS 84 longitude and latitude (RFC 7946), not in {wanted.name};"
                " leave out --crs, or choose another format, such as .gpkg"
            )
        return WGS84
    return wanted


class Reprojection:
    """Takes objects from the layer's CRS to the file's."""

    def __init__(self, layer: Layer, target: pyproj.CRS | None) -> None:
        self._name = layer.scene
        self._source = None if layer.crs is None else _known(layer.crs)
        self._target = target
        self._transformer: pyproj.Transformer | None = None
        if self._source is not None and target is not None and not _same(self._source, target):
            self._transformer = _way(self._source, target, layer.scene)
        self._bounded = target is not None and _in_degrees(target)
        self._continuous = self._source is not None and _in_degrees(self._source)

    @property
    def changes(self) -> bool:
        """Coordinates become others, or may have to be cut at 180 degrees."""
        return self._transformer is not None

    def rings(self, geometries: NDArray[np.object_]) -> Rings:
        """Give (Multi)Polygons ``[N]`` in the file's CRS; in degrees they lie within -180 and 180, cut there.

        Raises:
            D2DetError: an object lies where the CRS is not defined.
        """
        rings = rings_of(geometries)
        if self._transformer is not None:
            x, y = self._transformer.transform(rings.xy[:, 0], rings.xy[:, 1])
            if self._bounded and self._continuous:  # PROJ brings some longitudes back within 180
                x += 360 * np.rint((rings.xy[:, 0] - x) / 360)
            rings = rings.moved(np.column_stack([x, y]))
        if self._target is not None:
            self._check(rings, self._target.name)
        return self._cut(rings) if self._bounded else rings

    def geometries(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Give (Multi)Polygons ``[N]`` in the file's CRS; untouched when that is the layer's."""
        return self.rings(geometries).polygons() if self.changes else geometries

    def _check(self, rings: Rings, name: str) -> None:
        limit = 90 + _ROUND_OFF if self._bounded else math.inf
        if not (np.isfinite(rings.xy).all() and (np.abs(rings.xy[:, 1]) <= limit).all()):
            raise D2DetError(f"{self._name}: objects lie where {name} is not defined; choose another format or CRS")

    def _cut(self, rings: Rings) -> Rings:
        low, high = rings.spans()
        (index,) = np.nonzero(crossing(low[:, 0], high[:, 0]))
        rings = rings.moved(np.clip(rings.xy, (-math.inf, -90), (math.inf, 90)))
        if len(index) == 0:
            return rings
        parts = [cut(geometry, continuous=self._continuous) for geometry in rings.take(index).polygons()]
        return rings.replaced(index, rings_of(np.array(parts, dtype=object)))


def _way(source: pyproj.CRS, target: pyproj.CRS, scene: str) -> pyproj.Transformer:
    try:
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise D2DetError(
            f"{scene}: no way leads from {source.name} to {target.name}; choose another format or CRS"
        ) from error


def _known(crs: CRS | pyproj.CRS | Any) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{crs}' is no CRS ({reason:.120}); give one like EPSG:32633") from error


def _same(one: pyproj.CRS, other: pyproj.CRS) -> bool:
    # always_xy makes the order of axes meaningless.
    return bool(one.equals(other, ignore_axis_order=True))


def _in_degrees(crs: pyproj.CRS) -> bool:
    """Tell whether x is degrees from Greenwich."""
    if not crs.is_geographic:
        return False
    degrees = all(math.isclose(axis.unit_conversion_factor, math.pi / 180) for axis in crs.axis_info[:2])
    return degrees and (crs.prime_meridian is None or crs.prime_meridian.longitude == 0)
