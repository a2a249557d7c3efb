"""What the manifest beside predictions says of where they come from: the seams between chips, the edge of the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray

from d2det_geo.pipeline.evaluation import Points
from d2det_geo.pipeline.manifest import manifest_path, read_manifest
from d2det_geo.places import extent, points_mapped_back
from d2det_geo.raster.windows import scene_windows

ToPixels: TypeAlias = Callable[[Points], Points]
_NEAR_PX = 4.0  # of the network's pixels: what it sees of an object this close to the border of a chip is cut


@dataclass(frozen=True, slots=True, eq=False)
class Provenance:
    """How a scene was cut when its objects were predicted."""

    scene: str
    """Name of the scene."""
    size: tuple[int, int]
    """Width and height, scene px."""
    to_pixels: ToPixels
    """From the frame of an evaluation to scene px."""
    columns: NDArray[np.float64]
    """Borders of chips inside the scene, scene px, rising: those that run down."""
    rows: NDArray[np.float64]
    """Those that run across."""
    margin: tuple[float, float]
    """What is near, scene px."""
    capped_chips: int
    """Chips in which the model found as many objects as it can tell, so that some may be missing."""

    @classmethod
    def of(cls, pred: Path, frame: pyproj.CRS | None) -> tuple[Self | None, list[str]]:
        """Read it for predictions.

        Args:
            pred: their file.
            frame: CRS of the evaluation; None is pixels.

        Returns:
            None where there is no manifest, or none that says how the scene was cut; and a notice of the latter.
        """
        manifest = read_manifest(pred)
        if manifest is None:
            return None, []
        try:
            provenance = cls._from(manifest, frame)
            return provenance, provenance._notices(pred)
        except (KeyError, TypeError, ValueError, ArithmeticError, pyproj.exceptions.ProjError):
            path = manifest_path(pred)
            return None, [f"{path}: does not say how the scene was cut, so no error is blamed on seams"]

    def _notices(self, pred: Path) -> list[str]:
        if self.capped_chips == 0:
            return []
        return [
            f"{pred}: the model found as many objects as it can tell in {self.capped_chips} chips; some that are missed"
            " may be missing for that"
        ]

    @classmethod
    def _from(cls, manifest: dict[str, Any], frame: pyproj.CRS | None) -> Self:
        scene, place, grid = manifest["scene"], manifest["georeference"], manifest["grid"]
        width, height = int(scene["width"]), int(scene["height"])
        scale = width / int(grid["width"]), height / int(grid["height"])
        windows = list(
            scene_windows(int(grid["width"]), int(grid["height"]), int(grid["chip_size"]), int(grid["overlap"]))
        )
        x = {edge for window in windows for edge in (window.col_off, window.col_off + window.width)}
        y = {edge for window in windows for edge in (window.row_off, window.row_off + window.height)}
        crs = None if place["crs"] is None else pyproj.CRS.from_user_input(place["crs"])
        return cls(
            scene=Path(str(scene["path"])).name,
            size=(width, height),
            to_pixels=pixels_of(frame, crs, Affine(*place["transform"]), (width, height)),
            columns=np.array(sorted(x - {0, int(grid["width"])}), np.float64) * scale[0],
            rows=np.array(sorted(y - {0, int(grid["height"])}), np.float64) * scale[1],
            margin=(_NEAR_PX * scale[0], _NEAR_PX * scale[1]),
            capped_chips=int(manifest["counts"]["capped_chips"]),
        )

    def near_seam(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell ``[N]`` which boxes ``[N, 4]``, scene px, touch or almost touch a border of a chip inside the scene."""
        near = np.zeros(len(boxes), bool)
        for axis, lines in enumerate((self.columns, self.rows)):
            low, high = boxes[:, axis] - self.margin[axis], boxes[:, axis + 2] + self.margin[axis]
            first, last = np.searchsorted(lines, low, "left"), np.searchsorted(lines, high, "right")
            near[last > first] = True
        return near

    def near_edge(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell ``[N]`` which boxes ``[N, 4]``, scene px, touch or almost touch the edge of the scene."""
        low, high = boxes[:, :2] - self.margin, boxes[:, 2:] + self.margin
        near: NDArray[np.bool_] = np.any((low < 0) | (high > np.array(self.size)), axis=1)
        return near


def pixels_of(frame: pyproj.CRS | None, crs: pyproj.CRS | None, transform: Affine, size: tuple[int, int]) -> ToPixels:
    """Find the way from the frame of an evaluation to the pixels of a scene.

    Args:
        frame: CRS of the evaluation; None is the pixels of the scene.
        crs: of the scene.
        transform: scene px -> world.
        size: width and height of the scene, px.

    Raises:
        ValueError: only one of the two has a CRS.
    """
    if (frame is None) != (crs is None):
        raise ValueError("only one of the scene and the files compared has a CRS")
    if frame is None:
        return lambda points: points
    way = pyproj.Transformer.from_crs(frame, crs, always_xy=True)
    x_min, _, x_max, _ = extent(transform, *size)
    turn = 360.0 if crs is not None and crs.is_geographic else None

    def to_pixels(points: Points) -> Points:
        x, y = way.transform(points[:, 0], points[:, 1])
        if turn is not None:  # a scene may go on beyond 180 degrees
            x = x + turn * np.rint(((x_min + x_max) / 2 - x) / turn)
        return points_mapped_back(np.column_stack([x, y]), transform)

    return to_pixels
