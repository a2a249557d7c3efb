"""Detections of a scene become polygons in the world, with their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.detections import Detections
from d2det_geo.metrics.geo import shares_inside
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.scene import Scene
from d2det_geo.vector.areas import geodesic_areas_m2
from d2det_geo.vector.features import Features
from d2det_geo.vector.footprints import regularized, simplified
from d2det_geo.vector.polygons import box_polygons, mask_polygons, to_world


@dataclass(frozen=True, slots=True, eq=False)
class Outliner:
    """How the detections of one scene become its objects."""

    scene: Scene
    classes: Sequence[str]
    score: float
    """Least score."""
    region: shapely.Geometry | None
    """Area of interest, scene px."""
    simplify: float | None
    """m; px without georeference."""
    regularize: bool
    min_area: float
    """m2; px2 without georeference."""

    @property
    def area_name(self) -> str:
        """Name the column of areas."""
        return "area_px" if self.scene.crs is None else "area_m2"

    def features(self, found: Detections, tally: Tally) -> Features:
        """Outline detections, apply the AOI rule, and measure what remains.

        Args:
            found: in grid px.
            tally: objects without outline, outside the AOI and below the least area are counted there.

        Returns:
            By falling score: columns class, score (4 decimals), area_m2 (geodesic, 2 decimals; area_px without CRS).
        """
        found = found.ranked()
        found = found.select(found.scores >= self.score).moved(self.scene.scale)
        polygons = box_polygons(found.boxes) if found.masks is None else mask_polygons(found)
        solid = ~shapely.is_empty(polygons)
        inside = solid if self.region is None else solid & (shares_inside(polygons, self.region) >= LEAST_SHARE_INSIDE)
        polygons = self._shaped(polygons[inside])
        placed = to_world(polygons, self.scene.transform)
        crs = self.scene.crs
        areas = shapely.area(placed) if crs is None else geodesic_areas_m2(placed, crs)
        large = areas >= self.min_area
        tally.drop("empty", int((~solid).sum()))
        tally.drop("outside", int((solid & ~inside).sum()))
        tally.drop("small", int((~large).sum()))
        found = found.select(inside).select(large)
        columns = {
            "class": np.array(self.classes, dtype=object)[found.labels],
            "score": np.round(found.scores.astype(np.float64), 4),
            self.area_name: np.round(areas[large], 2),
        }
        return Features(polygons[large], placed[large], columns)

    def _shaped(self, polygons: NDArray[np.object_]) -> NDArray[np.object_]:
        """Simplify and square outlines, in metres on the ground along the axes of the scene."""
        if self.simplify is None and not self.regularize:
            return polygons
        metres = np.array(self.scene.axis_gsd_m or (1.0, 1.0))
        shapes = np.asarray(shapely.transform(polygons, lambda points: points * metres), dtype=object)
        if self.regularize:
            shapes = regularized(shapes)
        if self.simplify is not None:
            shapes = simplified(shapes, self.simplify)
        return np.asarray(shapely.transform(shapes, lambda points: points / metres), dtype=object)


def touches(region: shapely.Geometry, scale: tuple[float, float]) -> Callable[[Window], bool]:
    """Make the question whether a window of grid px shares area with a region of scene px."""
    in_grid = shapely.transform(region, lambda points: points / scale)
    shapely.prepare(in_grid)

    def asked(window: Window) -> bool:
        x, y = window.col_off, window.row_off
        return bool(shapely.intersects(in_grid, shapely.box(x, y, x + window.width, y + window.height)))

    return asked
