"""Everything at ground level: yards, streets, lane marks, walls between lots."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from d2det_geo.town.canvas import Field, noise
from d2det_geo.town.geometry import Points
from d2det_geo.town.layout import Lot, Plan, Street

Colour = tuple[int, int, int]
SMOOTH, SOIL, GREEN = 0, 1, 2

GRASSES: tuple[Colour, ...] = ((98, 108, 62), (86, 100, 58), (112, 112, 70), (74, 92, 50))
SOILS: tuple[Colour, ...] = ((154, 139, 119), (142, 122, 101), (130, 112, 94), (164, 151, 132))
PAVINGS: tuple[Colour, ...] = ((150, 146, 138), (132, 128, 122), (158, 150, 138), (140, 126, 112))
ASPHALTS: tuple[Colour, ...] = ((118, 116, 114), (104, 103, 104), (132, 128, 122))


@dataclass(frozen=True)
class _Layers:
    """Flat colours at twice the resolution, and the kind of ground at half of that, both 8 bit."""

    colour: ImageDraw.ImageDraw
    kind: ImageDraw.ImageDraw
    gsd_m: float

    def fill(self, ring: Points, colour: Colour, kind: int) -> None:
        if len(ring) >= 3:
            self.colour.polygon([tuple(p) for p in (ring * 2 / self.gsd_m).tolist()], fill=colour)
            self.kind.polygon([tuple(p) for p in (ring / self.gsd_m).tolist()], fill=kind)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        pixels = max(round(width * 2 / self.gsd_m), 1)
        self.colour.line([tuple(p) for p in (points * 2 / self.gsd_m).tolist()], fill=colour, width=pixels)


def paint_ground(rng: np.random.Generator, plan: Plan, size: int, gsd_m: float) -> Field:
    """Paint yards and streets.

    Returns:
        ``[size, size, 3]`` colours, 0 to 1.
    """
    flat = Image.new("RGB", (2 * size, 2 * size), tuple(rng.integers(120, 150, 3).tolist()))
    kind = Image.new("L", (size, size), SMOOTH)
    layers = _Layers(ImageDraw.Draw(flat), ImageDraw.Draw(kind), gsd_m)
    for lot in plan.lots:
        _yard(rng, layers, lot)
    dusty = rng.uniform(0, 1)
    for street in sorted(plan.streets, key=lambda street: street.width):
        _street(rng, layers, street, dusty)
    colour = np.asarray(flat.reduce(2), np.float32)
    colour *= np.float32(1 / 255)
    return _textured(rng, colour, np.asarray(kind))


def _varied(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    base = np.array(colours[rng.integers(len(colours))])
    red, green, blue = np.clip(base * rng.normal(1, 0.05) + rng.normal(0, 2.5, 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _yard(rng: np.random.Generator, layers: _Layers, lot: Lot) -> None:
    colours, kind = {
        "grass": (GRASSES, GREEN),
        "garden": (GRASSES, GREEN),
        "soil": (SOILS, SOIL),
        "paved": (PAVINGS, SMOOTH),
    }[lot.yard]
    layers.fill(lot.outline, _varied(rng, colours), kind)
    if lot.yard == "garden":
        _beds(rng, layers, lot.outline)
    if rng.random() < 0.45:
        closed = np.concatenate([lot.outline, lot.outline[:1]])
        layers.line(closed, rng.uniform(0.15, 0.3), _varied(rng, PAVINGS))


def _beds(rng: np.random.Generator, layers: _Layers, ring: Points) -> None:
    """Dig a few beds of other soil or crop into a garden."""
    centre = ring.mean(0)
    for _ in range(rng.integers(1, 4)):
        shift = (ring[rng.integers(len(ring))] - centre) * rng.uniform(0.2, 0.5)
        bed = centre + shift + (ring - centre) * rng.uniform(0.2, 0.4)
        soil = rng.random() < 0.4
        layers.fill(bed, _varied(rng, SOILS if soil else GRASSES), SOIL if soil else GREEN)


def _street(rng: np.random.Generator, layers: _Layers, street: Street, dusty: float) -> None:
    dirt = rng.random() < (0.15 + 0.5 * dusty if street.width < 6 else 0.1 * dusty)
    layers.fill(street.outline, _varied(rng, SOILS if dirt else (*ASPHALTS, *PAVINGS[:2])), SOIL if dirt else SMOOTH)
    if street.width < 7 or dirt:
        return
    layers.line(street.axis, street.width, _varied(rng, SOILS))
    layers.line(street.axis, street.width * rng.uniform(0.7, 0.85), _varied(rng, ASPHALTS))
    if street.width > 11:
        _lane_marks(layers, street)


def _lane_marks(layers: _Layers, street: Street) -> None:
    """Mark the middle with a line and each half with dashes."""
    layers.line(street.axis, 0.25, (196, 192, 176))
    along = np.gradient(street.axis, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(*along.T)[:, None]
    for side in (-1, 1):
        lane = street.axis + side * across * street.width * 0.19
        for start, end in pairwise(lane):
            layers.line(np.stack([start, start + (end - start) * 0.4]), 0.15, (186, 184, 174))


def _textured(rng: np.random.Generator, colour: Field, kind: NDArray[np.uint8]) -> Field:
    """Break up flat colours: fine grain everywhere, tufts on green, worn patches where noise says so."""
    shape = colour.shape[:2]
    tone = 0.5 * noise(rng, shape, 1.6) + 0.6 * noise(rng, shape, 5) + 0.5 * noise(rng, shape, 17)
    tone *= np.array([0.05, 0.085, 0.15], np.float32)[kind]
    tone += np.float32(0.035) * (noise(rng, shape, 60) + noise(rng, shape, 230)) + 1
    bare = np.clip(noise(rng, shape, 35) + 0.6 * noise(rng, shape, 9) - 0.5, 0, 1)
    bare *= np.array([0.4, 0.5, 0.6], np.float32)[kind]
    lush = np.clip(noise(rng, shape, 25) + 0.3 * noise(rng, shape, 6) - 0.2, 0, 1)
    lush *= np.array([0.0, 0.35, 1.0], np.float32)[kind]
    soil = np.array(SOILS[rng.integers(len(SOILS))], np.float32) / np.float32(255)
    for band, thirst in enumerate((0.28, 0.1, 0.3)):
        plane = colour[..., band]
        plane *= tone
        plane *= 1 - np.float32(thirst) * lush
        plane += bare * (soil[band] - plane)
    return colour
