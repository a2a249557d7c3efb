"""Make a town: plan it, paint it, light it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2det_geo.town.canvas import Canvas
from d2det_geo.town.ground import paint_ground
from d2det_geo.town.layout import Plan, draw_plan
from d2det_geo.town.light import Camera, draw_sun, expose
from d2det_geo.town.roofs import RoofStyle, paint_roof
from d2det_geo.town.things import LOWEST_ROOF_M, has_room, litter, park, plant


@dataclass(frozen=True, eq=False)
class Town:
    """An aerial picture of a town that never was, and where its roofs are."""

    image: NDArray[np.uint8]
    """``[3, size, size]`` red, green, blue."""
    polygons: tuple[NDArray[np.float64], ...]
    """Each roof's exact outline ``[V, 2]`` as (x, y), px, edges of pixels at integers; simple rings, first
    vertex not repeated, inside the scene, not overlapping; 30 to 900 m2."""
    gsd_m: float


def make_town(seed: int, size: int = 3000, gsd_m: float = 0.15) -> Town:
    """Make a town from a seed; the same arguments give the same bytes.

    Streets bend and blocks turn, roofs are of several materials, and one sun casts every shadow. Lots are
    cut from the scene itself, so no building crosses its edge.

    Args:
        seed: 0 or more.
        size: side of the scene, 256 to 8192 px.
        gsd_m: metres per pixel, 0.05 to 1.

    Raises:
        ValueError: an argument out of range.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if not 256 <= size <= 8192:
        raise ValueError(f"size must be 256 to 8192 px, got {size}")
    if not 0.05 <= gsd_m <= 1:
        raise ValueError(f"gsd_m must be 0.05 to 1 m/px, got {gsd_m}")
    rng = np.random.default_rng(seed)
    sun = draw_sun(rng)
    plan = draw_plan(rng, size * gsd_m)
    canvas = _paint(rng, plan, sun, size, gsd_m)
    picture = expose(rng, canvas, sun, Camera.draw(rng))
    outlines = tuple(building.outline() / gsd_m for building in plan.buildings)
    return Town(np.ascontiguousarray(picture.transpose(2, 0, 1)), outlines, gsd_m)


def _paint(rng: np.random.Generator, plan: Plan, sun: NDArray[np.float64], size: int, gsd_m: float) -> Canvas:
    canvas = Canvas(paint_ground(rng, plan, size, gsd_m), np.zeros((size, size), np.float32), gsd_m)
    park(rng, canvas, plan)
    litter(rng, canvas, plan)
    style = RoofStyle.draw(rng, sun)
    for building in plan.buildings:
        paint_roof(rng, canvas, building, style)
    leaf = np.asarray(np.array([0.30, 0.37, 0.19]) * rng.normal(1, 0.1, 3), np.float32)
    built = canvas.height > LOWEST_ROOF_M
    for tree in sorted(plan.trees, key=lambda tree: tree.height):
        if has_room(built, tree, gsd_m):
            plant(rng, canvas, tree, sun, leaf)
    return canvas
