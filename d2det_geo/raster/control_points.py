"""Ground control points: places of the world known for some pixels, and what map from pixels fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

_AFFINE_PX = 0.1  # points this near an affine map are that map: resampling would only blur
_POLYNOMIAL_PX = 0.5  # points this near a polynomial of order 2 are that; others need splines
_LEAST_FOR_POLYNOMIAL = 8  # points; six always fit and say nothing about how well
_LEAST_SPREAD = 1e-3  # least over greatest spread of the points: below, they lie on one line


@dataclass(frozen=True, slots=True, eq=False)
class ControlPoints:
    """What the control points of a raster come to."""

    crs: CRS | None
    count: int
    affine: Affine | None
    """Px -> world where one affine map fits all points."""
    splines: bool
    """Where none does: thin plate splines through every point, not a polynomial of order 2."""
    notice: str
    """How the points were understood."""
    problem: str
    """Why they say nothing; empty where they do."""


def control_points(dataset: rasterio.DatasetReader) -> ControlPoints | None:
    """Judge the control points of a raster without a geotransform; None without points, or with a geotransform."""
    if not dataset.transform.is_identity:
        return None
    points, crs = dataset.gcps
    if not points:
        return None
    pixels = np.array([[point.col, point.row] for point in points], np.float64)
    world = np.array([[point.x, point.y] for point in points], np.float64)
    turned = bool(crs and crs.is_geographic and np.ptp(world[:, 0]) > 180)
    if turned:  # across the antimeridian, where longitude starts again
        world[world[:, 0] < 0, 0] += 360
    problem = _problem(pixels, world, crs)
    if problem:
        return ControlPoints(None, len(points), None, False, "", problem)
    affine, residual = _affine(pixels, world)
    if residual <= _AFFINE_PX:
        checked = f"residual {residual:.2g} px" if len(points) > 3 else "three, which nothing checks"
        return ControlPoints(crs, len(points), affine, False, f"placed by {len(points)} control points ({checked})", "")
    if turned:
        problem = "control points across the antimeridian that no affine map fits (rectify it with gdalwarp -tps)"
        return ControlPoints(None, len(points), None, False, "", problem)
    bend = _residual(_bent(pixels, 2), world, affine)
    splines = len(points) < _LEAST_FOR_POLYNOMIAL or bend > _POLYNOMIAL_PX
    how = "thin plate splines through all of them" if splines else f"a polynomial of order 2, residual {bend:.2g} px"
    notice = (
        f"resampled to a north-up grid by {len(points)} control points ({how}; an affine map is {residual:.2g} px off)"
    )
    return ControlPoints(crs, len(points), None, splines, notice, "")


def _problem(pixels: NDArray[np.float64], world: NDArray[np.float64], crs: CRS | None) -> str:
    advice = "give it at least three that span an area (gdal_translate -gcp), or a geotransform"
    if not crs:
        return "control points without a CRS (set one with gdal_edit.py -a_srs)"
    if not (np.isfinite(pixels).all() and np.isfinite(world).all()):
        return f"control points that are no numbers ({advice})"
    if len(np.unique(pixels, axis=0)) < 3:
        return f"{len(pixels)} control point{'s' if len(pixels) > 1 else ''} cannot place it ({advice})"
    if _on_one_line(pixels) or _on_one_line(world):
        return f"{len(pixels)} control points on one line cannot place it ({advice})"
    return ""


def _on_one_line(points: NDArray[np.float64]) -> bool:
    greatest, least = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(least <= _LEAST_SPREAD * greatest)


def _affine(pixels: NDArray[np.float64], world: NDArray[np.float64]) -> tuple[Affine, float]:
    """Fit an affine map px -> world; return it and how far off the worst point is, px."""
    middle, origin = pixels.mean(axis=0), world.mean(axis=0)
    (a, d), (b, e) = np.linalg.lstsq(pixels - middle, world - origin, rcond=None)[0]
    fitted = Affine.translation(*origin) @ Affine(a, b, 0, d, e, 0) @ Affine.translation(*-middle)
    return fitted, _residual(_bent(pixels, 1), world, fitted)


def _residual(terms: NDArray[np.float64], world: NDArray[np.float64], affine: Affine) -> float:
    """Measure how far the worst point is from the best combination of ``terms [N, T]``, px of ``affine``."""
    places = world - world.mean(axis=0)
    missing = places - terms @ np.linalg.lstsq(terms, places, rcond=None)[0]
    a, b, _, d, e, _ = affine[:6]
    return float(np.hypot(*np.linalg.lstsq(np.array([[a, b], [d, e]]), missing.T, rcond=None)[0]).max())


def _bent(pixels: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Make the terms of a polynomial ``[N, T]``, of coordinates from -1 to 1."""
    middle, reach = pixels.mean(axis=0), np.abs(pixels - pixels.mean(axis=0)).max()
    x, y = ((pixels - middle) / reach).T
    return np.stack([x**i * y**j for i in range(order + 1) for j in range(order + 1 - i)], axis=1)
