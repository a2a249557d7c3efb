"""How far what was found is from what was put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.pipeline.selftest.targets import KINDS, Targets

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """Of some targets, in px of the scene; NaN where none was found."""

    targets: int
    lost: int
    """targets nothing was found at"""
    doubled: int
    """targets more than one object was found at"""
    bias_x_px: float
    """mean displacement along a row"""
    bias_y_px: float
    rms_px: float
    """of the displacements, or of the edges where the outlines are upright in px"""
    max_px: float
    max_cm: float | None
    """None without a place on the earth"""

    @property
    def bias_px(self) -> float:
        """The greater of both biases."""
        return max(abs(self.bias_x_px), abs(self.bias_y_px))


@dataclass(frozen=True, slots=True)
class TargetError:
    """Of one target; None where nothing was found."""

    kind: str
    box_px: tuple[int, int, int, int]
    found: int
    """objects whose middle it holds"""
    x_px: float | None
    y_px: float | None
    max_px: float | None
    """of its edges"""
    max_cm: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One file against the targets."""

    all: Errors
    by_kind: Mapping[str, Errors]
    strays: int
    """objects where no target is"""
    each: tuple[TargetError, ...]


def compare(
    targets: Targets,
    outlines: NDArray[np.object_],
    *,
    upright: bool,
    axes_m: tuple[float, float] | None,
) -> Comparison:
    """Compare outlines with targets.

    Args:
        targets: T boxes.
        outlines: ``[D]`` polygons in px.
        upright: outlines are boxes in px, so that their edges can be compared, not only their middles.
        axes_m: metres per px, or None.
    """
    middles = shapely.get_coordinates(shapely.centroid(outlines))
    found = shapely.bounds(outlines).reshape(-1, 4) if upright else np.hstack([middles, middles])
    boxes = targets.boxes.astype(np.float64)
    # An object belongs to the target its middle is in.
    inside = (boxes[:, None, :2] <= middles).all(axis=2) & (middles <= boxes[:, None, 2:]).all(axis=2)
    counts = inside.sum(axis=1)
    first = inside.argmax(axis=1) if len(found) else np.zeros(len(boxes), np.intp)
    edges = np.full((len(boxes), 4), np.nan)
    if not upright:
        boxes = np.tile((boxes[:, :2] + boxes[:, 2:]) / 2, (1, 2))
    edges[counts > 0] = found[first[counts > 0]] - boxes[counts > 0]
    kinds = np.array(targets.kinds)
    by_kind = {kind: _errors(edges[kinds == kind], counts[kinds == kind], axes_m) for kind in KINDS if kind in kinds}
    each = tuple(_each(*row, axes_m) for row in zip(targets.kinds, targets.boxes, counts, edges, strict=True))
    return Comparison(_errors(edges, counts, axes_m), by_kind, int((~inside.any(axis=0)).sum()), each)


def _each(
    kind: str, box: NDArray[np.int64], count: np.int64, edges: Points, axes_m: tuple[float, float] | None
) -> TargetError:
    x1, y1, x2, y2 = box.tolist()
    if count == 0:
        return TargetError(kind, (x1, y1, x2, y2), 0, None, None, None, None)
    x, y = edges.reshape(2, 2).mean(axis=0).tolist()
    centimetres = None if axes_m is None else float(np.abs(edges * np.tile(axes_m, 2)).max() * 100)
    return TargetError(kind, (x1, y1, x2, y2), int(count), x, y, float(np.abs(edges).max()), centimetres)


def _errors(edges: Points, counts: NDArray[np.int64], axes_m: tuple[float, float] | None) -> Errors:
    """Sum up displacements ``[T, 4]`` of left, top, right and bottom edges."""
    shown = edges[counts > 0]
    numbers: dict[str, Any] = dict.fromkeys(("bias_x_px", "bias_y_px", "rms_px", "max_px"), float("nan"))
    if len(shown):
        bias = shown.reshape(-1, 2, 2).mean(axis=(0, 1))
        numbers = {
            "bias_x_px": float(bias[0]),
            "bias_y_px": float(bias[1]),
            "rms_px": float(np.sqrt((shown**2).mean())),
            "max_px": float(np.abs(shown).max()),
        }
    numbers["max_cm"] = None
    if axes_m is not None:
        numbers["max_cm"] = float(np.abs(shown * np.tile(axes_m, 2)).max() * 100) if len(shown) else float("nan")
    return Errors(len(counts), int((counts == 0).sum()), int((counts > 1).sum()), **numbers)
