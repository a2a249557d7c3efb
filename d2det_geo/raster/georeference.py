"""Where on the earth a raster lies: what its tags say, put as one affine map, or said to be unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError  # what rasterio forgets to wrap
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from d2det_geo.errors import InputError
from d2det_geo.raster.control_points import ControlPoints, control_points
from d2det_geo.raster.frames import frame_georeference
from d2det_geo.raster.geodesy import axis_gsd_m
from d2det_geo.raster.place import Georeference

_WARP_ERROR_PX = 0.01  # GDAL interpolates the positions of a warp; more would be a bias of its own
_LEAST_SINE = 1e-6  # of the angle between the axes of pixels: below, they lie on one line


class WarpedRaster(WarpedVRT):  # type: ignore[misc]  # rasterio's class has no types
    """A raster placed by control points that no affine map fits, resampled to a north-up grid of its own GSD."""

    def __init__(self, source: rasterio.DatasetReader, control: ControlPoints) -> None:
        method = {"SRC_METHOD": "GCP_TPS"} if control.splines else {"SRC_METHOD": "GCP_POLYNOMIAL", "MAX_GCP_ORDER": 2}
        super().__init__(
            source,
            src_crs=control.crs,
            crs=control.crs,
            resampling=Resampling.nearest if ColorInterp.palette in source.colorinterp else Resampling.bilinear,
            tolerance=_WARP_ERROR_PX,
            **_end_mark(source),
            **method,
        )
        self.control = control

    @property
    def name(self) -> str:
        """The source's: what the user calls it."""
        return str(self.src_dataset.name)

    def close(self) -> None:
        """Let go of the file, too."""
        super().close()
        self.src_dataset.close()


def _end_mark(source: rasterio.DatasetReader) -> dict[str, Any]:
    """Choose what says where the turned image ends, where the source has nothing that could."""
    if source.nodata is not None or ColorInterp.alpha in source.colorinterp:
        return {}
    kind = np.dtype(source.dtypes[0])
    if kind.name in {"uint8", "uint16"} and source.count in {1, 3}:  # only there GDAL takes an alpha band for a mask
        return {"add_alpha": True}
    if np.issubdtype(kind, np.signedinteger):
        return {"nodata": int(np.iinfo(kind).min)}
    return {"nodata": float("nan") if np.issubdtype(kind, np.floating) else 0}


def placed(dataset: rasterio.DatasetReader) -> rasterio.DatasetReader:
    """Give a dataset whose pixels an affine map leads to the world: itself, or itself resampled.

    The same file gives the same grid each time, so every handle of it goes through here. Closing what
    is returned closes ``dataset``; so does an error.

    Raises:
        InputError: GDAL cannot resample it by its control points.
    """
    try:
        control = control_points(dataset)
        if control is None or control.affine is not None or control.problem:
            return dataset
        return _warped(dataset, control)
    except BaseException:
        dataset.close()
        raise


def _warped(dataset: rasterio.DatasetReader, control: ControlPoints) -> WarpedRaster:
    try:
        with rasterio.Env():
            return WarpedRaster(dataset, control)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(
            f"{dataset.name}: cannot be placed by its {control.count} control points ({reason:.200});"
            " rectify it yourself (gdalwarp -tps)"
        ) from error


def georeference_of(dataset: rasterio.DatasetReader, *, oblique: bool = False) -> Georeference:
    """Find the place of a raster; ``dataset`` went through ``placed``.

    Args:
        dataset: open.
        oblique: place raw drone frames that look far away from straight down, too.

    Raises:
        InputError: it claims a place that is none on the earth, or is an oblique frame.
    """
    if isinstance(dataset, WarpedRaster):
        return _on_earth(dataset, dataset.crs, dataset.transform, dataset.control.notice)
    if dataset.transform.is_identity:
        return _without_geotransform(dataset, oblique=oblique)
    if dataset.crs:
        return _on_earth(dataset, dataset.crs, dataset.transform)
    return _in_pixels("no CRS (a geotransform alone): coordinates are pixels; set one with gdal_edit.py -a_srs")


def _without_geotransform(dataset: rasterio.DatasetReader, *, oblique: bool) -> Georeference:
    control = control_points(dataset)
    if control is not None and control.affine is not None:
        return _on_earth(dataset, control.crs, control.affine, control.notice)
    if control is not None:
        return _in_pixels(f"{control.problem}: coordinates are pixels")
    if dataset.tags(ns="RPC"):
        return _in_pixels(
            "placed by RPCs only, which need heights: coordinates are pixels;"
            " orthorectify it first (gdalwarp -rpc -to RPC_DEM=heights.tif)"
        )
    if dataset.crs:
        return _in_pixels("no geotransform (a CRS alone): coordinates are pixels; set one with gdal_edit.py -a_ullr")
    return frame_georeference(dataset, oblique=oblique) or _in_pixels("no georeference: coordinates are pixels")


def _in_pixels(notice: str) -> Georeference:
    return Georeference(None, Affine.identity(), None, None, (notice,))


def _on_earth(dataset: rasterio.DatasetReader, crs: CRS, transform: Affine, *notices: str) -> Georeference:
    try:
        known = pyproj.CRS.from_wkt(crs.to_wkt())
        if known.geodetic_crs is None:
            return _in_pixels(
                f"a local CRS without a place on the earth ({known.name:.40}): coordinates are pixels;"
                " set another with gdal_edit.py -a_srs"
            )
        if len(known.axis_info) > 2 or known.is_compound:  # outlines have no heights
            crs = CRS.from_wkt(known.to_2d().to_wkt())
        axes = axis_gsd_m(crs, transform, dataset.width, dataset.height)
    except (pyproj.exceptions.ProjError, RasterioError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{dataset.name}: PROJ does not know its CRS ({reason:.200}); set another with gdal_edit.py -a_srs"
        ) from error
    if axes is None:
        raise InputError(
            f"{dataset.name}: its centre is no place on the earth in {crs.to_string()[:60]};"
            " correct the georeference (gdal_edit.py -a_srs, -a_ullr)"
        )
    a, b, _, d, e, _ = transform[:6]
    if abs(a * e - b * d) < _LEAST_SINE * (a * a + d * d) ** 0.5 * (b * b + e * e) ** 0.5:
        raise InputError(f"{dataset.name}: the axes of its pixels lie on one line; correct the georeference")
    return Georeference(crs, transform, axes, None, notices)
