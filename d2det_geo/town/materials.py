"""What roofs are made of: colours, sheets, tiles, wear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2det_geo.town.canvas import Field, Patch, noise

MATERIALS = ("concrete", "tile", "steel", "blue", "rust", "red", "white", "tar")
SHEETS = ("steel", "blue", "rust", "red", "white")

_COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "concrete": ((168, 160, 147), (152, 146, 136), (184, 178, 168), (138, 130, 119), (160, 147, 131)),
    "tile": ((150, 84, 66), (132, 78, 60), (158, 96, 74), (118, 80, 66)),
    "steel": ((150, 158, 164), (132, 140, 146), (166, 170, 170), (118, 124, 128)),
    "blue": ((50, 108, 162), (58, 120, 176), (44, 88, 136), (92, 138, 170)),
    "rust": ((126, 100, 84), (110, 92, 80), (136, 114, 98), (102, 84, 74)),
    "red": ((160, 70, 64), (172, 86, 76), (138, 60, 56)),
    "white": ((208, 210, 208), (192, 196, 198), (214, 210, 202)),
    "tar": ((88, 86, 84), (74, 72, 72), (104, 100, 96)),
}
_DIRT = {"tile": (0.3, 0.27, 0.22)}
_RUST = (0.42, 0.31, 0.25)


def base_colour(rng: np.random.Generator, material: str) -> Field:
    """Draw one roof's colour ``[3]``, 0 to 1."""
    palette = _COLOURS[material]
    colour = np.array(palette[rng.integers(len(palette))]) / 255
    return np.asarray(np.clip(colour * rng.normal(1, 0.08) + rng.normal(0, 0.014, 3), 0.05, 0.95), np.float32)


def covering(rng: np.random.Generator, patch: Patch, material: str, ridge_along_u: NDArray[np.bool_]) -> Field:
    """Draw the look of a pitched roof before light falls on it.

    Args:
        rng: source of all choices.
        patch: the roof's pixels.
        material: one of `MATERIALS`.
        ridge_along_u: ``[H, W]`` true where the face's ridge runs along u.

    Returns:
        ``[H, W, 3]`` colours, 0 to 1.
    """
    surface = _sheets(rng, patch, material, ridge_along_u) if material in SHEETS else _tiles(rng, patch, ridge_along_u)
    return _worn(rng, surface, material)


def _sheets(rng: np.random.Generator, patch: Patch, material: str, ridge_along_u: NDArray[np.bool_]) -> Field:
    """Lay corrugated sheets down the slope: ribs, sheets that differ, and some that replaced others."""
    across = np.where(ridge_along_u, patch.u, patch.v)
    down = np.where(ridge_along_u, patch.v, patch.u)
    width, length = rng.uniform(0.75, 1.1), rng.uniform(2.2, 4.0)
    spread = {"rust": 0.06, "steel": 0.06}.get(material, 0.03)
    table = base_colour(rng, material) * rng.normal(1, spread, (61, 31, 1)).astype(np.float32)
    if rng.random() < 0.4:
        replaced = rng.random((61, 31)) < rng.uniform(0.03, 0.2)
        table[replaced] = base_colour(rng, str(rng.choice(SHEETS, p=(0.45, 0.1, 0.3, 0.05, 0.1))))
    surface = table[np.floor(across / width).astype(int) % 61, np.floor(down / length).astype(int) % 31]
    ribs = np.sin(across * np.float32(2 * np.pi / (width / rng.integers(2, 4))))
    return np.asarray(surface * (1 + np.float32(rng.uniform(0.02, 0.08)) * ribs)[..., None], np.float32)


def _tiles(rng: np.random.Generator, patch: Patch, ridge_along_u: NDArray[np.bool_]) -> Field:
    """Lay courses of tiles, which run level."""
    down = np.where(ridge_along_u, patch.v, patch.u)
    courses = np.sin(down * np.float32(2 * np.pi / rng.uniform(0.33, 0.5)))
    tone = 1 + 0.05 * courses + 0.07 * noise(rng, patch.u.shape, 2) + 0.05 * noise(rng, patch.u.shape, 7)
    return np.asarray(base_colour(rng, "tile") * tone[..., None], np.float32)


def _worn(rng: np.random.Generator, surface: Field, material: str) -> Field:
    """Let rust or dirt spread over a surface ``[H, W, 3]``."""
    shape = surface.shape[:2]
    chance = {"steel": 0.65, "rust": 0.95}.get(material, 0.35)
    dirt = np.array(_DIRT.get(material, _RUST), np.float32) * np.float32(rng.uniform(0.7, 1.2))
    threshold = rng.uniform(0.0, 1.2) if rng.random() < chance else 1.5
    patchy = np.clip(noise(rng, shape, 10) + 0.6 * noise(rng, shape, 3) - threshold, 0, 1)[..., None]
    grain = 1 + np.float32(0.03) * noise(rng, shape, 1.5)[..., None]
    return np.asarray((surface + np.float32(0.6) * patchy * (dirt - surface)) * grain, np.float32)
