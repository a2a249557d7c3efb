"""Roofs: flat slabs, gables, hips and lean-tos, each painted in its building's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d2det_geo.town.canvas import Canvas, Field, Patch, noise
from d2det_geo.town.geometry import Points, direction
from d2det_geo.town.layout import Building
from d2det_geo.town.light import AMBIENT
from d2det_geo.town.materials import MATERIALS, base_colour, covering
from d2det_geo.town.rooftop import furnish

_USUAL = np.array([4.0, 1.0, 1.7, 0.9, 1.2, 0.6, 0.4, 0.35])  # of MATERIALS, on houses
_ON_HALLS = np.array([0.4, 0.6, 1.5, 2.0, 1.2, 1.0, 1.0, 1.0])  # factor on roofs above 350 m2


@dataclass(frozen=True)
class RoofStyle:
    """How common the roof materials of a town are, and where its sun stands."""

    weights: Points
    """``[8]`` of `MATERIALS`."""
    sun: Points
    """``[3]`` unit vector towards the sun: x right, y down, z up."""

    @staticmethod
    def draw(rng: np.random.Generator, sun: Points) -> RoofStyle:
        """Draw a town's mix of materials."""
        return RoofStyle(rng.dirichlet(_USUAL * 1.6), sun)


def paint_roof(rng: np.random.Generator, canvas: Canvas, building: Building, style: RoofStyle) -> None:
    """Paint one roof, and raise the canvas to its height."""
    base = building.base
    patch = canvas.patch(base, 0.5)
    weights = style.weights * (_ON_HALLS if base.length * base.width > 350 else 1)
    material = str(rng.choice(MATERIALS, p=weights / weights.sum()))
    inside = patch.polygon(building.shape.outline)
    if material in {"concrete", "tar"}:
        _slab(rng, patch, inside, base_colour(rng, material), building)
        return
    pitch = rng.uniform(0.35, 0.6) if material == "tile" else rng.uniform(0.06, 0.3)
    if material != "tile" and rng.random() < 0.5:
        rise, slope_u, slope_v = _lean_to(patch, pitch / 2)
    else:
        hip = rng.random() < (0.5 if material == "tile" else 0.12)
        rise, slope_u, slope_v = _ridged(patch, building.shape.wings, pitch, hip)
    surface = covering(rng, patch, material, np.abs(slope_v) >= np.abs(slope_u))
    surface *= _shade(patch.angle, slope_u, slope_v, style.sun)[..., None]
    patch.paint(inside, surface, building.height + rise)


def _slab(rng: np.random.Generator, patch: Patch, inside: Field, colour: Field, building: Building) -> None:
    """Paint a flat roof: stains, a storey on part of it, what stands on it, a parapet."""
    shape, top = inside.shape, building.height
    stains = 0.06 * noise(rng, shape, 12) + 0.04 * noise(rng, shape, 3) + 0.03 * noise(rng, shape, 1.4)
    damp = np.clip(noise(rng, shape, 9) + 0.5 * noise(rng, shape, 3) - rng.uniform(0.3, 1.6), 0, 1)
    surface = np.asarray(colour * (1 + stains - 0.3 * damp)[..., None], np.float32)
    patch.paint(inside, surface, top)
    if rng.random() < 0.35:
        half = np.minimum(inside, patch.u - np.float32(rng.uniform(-0.2, 0.2) * building.base.length))
        patch.paint(half, surface * np.float32(rng.uniform(0.8, 1.15)), top + float(rng.choice([0.0, 0.0, 2.8])))
    furnish(rng, patch, inside, building)
    if rng.random() < 0.85:
        width = np.float32(rng.uniform(0.16, 0.34))
        own, painted = rng.choice([1.0, 1.12, 0.85]) * colour, rng.uniform(0.45, 0.8, 3)
        tint = np.asarray(own if rng.random() < 0.75 else painted, np.float32)
        patch.paint(np.minimum(inside, width - inside), tint, top + rng.uniform(0.3, 1.0))


def _ridged(patch: Patch, wings: Points, pitch: float, hip: bool) -> tuple[Field, Field, Field]:
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
        on_side = side < end if hip else np.full(u.shape, u2 - u1 >= v2 - v1)
        own = slope * np.where(on_side, side, end)
        # A little beyond the wing's edge: the half-covered pixels of the rim need a face, too.
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
