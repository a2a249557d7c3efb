"""Roofs: form (flat, gable, hip, lean-to) and material, each painted in its building's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d2det_geo.town.canvas import Canvas, Field, Patch, noise
from d2det_geo.town.geometry import Points, direction
from d2det_geo.town.layout import Building
from d2det_geo.town.rooftop import furnish

MATERIALS = ("concrete", "tile", "steel", "blue", "rust", "red", "white", "tar")
SHEETS = frozenset({"steel", "blue", "rust", "red", "white"})
AMBIENT = 0.45  # share of light that does not come straight from the sun

_COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "concrete": ((176, 168, 155), (158, 152, 142), (188, 182, 172), (146, 138, 126), (168, 154, 138)),
    "tile": ((150, 84, 66), (132, 78, 60), (164, 98, 74), (118, 80, 66)),
    "steel": ((150, 158, 164), (132, 140, 146), (166, 170, 170), (118, 124, 128)),
    "blue": ((44, 108, 168), (58, 124, 184), (36, 86, 140), (90, 142, 178)),
    "rust": ((128, 98, 80), (112, 90, 78), (140, 112, 92), (104, 80, 68)),
    "red": ((164, 66, 62), (178, 84, 74), (140, 56, 54)),
    "white": ((214, 216, 214), (198, 202, 204), (222, 218, 208)),
    "tar": ((88, 86, 84), (74, 72, 72), (104, 100, 96)),
}


@dataclass(frozen=True)
class RoofStyle:
    """How common the roof materials of a town are, and where its sun stands."""

    weights: Points
    sun: Points
    """``[3]`` unit vector towards the sun: x right, y down, z up."""

    @staticmethod
    def draw(rng: np.random.Generator, sun: Points) -> RoofStyle:
        """Draw a town's mix of materials."""
        base = np.array([4.0, 1.0, 1.6, 1.1, 1.0, 0.6, 0.4, 0.35])
        return RoofStyle(rng.dirichlet(base * 1.6), sun)


def paint_roof(rng: np.random.Generator, canvas: Canvas, building: Building, style: RoofStyle) -> None:
    """Paint one roof, and raise the canvas to its height."""
    base = building.base
    patch = canvas.patch(base, 0.5)
    weights = style.weights.copy()
    size = base.length * base.width
    weights[0] *= 0.5 if size > 400 else 1.0
    material = str(rng.choice(MATERIALS, p=weights / weights.sum()))
    inside = patch.polygon(building.shape.outline)
    colour = _base_colour(rng, material)
    if material in {"concrete", "tar"}:
        _flat(rng, patch, inside, colour, building)
        return
    pitch = rng.uniform(0.35, 0.6) if material == "tile" else rng.uniform(0.06, 0.3)
    hip = rng.random() < (0.5 if material == "tile" else 0.12)
    lean_to = material != "tile" and rng.random() < 0.5
    rise, slope_u, slope_v = _lean_to(patch, pitch / 2) if lean_to else _pitched(patch, building.shape.wings, pitch, hip)
    ridge_axis = np.abs(slope_v) >= np.abs(slope_u)
    sheet = _sheets(rng, patch, ridge_axis, material) if material in SHEETS else _tiles(rng, patch, ridge_axis)
    surface = _worn(rng, colour * sheet[..., None], material)
    surface *= _shade(patch.angle, slope_u, slope_v, style.sun)[..., None]
    patch.paint(inside, surface, building.height + rise)


def _base_colour(rng: np.random.Generator, material: str) -> Field:
    palette = _COLOURS[material]
    colour = np.array(palette[rng.integers(len(palette))]) / 255
    return np.asarray(np.clip(colour * rng.normal(1, 0.07) + rng.normal(0, 0.012, 3), 0.05, 0.95), np.float32)


def _flat(rng: np.random.Generator, patch: Patch, inside: Field, colour: Field, building: Building) -> None:
    """Paint a slab with stains, a parapet, and what stands on a roof."""
    shape = inside.shape
    stains = 0.05 * noise(rng, shape, 12) + 0.03 * noise(rng, shape, 3)
    damp = np.clip(noise(rng, shape, 9) + 0.5 * noise(rng, shape, 3) - rng.uniform(0.4, 1.6), 0, 1)
    surface = colour * (1 + stains - 0.28 * damp)[..., None]
    patch.paint(inside, surface, building.height)
    if rng.random() < 0.35:
        half = patch.u - np.float32(rng.uniform(-0.2, 0.2) * building.base.length)
        step = float(rng.choice([0.0, 0.0, 2.8]))
        patch.paint(np.minimum(inside, half), surface * np.float32(rng.uniform(0.8, 1.15)), building.height + step)
    furnish(rng, patch, inside, building)
    if rng.random() < 0.85:
        width = np.float32(rng.uniform(0.16, 0.34))
        rim = np.minimum(inside, width - inside)
        tint = rng.choice([1.0, 1.12, 0.85]) * colour if rng.random() < 0.75 else rng.uniform(0.45, 0.8, 3)
        patch.paint(rim, np.asarray(tint, np.float32), building.height + rng.uniform(0.3, 1.0))


