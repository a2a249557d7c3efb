"""Labels of a scene cut into the COCO annotations of its chips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from rasterio.crs import CRS
from rasterio.windows import Window

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.errors import InputError
from d2det_geo.places import extent, mapped, mapped_back
from d2det_geo.vector.readers import read_objects, reading_notices
from d2det_geo.vector.repair import polygonal

LEAST_VISIBLE = 0.1  # a smaller share of an object in a chip tells nobody what it is
ONLY_CLASS = "object"  # name of the class of labels that say none
_DIGITS = 3  # of coordinates, px


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """T objects of a scene."""

    polygons: NDArray[np.object_]
    """``[T]`` valid (Multi)Polygons, scene px."""
    categories: NDArray[np.int64]
    """``[T]`` positions in ``names``."""
    ignored: NDArray[np.bool_]
    """``[T]`` objects with less than half of their area in the AOI."""
    names: tuple[str, ...]
    """Class names in alphabetical order."""
    repaired: int
    """Objects whose outline was invalid."""
    notices: tuple[str, ...]
    """What the user should know about how the file was understood."""
    _tree: shapely.STRtree

    def in_window(self, window: Window) -> tuple[list[dict[str, Any]], int]:
        """Cut the objects that a chip sees, in px of the chip.

        An object keeps the part inside, with its share as ``visible``. An ignored object becomes a crowd,
        which COCO neither rewards nor punishes.

        Returns:
            Annotations without ids, in the order of the file, and how many objects
            were left out because less than `LEAST_VISIBLE` of them lies in the chip.
        """
        x, y, width, height = (int(value) for value in window.flatten())
        hit = np.sort(self._tree.query(shapely.box(x, y, x + width, y + height), predicate="intersects"))
        frame = shapely.box(0, 0, width, height)
        parts = polygonal(shapely.intersection(mapped(self.polygons[hit], Affine.translation(-x, -y)), frame))
        visible = shapely.area(parts) / shapely.area(self.polygons[hit])
        kept = visible >= LEAST_VISIBLE
        rows = [
            self._row(int(index), part, float(share), (height, width))
            for index, part, share in zip(hit[kept], parts[kept], visible[kept], strict=True)
        ]
        return rows, int((~kept & (visible > 0)).sum())

    def _row(self, index: int, part: shapely.Geometry, visible: float, shape: tuple[int, int]) -> dict[str, Any]:
        crowd = bool(self.ignored[index])
        x1, y1, x2, y2 = part.bounds
        return {
            "category_id": int(self.categories[index]) + 1,
            "segmentation": segmentation(part, shape, runs=crowd),
            "bbox": [round(value, _DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)],
            "area": round(part.area, _DIGITS),
            "iscrowd": int(crowd),
            "visible": round(visible, 4),
        }


def read_labels(
    path: Path,
    crs: CRS | None,
    transform: Affine,
    size: tuple[int, int],
    class_field: str,
    aoi: shapely.Geometry | None,
) -> Labels:
    """Read the objects of a scene.

    Args:
        path: vector file of polygons; zero objects are fine.
        crs: of the scene; None if the labels are in scene px.
        transform: of the scene, px -> world.
        size: (width, height) of the scene, px.
        class_field: attribute that holds the class. Without it all objects are of one class, ``object``.
        aoi: area in scene px, or None.

    Raises:
        InputError: the file cannot be read, or an object has no class.
    """
    frame = read_objects(path, crs=crs or "pixels", extent=extent(transform, *size))
    polygons = polygonal(mapped_back(frame.geometry.to_numpy(), transform))
    names, categories = _classes(frame, class_field, path)
    if aoi is None:
        ignored = np.zeros(len(frame), np.bool_)
    else:
        ignored = shapely.area(shapely.intersection(polygons, aoi)) < LEAST_SHARE_INSIDE * shapely.area(polygons)
    repaired, notices = int(frame.attrs["repaired"]), reading_notices(frame, path)
    return Labels(polygons, categories, ignored, names, repaired, notices, shapely.STRtree(polygons))


def _classes(frame: gpd.GeoDataFrame, class_field: str, path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if frame.empty:
        return (), np.zeros(0, np.int64)
    if class_field not in frame.columns:
        return (ONLY_CLASS,), np.zeros(len(frame), np.int64)
    missing = int(frame[class_field].isna().sum())
    if missing:
        raise InputError(f"{path}: {missing} objects have no {class_field!r}; give each a class, or remove them")
    names, categories = np.unique(frame[class_field].astype(str).to_numpy(dtype=np.str_), return_inverse=True)
    return tuple(names.tolist()), categories.astype(np.int64)


def segmentation(part: shapely.Geometry, shape: tuple[int, int], *, runs: bool = False) -> Any:
    """Describe a (Multi)Polygon of a chip as COCO does.

    Args:
        part: px of the chip.
        shape: (rows, columns) of the chip.
        runs: describe it by pixels even where rings would do.

    Returns:
        A ring ``[x1, y1, x2, y2, ...]`` per polygon; run lengths of the pixels whose centres are inside
        if there are holes, which rings cannot say.
    """
    polygons = shapely.get_parts(part)
    if runs or shapely.get_num_interior_rings(polygons).any():
        pixels = rasterio.features.rasterize([part], out_shape=shape, dtype=np.uint8)
        packed = coco_mask.encode(np.asfortranarray(pixels))
        return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode("ascii")}
    rings = [shapely.get_coordinates(polygon.exterior)[:-1] for polygon in polygons]
    return [np.round(ring, _DIGITS).ravel().tolist() for ring in rings]
