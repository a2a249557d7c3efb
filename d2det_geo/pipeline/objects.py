"""Detections of a scene become a table of polygons in the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import geopandas as gpd
import numpy as np
import shapely
from rasterio.windows import Window

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.detections import Detections
from d2det_geo.metrics.geo import shares_inside
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.scene import Scene
from d2det_geo.vector.polygons import box_polygons, geodesic_areas_m2, mask_polygons, to_world


def object_frame(
    found: Detections, scene: Scene, region: shapely.Geometry | None, classes: Sequence[str], tally: Tally
) -> gpd.GeoDataFrame:
    """Outline detections, apply the AOI rule, and measure what remains.

    Args:
        found: in scene px, in the order of the rows.
        scene: whose transform and CRS the polygons get.
        region: the AOI in scene px, or None.
        classes: names of the labels.
        tally: objects without outline, and outside the AOI, are counted there.

    Returns:
        Columns class, score (4 decimals), area_m2 (geodesic, 2 decimals; area_px without CRS), geometry.
    """
    polygons = box_polygons(found.boxes) if found.masks is None else mask_polygons(found)
    solid = ~shapely.is_empty(polygons)
    kept = solid if region is None else solid & (shares_inside(polygons, region) >= LEAST_SHARE_INSIDE)
    tally.drop("empty", int((~solid).sum()))
    tally.drop("outside", int((solid & ~kept).sum()))
    found, polygons = found.select(kept), to_world(polygons[kept], scene.transform)
    if scene.crs is None:
        area_name, areas = "area_px", shapely.area(polygons)
    else:
        area_name, areas = "area_m2", geodesic_areas_m2(polygons, scene.crs)
    return gpd.GeoDataFrame(
        {
            "class": np.array(classes, dtype=object)[found.labels],
            "score": np.round(found.scores.astype(np.float64), 4),
            area_name: np.round(areas, 2),
        },
        geometry=polygons,
        crs=scene.crs,
    )


def touches(region: shapely.Geometry, scale: tuple[float, float]) -> Callable[[Window], bool]:
    """Make the question whether a window of grid px shares area with a region of scene px."""
    in_grid = shapely.transform(region, lambda points: points / scale)
    shapely.prepare(in_grid)

    def asked(window: Window) -> bool:
        x, y = window.col_off, window.row_off
        return bool(shapely.intersects(in_grid, shapely.box(x, y, x + window.width, y + window.height)))

    return asked
