"""Trees, cars and small things on the ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.town.canvas import Canvas, Field, noise
from d2det_geo.town.geometry import Points, Rectangle
from d2det_geo.town.layout import Plan, Street, Tree
from d2det_geo.town.light import AMBIENT

_CARS = (
    (0.80, 0.80, 0.80),
    (0.30, 0.31, 0.33),
    (0.60, 0.13, 0.12),
    (0.66, 0.68, 0.70),
    (0.16, 0.26, 0.44),
    (0.9, 0.9, 0.88),
)

LOWEST_ROOF_M = 2.0
_COMPASS = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])


def has_room(built: NDArray[np.bool_], tree: Tree, gsd_m: float) -> bool:
    """Tell whether most of a crown hangs over open ground: its rim may reach over a roof a little.

    ``built [H, W]`` is true on roofs. A tree outside the scene has no room.
    """
    columns, rows = np.floor((tree.centre + 0.7 * tree.radius * _COMPASS) / gsd_m).astype(int).T
    if not (0 <= rows[0] < len(built) and 0 <= columns[0] < built.shape[1]):
        return False
    return not built[np.clip(rows, 0, len(built) - 1), np.clip(columns, 0, built.shape[1] - 1)].any()


def plant(rng: np.random.Generator, canvas: Canvas, tree: Tree, sun: Points, leaf: Field) -> None:
    """Paint one crown: a clump of balls, lit from the sun's side, ragged at the rim."""
    patch = canvas.patch(Rectangle(tree.centre, 0.0, 2 * tree.radius, 2 * tree.radius), 0.5 * tree.radius)
    if patch.u.size == 0:
        return
    crown = np.full(patch.u.shape, -1, np.float32)
    for _ in range(int(4 + tree.radius * 4)):
        around, out = rng.uniform(0, 2 * np.pi), tree.radius * 0.75 * np.sqrt(rng.random())
        size = np.float32(tree.radius * rng.uniform(0.25, 0.5))
        u, v = np.float32(out * np.cos(around)), np.float32(out * np.sin(around))
        ball = size**2 - (patch.u - u) ** 2 - (patch.v - v) ** 2
        dome = np.float32(0.5 * (tree.radius - out))
        crown = np.maximum(crown, np.where(ball > 0, dome + np.sqrt(np.maximum(ball, 0)), -1))
    bumps = crown + np.float32(0.12) * noise(rng, crown.shape, 1.5)
    slope_v, slope_u = np.gradient(bumps, canvas.gsd_m)
    facing = (sun[2] - slope_u * sun[0] - slope_v * sun[1]) / np.sqrt(1 + slope_u**2 + slope_v**2) / sun[2]
    light = AMBIENT + (1 - AMBIENT) * np.clip(facing, 0, 1.5)
    tint = leaf * np.asarray(rng.normal(1, 0.1) * rng.normal(1, 0.05, 3), np.float32)
    edge = np.where(crown > 0, 1, -1) * np.float32(0.1) + np.float32(0.05) * noise(rng, crown.shape, 1.2)
    surface = np.asarray(tint * light[..., None] * (1 + 0.12 * noise(rng, crown.shape, 1.3))[..., None], np.float32)
    patch.paint(np.minimum(edge, crown + 0.2), surface)
    trunk = max(tree.height - tree.radius, 0.3)
    np.maximum(patch.height, np.where(crown > 0, trunk + crown, 0), out=patch.height)


def park(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> None:
    """Put cars along the wider streets."""
    for street in plan.streets:
        if street.width >= 4.5:
            _cars(rng, canvas, street)


def _cars(rng: np.random.Generator, canvas: Canvas, street: Street) -> None:
    steps = np.diff(street.axis, axis=0)
    length = float(np.hypot(*steps.T).sum())
    for _ in range(rng.poisson(length / (14 if street.width > 10 else 35))):
        index = int(rng.integers(len(steps)))
        along = steps[index] / max(float(np.hypot(*steps[index])), 1e-6)
        across = np.array([-along[1], along[0]])
        off = rng.choice([-1, 1]) * street.width * rng.uniform(0.12, 0.42)
        centre = street.axis[index] + along * rng.uniform(0, 3) + across * off
        _car(rng, canvas, centre, float(np.arctan2(along[1], along[0]) + rng.normal(0, 0.05)))


def _car(rng: np.random.Generator, canvas: Canvas, centre: Points, angle: float) -> None:
    two_wheels = rng.random() < 0.45
    long = rng.random() < 0.12
    length, width = (1.9, 0.7) if two_wheels else ((8.5, 2.5) if long else (rng.uniform(3.5, 4.6), 1.75))
    patch = canvas.patch(Rectangle(centre, angle, length, width), 0.5)
    if patch.u.size == 0:
        return
    colour = np.array(_CARS[rng.integers(len(_CARS))], np.float32) * np.float32(rng.uniform(0.85, 1.05))
    if two_wheels:
        patch.paint(patch.box(0, 0, length, width * 0.6), colour * np.float32(0.35), 0.9)
        return
    patch.paint(patch.box(0, 0, length, width), colour, 1.0)
    patch.paint(
        patch.box(-0.05 * length, 0, 0.62 * length, width - 0.25), np.array([0.14, 0.16, 0.18], np.float32), 1.4
    )
    patch.paint(patch.box(-0.07 * length, 0, 0.42 * length, width - 0.3), colour * np.float32(1.03), 1.5)


def litter(rng: np.random.Generator, canvas: Canvas, plan: Plan) -> None:
    """Scatter heaps, crates and bushes, none as large as a building."""
    side = plan.side
    for _ in range(rng.poisson(side * side / 260)):
        size = rng.uniform(0.3, 1.6, 2)
        patch = canvas.patch(Rectangle(rng.uniform(0, side, 2), rng.uniform(0, np.pi), size[0], size[1]), 0.3)
        if patch.u.size:
            colour = np.asarray(rng.uniform(0.25, 0.75) * rng.normal(1, 0.12, 3), np.float32)
            patch.paint(patch.box(0, 0, size[0], size[1]), np.clip(colour, 0.05, 0.9), rng.uniform(0.1, 1.0))
