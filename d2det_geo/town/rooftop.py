"""What stands on flat roofs: stair heads, water tanks, pots of plants, solar panels, clutter."""

from __future__ import annotations

import numpy as np

from d2det_geo.town.canvas import Field, Patch, noise
from d2det_geo.town.layout import Building
from d2det_geo.town.materials import SHEETS, covering

_TANKS = ((0.10, 0.10, 0.11), (0.12, 0.52, 0.40), (0.14, 0.30, 0.58), (0.72, 0.73, 0.72), (0.08, 0.09, 0.10))
_CLUTTER = ((0.55, 0.30, 0.24), (0.24, 0.36, 0.55), (0.78, 0.77, 0.74), (0.30, 0.28, 0.26), (0.62, 0.56, 0.46))


def furnish(rng: np.random.Generator, patch: Patch, inside: Field, building: Building) -> None:
    """Put things on a slab; all stay within the outline."""
    wing = building.shape.wings[rng.integers(len(building.shape.wings))]

    def place(margin: float = 0.9) -> tuple[float, float]:
        low, high = wing[:2] + margin, wing[2:] - margin
        u, v = rng.uniform(np.minimum(low, high), np.maximum(low, high))
        return float(u), float(v)

    top = building.height
    if rng.random() < 0.22:
        _shed(rng, patch, wing, inside, top)
    if rng.random() < 0.6 and min(wing[2:] - wing[:2]) > 4.5:
        _stair_head(rng, patch, wing, top)
    for _ in range(rng.poisson(1.1)):
        _tank(rng, patch, place(), top)
    for _ in range(rng.poisson(2.0)):
        u, v = place(0.6)
        size = rng.uniform(0.3, 1.4, 2)
        colour = np.array(_CLUTTER[rng.integers(len(_CLUTTER))], np.float32)
        patch.paint(np.minimum(patch.box(u, v, size[0], size[1]), inside), colour, top + rng.uniform(0.1, 0.8))
    if rng.random() < 0.12:
        _panels(rng, patch, place(1.6), inside, top)
    if rng.random() < 0.45:
        _pots(rng, patch, inside, top)


def _stair_head(rng: np.random.Generator, patch: Patch, wing: Field, top: float) -> None:
    """Stand a small cabin in a corner of the slab."""
    size = np.array([rng.uniform(2.2, 3.8), rng.uniform(2.0, 3.2)])
    corner = rng.integers(0, 2, 2)
    centre = np.where(corner, wing[2:] - size / 2 - 0.1, wing[:2] + size / 2 + 0.1)
    colour = np.asarray(rng.uniform(0.5, 0.72) * np.array([1, 0.97, 0.92]), np.float32)
    cabin = patch.box(float(centre[0]), float(centre[1]), float(size[0]), float(size[1]))
    patch.paint(cabin, colour * np.float32(0.85), top + 2.5)
    patch.paint(cabin - np.float32(0.2), colour, top + 2.3)


def _tank(rng: np.random.Generator, patch: Patch, place: tuple[float, float], top: float) -> None:
    colour = np.array(_TANKS[rng.integers(len(_TANKS))], np.float32)
    radius = float(rng.uniform(0.4, 0.75))
    base = top + (rng.random() < 0.4) * 1.2
    tank = patch.disc(place[0], place[1], radius)
    patch.paint(tank, colour, base + 1.4)
    patch.paint(tank - np.float32(0.6 * radius), np.minimum(colour * np.float32(1.3) + np.float32(0.08), 1))


def _panels(rng: np.random.Generator, patch: Patch, place: tuple[float, float], inside: Field, top: float) -> None:
    """Lay a row of solar panels or collectors."""
    u, v = place
    for step in range(rng.integers(1, 4)):
        panel = np.minimum(patch.box(u + 1.1 * step, v, 1.0, 1.7), inside - np.float32(0.2))
        patch.paint(panel, np.array([0.12, 0.15, 0.24], np.float32), top + 0.6)


def _pots(rng: np.random.Generator, patch: Patch, inside: Field, top: float) -> None:
    """Line the parapet with plants."""
    gaps = noise(rng, inside.shape, 4) + 0.8 * noise(rng, inside.shape, 14)
    band = np.minimum(inside - np.float32(0.25), np.float32(rng.uniform(0.6, 1.2)) - inside)
    leaves = np.minimum(band, (gaps - np.float32(rng.uniform(0.3, 1.4))) * np.float32(0.3))
    patch.paint(leaves, np.array([0.27, 0.34, 0.18], np.float32) * np.float32(rng.uniform(0.7, 1.2)), top + 0.5)


def _shed(rng: np.random.Generator, patch: Patch, wing: Field, inside: Field, top: float) -> None:
    """Cover one end of the slab with sheets on posts."""
    share, end = rng.uniform(0.25, 0.5), rng.choice([-1, 1])
    length, width = wing[2:] - wing[:2]
    u = (wing[0] + wing[2] + end * length * (1 - share)) / 2
    cover = np.minimum(patch.box(float(u), float((wing[1] + wing[3]) / 2), float(length * share), float(width)), inside)
    sheets = covering(rng, patch, str(rng.choice(SHEETS)), np.zeros(inside.shape, np.bool_))
    patch.paint(cover - np.float32(0.15), sheets, top + 2.3)