def _pitched(patch: Patch, wings: Points, pitch: float, hip: bool) -> tuple[Field, Field, Field]:
    """Raise a ridge over each wing; where wings cross, the higher face shows.

    Returns:
        Height above the eaves, m, and its slopes along u and v, each ``[H, W]``.
    """
    rise = np.full(patch.u.shape, -np.inf, np.float32)
    slope_u, slope_v = np.zeros_like(rise), np.zeros_like(rise)
    slope = np.float32(pitch)
    for u1, v1, u2, v2 in wings.astype(np.float32):
        u, v = patch.u - (u1 + u2) / 2, patch.v - (v1 + v2) / 2
        end, side = (u2 - u1) / 2 - np.abs(u), (v2 - v1) / 2 - np.abs(v)
        along_u = bool(u2 - u1 >= v2 - v1)
        on_side = np.full(u.shape, along_u) if not hip else side < end
        own = slope * np.where(on_side, side, end)
        higher = (own > rise) & (np.minimum(end, side) > -0.6)
        rise = np.where(higher, own, rise)
        slope_u = np.where(higher, np.where(on_side, 0, -slope * np.sign(u)), slope_u)
        slope_v = np.where(higher, np.where(on_side, -slope * np.sign(v), 0), slope_v)
    return np.where(np.isfinite(rise), rise, 0), slope_u, slope_v


def _lean_to(patch: Patch, pitch: float) -> tuple[Field, Field, Field]:
    rise = np.float32(pitch) * (patch.v - patch.v.min())
    return rise, np.zeros_like(rise), np.full_like(rise, pitch)


def _shade(angle: float, slope_u: Field, slope_v: Field, sun: Points) -> Field:
    """Light on a slope relative to the light on level ground, ``[H, W]``."""
    u_axis = direction(angle)
    sun_u = np.float32(u_axis @ sun[:2])
    sun_v = np.float32(-u_axis[1] * sun[0] + u_axis[0] * sun[1])
    facing = np.float32(sun[2]) - slope_u * sun_u - slope_v * sun_v
    direct = np.clip(facing / np.sqrt(1 + slope_u**2 + slope_v**2), 0, None) / np.float32(sun[2])
    return np.asarray(AMBIENT + (1 - AMBIENT) * np.minimum(direct, 1.6), np.float32)


def _sheets(rng: np.random.Generator, patch: Patch, ridge_along_u: Field, material: str) -> Field:
    """Tone of corrugated sheets laid down the slope: ribs, and sheets that differ."""
    across = np.where(ridge_along_u, patch.u, patch.v)
    down = np.where(ridge_along_u, patch.v, patch.u)
    width, length = rng.uniform(0.75, 1.1), rng.uniform(2.2, 4.0)
    spread = {"rust": 0.1, "steel": 0.08}.get(material, 0.035)
    tones = rng.normal(0, spread, (61, 31)).astype(np.float32)
    tone = tones[np.floor(across / width).astype(int) % 61, np.floor(down / length).astype(int) % 31]
    ribs = np.sin(across * np.float32(2 * np.pi / (width / rng.integers(2, 4))))
    return np.asarray(1 + tone + np.float32(rng.uniform(0.02, 0.07)) * ribs, np.float32)


def _tiles(rng: np.random.Generator, patch: Patch, ridge_along_u: Field) -> Field:
    """Tone of courses of tiles, which run level."""
    down = np.where(ridge_along_u, patch.v, patch.u)
    courses = np.sin(down * np.float32(2 * np.pi / rng.uniform(0.33, 0.5)))
    return np.asarray(1 + 0.05 * courses + 0.06 * noise(rng, patch.u.shape, 2), np.float32)


def _worn(rng: np.random.Generator, surface: Field, material: str) -> Field:
    """Let rust and dirt spread over a surface ``[H, W, 3]``."""
    shape = surface.shape[:2]
    chance = {"steel": 0.6, "rust": 0.95, "blue": 0.3, "red": 0.3}.get(material, 0.3)
    dirt = np.array([0.42, 0.31, 0.25] if material in SHEETS else [0.3, 0.27, 0.22], np.float32)
    threshold = rng.uniform(0.0, 1.2) if rng.random() < chance else 1.6
    patchy = np.clip(noise(rng, shape, 10) + 0.6 * noise(rng, shape, 3) - threshold, 0, 1)[..., None]
    return np.asarray(surface + np.float32(0.6) * patchy * (dirt - surface), np.float32)
