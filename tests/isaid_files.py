"""Synthetic iSAID: PNG triples in the released layout and the devkit's, for tests and the bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from d2det_geo.data.formats.isaid_classes import COLOURS

PALETTE = np.array(list(COLOURS.values()), np.uint8)
FOLDERS = {"": "images", "_instance_id_RGB": "Instance_masks/images", "_instance_color_RGB": "Semantic_masks/images"}


def write_rgb(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write ``[H, W, 3]`` red, green, blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes())
    return path


def id_pixels(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Spread ids ``[H, W]`` over red, green, blue, lowest first."""
    return np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def colour_pixels(ids: NDArray[np.integer], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Paint the class of each id, official number from 1; the rest is black."""
    table = np.zeros((int(ids.max()) + 1, 3), np.uint8)
    for instance, number in classes.items():
        if instance < len(table):
            table[instance] = PALETTE[number - 1]
    return table[ids]


def write_triple(
    split: Path,
    stem: str,
    ids: NDArray[np.integer],
    classes: Mapping[int, int],
    *,
    released: bool = False,
    seed: int = 0,
) -> None:
    """Write an image and its maps, side by side in ``images`` or as released."""
    rows, columns = np.indices(ids.shape)  # every pixel another, and quick to pack
    image = np.stack([rows % 251, columns % 241, (rows // 251 + columns // 241 + seed) % 256], axis=-1).astype(np.uint8)
    parts = {"": image, "_instance_id_RGB": id_pixels(ids), "_instance_color_RGB": colour_pixels(ids, classes)}
    for suffix, pixels in parts.items():
        folder = FOLDERS[suffix] if released else "images"
        write_rgb(split / folder / f"{stem}{suffix}.png", pixels)


def scattered(height: int, width: int, count: int, seed: int = 0) -> tuple[NDArray[np.uint32], dict[int, int]]:
    """Scatter ellipses and boxes over a map: ids ``[H, W]``, and the class of each id."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((height, width), np.uint32)
    numbers = 1000 + np.cumsum(rng.integers(1, 400, count))
    for number in numbers.tolist():
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        half = max(int(rng.lognormal(1.9, 0.8)), 1), max(int(rng.lognormal(1.9, 0.8)), 1)
        canvas = ids[max(y - 80, 0) : y + 80, max(x - 80, 0) : x + 80]
        mask = np.zeros(canvas.shape, np.uint8)
        centre = (min(x, 80), min(y, 80))
        if number % 2:
            cv2.ellipse(mask, centre, half, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        else:
            corner = (centre[0] + half[0], centre[1] + half[1])
            cv2.rectangle(mask, centre, corner, 1, -1)
        canvas[mask > 0] = number
    return ids, {number: 1 + number % 15 for number in numbers.tolist()}
