"""A sparse copy of a raster's grid, with targets for its content, and where its pixels are by other software."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import GCPTransformer, from_gcps
from rasterio.windows import Window

from d2det_geo.pipeline.selftest.oracle import BRIGHT
from d2det_geo.places import Extent, extent
from d2det_geo.raster.georeference import WarpedRaster, georeference_of, placed
from d2det_geo.raster.source import open_dataset
from d2det_geo.vector.turns import turn_of

_TALLEST_BLOCK = 256  # px; some files are one block, of which every target would fill all

Points = NDArray[np.float64]
Map = Callable[[Points], Points]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Where the pixels of a raster are, and how its user's grid is laid out."""

    width: int
    height: int
    axes_m: tuple[float, float] | None
    """Metres per px at the centre; None without a place on the earth."""
    profile: dict[str, Any]
    """Of a GeoTIFF on the same grid, its place included."""
    gcps: tuple[list[Any], CRS] | None
    crs: pyproj.CRS | None
    """None where coordinates are pixels."""
    resampled: bool
    """Control points bend the scene, which is read resampled."""
    to_world: Map
    """Px of the file ``[N, 2]`` -> world in ``crs``, not by the code that is checked."""
    to_px: Map
    """And back."""
    notices: tuple[str, ...]


def ground_of(path: str | Path) -> Ground:
    """Look at a raster's grid.

    Raises:
        InputError: as ``open_scene``, but for bands and pixels, which do not matter here.
    """
    dataset = placed(open_dataset(path))
    try:
        place = georeference_of(dataset)
        source = dataset.src_dataset if isinstance(dataset, WarpedRaster) else dataset
        points, points_crs = source.gcps
        by_points = source.transform.is_identity and bool(points)
        # What the tags do not say (a frame of a drone) is written as it was understood.
        bare = not by_points and source.transform.is_identity and place.crs is not None
        tags: dict[str, Any] = {"crs": place.crs if bare else source.crs}
        if not by_points:
            tags["transform"] = place.transform if bare else source.transform
        crs = None if place.crs is None else pyproj.CRS.from_wkt(place.crs.to_wkt())
        around = extent(place.transform, dataset.width, dataset.height)
        to_world, to_px = _maps(dataset, place.transform, crs, around)
        return Ground(
            width=source.width,
            height=source.height,
            axes_m=place.axes_m,
            profile={**tags, **_layout(source)},
            gcps=(points, points_crs) if by_points else None,
            crs=crs,
            resampled=isinstance(dataset, WarpedRaster),
            to_world=to_world,
            to_px=to_px,
            notices=place.notices,
        )
    finally:
        dataset.close()


def write_copy(path: Path, ground: Ground, boxes: NDArray[np.int64]) -> None:
    """Write bright rectangles ``[T, 4]`` of px on a grid; blocks without one take no room."""
    options = {
        "count": 3,
        "dtype": "uint8",
        "compress": "deflate",
        "zlevel": 1,
        "sparse_ok": True,
        "bigtiff": "if_safer",
    }
    with warnings.catch_warnings(), rasterio.Env():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=ground.width, height=ground.height, **options, **ground.profile
        ) as copy:
            if ground.gcps is not None:
                copy.gcps = ground.gcps
            for x1, y1, x2, y2 in boxes.tolist():
                pixels = np.full((3, y2 - y1, x2 - x1), BRIGHT, np.uint8)
                copy.write(pixels, window=Window(x1, y1, x2 - x1, y2 - y1))


def _layout(source: rasterio.DatasetReader) -> dict[str, Any]:
    rows, columns = source.block_shapes[0]
    rows = min(rows, source.height)
    if columns < source.width and columns % 16 == rows % 16 == 0:
        return {"interleave": "pixel", "tiled": True, "blockxsize": columns, "blockysize": rows}
    return {"interleave": "pixel", "tiled": False, "blockysize": min(rows, _TALLEST_BLOCK)}


def _maps(
    dataset: rasterio.DatasetReader, transform: Affine, crs: pyproj.CRS | None, around: Extent
) -> tuple[Map, Map]:
    """Make px -> world and back from GDAL's own reading of control points, or by solving the affine."""
    if crs is None:
        return _same, _same
    if isinstance(dataset, WarpedRaster):
        bent = GCPTransformer(dataset.src_dataset.gcps[0], tps=dataset.control.splines)
        return (
            lambda points: np.column_stack(bent.xy(points[:, 1], points[:, 0], offset="ul")),
            lambda world: np.column_stack(bent.rowcol(world[:, 0], world[:, 1], op=_same)[::-1]).astype(np.float64),
        )
    if dataset.transform.is_identity and dataset.gcps[0]:
        transform = from_gcps(dataset.gcps[0])
    a, b, c, d, e, f = transform[:6]
    matrix, offset = np.array([[a, b], [d, e]]), np.array([c, f])
    turn, middle = turn_of(crs, around), (around[0] + around[2]) / 2

    def back(world: Points) -> Points:
        x, y = world.T
        if turn is not None:  # a GeoJSON's longitudes end at 180 where a scene's may not
            x = x - turn * np.round((x - middle) / turn)
        return np.linalg.solve(matrix, (np.column_stack([x, y]) - offset).T).T

    return lambda points: points @ matrix.T + offset, back


def _same(values: Any) -> Any:
    return values
