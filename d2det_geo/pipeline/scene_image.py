"""Where a scene has image, coarsely: enough to tell objects on it from objects beside it, whatever its size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.raster.scene import Scene, open_scene

_CELLS = 25e6  # at most; with their sums 125 MB
_STRIP_PX = 8e6  # read at a time
_NEAR_PX = 4.0
_SIDE = 16  # at most so many points across an object that is partly on the image


@dataclass(frozen=True, slots=True, eq=False)
class SceneImage:
    """The image of a scene as cells of a few px each, with sums over rectangles."""

    name: str
    crs: pyproj.CRS | None
    transform: Affine
    """Scene px -> world."""
    gsd_m: float | None
    size: tuple[int, int]
    """Width and height, px."""
    cell: NDArray[np.float64]
    """``[2]`` width and height of a cell, px."""
    valid: NDArray[np.bool_]
    """``[rows, columns]`` the cell has image."""
    sums: NDArray[np.int32]
    """``[rows + 1, columns + 1]`` valid cells above and left."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the validity of a scene: what the raster, its alpha, nodata and NaN say.

        Raises:
            InputError: the scene cannot be read.
        """
        with open_scene(path) as scene:
            factor = max(1.0, math.sqrt(scene.width * scene.height / _CELLS))
            step = 1 if scene.gsd_m is not None else math.ceil(factor)
            valid = _validity(scene, step) if factor == 1 or step > 1 else _coarse(path, scene.gsd_m, factor)
            sums = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int32)
            sums[1:, 1:] = valid.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
            rows, columns = valid.shape
            return cls(
                name=Path(scene.path).name,
                crs=None if scene.crs is None else pyproj.CRS.from_wkt(scene.crs.to_wkt()),
                transform=scene.transform,
                gsd_m=scene.gsd_m,
                size=(scene.width, scene.height),
                cell=np.array([scene.width / columns, scene.height / rows]),
                valid=valid,
                sums=sums,
            )

    def shares(self, outlines: NDArray[np.object_]) -> NDArray[np.float64]:
        """Estimate ``[N]`` the share of each polygon's area, scene px, that is on the image; outside there is none."""
        corners = shapely.bounds(outlines).reshape(-1, 4)
        filled = self.covered(corners)
        shares: NDArray[np.float64] = (filled == 1).astype(np.float64)
        for row in np.flatnonzero((filled > 0) & (filled < 1)):
            shares[row] = self._share(outlines[row], corners[row])
        return shares

    def covered(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute ``[N]`` the share of the cells touched by boxes ``[N, 4]``, scene px, that have image."""
        rows, columns = self.valid.shape
        low = np.floor(boxes[:, :2] / self.cell + 1e-9)
        high = np.maximum(np.ceil(boxes[:, 2:] / self.cell - 1e-9), low + 1)
        limits = np.array([columns, rows])
        (x1, y1), (x2, y2) = (np.clip(corner, 0, limits).astype(np.intp).T for corner in (low, high))
        sums = self.sums
        with_image = sums[y2, x2].astype(np.int64) - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
        shares: NDArray[np.float64] = with_image / np.prod(high - low, axis=1)
        return shares

    def near_edge(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell ``[N]`` which boxes ``[N, 4]``, scene px, almost touch px without image or the scene's edge."""
        margin = np.maximum(self.cell, _NEAR_PX)
        return self.covered(np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)) < 1

    def _share(self, outline: shapely.Geometry, corners: NDArray[np.float64]) -> float:
        low, high = corners[:2], corners[2:]
        counts = np.clip(np.ceil((high - low) / self.cell * 2), 4, _SIDE).astype(int)
        across = [(np.arange(n) + 0.5) / n * (b - a) + a for n, a, b in zip(counts, low, high, strict=True)]
        x, y = (part.ravel() for part in np.meshgrid(*across))
        inside = shapely.contains_xy(outline, x, y)
        if not inside.any():
            x, y = shapely.point_on_surface(outline).coords[0]
            x, y, inside = np.array([x]), np.array([y]), np.array([True])
        columns, rows = (np.floor(part[inside] / self.cell[i]).astype(int) for i, part in enumerate((x, y)))
        on = (columns >= 0) & (rows >= 0) & (columns < self.valid.shape[1]) & (rows < self.valid.shape[0])
        return float(np.count_nonzero(self.valid[rows[on], columns[on]]) / len(on))


def _coarse(path: Path, gsd_m: float | None, factor: float) -> NDArray[np.bool_]:
    with open_scene(path, gsd_m=None if gsd_m is None else gsd_m * factor) as scene:
        return _validity(scene, 1)


def _validity(scene: Scene, step: int) -> NDArray[np.bool_]:
    """Read validity strip by strip; of each ``step`` rows and columns the middle one stands for all."""
    height = max(step, int(_STRIP_PX / scene.grid_width) // step * step)
    strips = []
    for row in range(0, scene.grid_height, height):
        window = Window(0, row, scene.grid_width, min(height, scene.grid_height - row))
        valid = scene.read(window)[1]
        first_row, first_column = (min(step // 2, length - 1) for length in valid.shape)
        strips.append(np.array(valid[first_row::step, first_column::step]))
    return np.concatenate(strips)
