"""Light and camera: cast shadows, darker alleys, haze, blur, noise."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from d2det_geo.town.canvas import Canvas, Field
from d2det_geo.town.geometry import Points

AMBIENT = 0.45  # share of the light that does not come straight from the sun
_HAZE = np.array([0.72, 0.75, 0.8], np.float32)


def draw_sun(rng: np.random.Generator) -> Points:
    """Draw the sun of a morning or an afternoon: a unit vector towards it (x right, y down, z up)."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(38, 68))
    level = np.cos(elevation)
    return np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])


def shadow_height(height: Field, sun: Points, gsd_m: float) -> Field:
    """Give the height up to which each pixel stands in shadow, m, ``[H, W]``.

    A ray towards the sun climbs by a fixed amount per pixel, so the answer is the running maximum of
    ``height - climb * distance`` along the ray. It is taken in doubling steps: seven passes reach 127 px.
    """
    level = float(np.hypot(sun[0], sun[1]))
    climb = np.float32(sun[2] / level * gsd_m)
    towards = sun[:2] / level
    top = height.copy()
    reach = max(float(height.max()), 0.0) / float(climb)
    step = 1
    while step <= max(reach, 1):
        dx, dy = np.rint(towards * step).astype(int)
        here, there = _overlap(top.shape, int(dy), int(dx))
        climbed = top[there] - climb * np.float32(np.hypot(dx, dy))
        top[here] = np.maximum(top[here], climbed)
        step *= 2
    return top


def _overlap(shape: tuple[int, ...], dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Index the pixels whose neighbour at ``(dy, dx)`` exists, and those neighbours."""

    def pair(length: int, shift: int) -> tuple[slice, slice]:
        low, high = max(0, -shift), min(length, length - shift)
        return slice(low, max(high, low)), slice(low + shift, max(high, low) + shift)

    rows, columns = pair(shape[0], dy), pair(shape[1], dx)
    return (rows[0], columns[0]), (rows[1], columns[1])


@dataclass(frozen=True)
class Camera:
    """The look of one flight."""

    gain: Field
    haze: float
    contrast: float
    saturation: float
    shadow: Field
    blur: float
    noise: float
    vignette: float
    quality: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Camera:
        """Draw white balance, haze, contrast, saturation, shadow depth, blur (px), noise and JPEG quality."""
        warm = rng.normal(0, 0.035)
        gain = np.array([1 + warm, 1.0, 1 - warm]) * rng.uniform(0.9, 1.1)
        depth = rng.uniform(0.42, 0.68)
        return Camera(
            gain=gain.astype(np.float32),
            haze=float(rng.uniform(0.0, 0.12)),
            contrast=float(rng.uniform(0.9, 1.15)),
            saturation=float(rng.uniform(0.7, 1.0)),
            shadow=np.array([depth, depth * 0.97, depth * 0.9], np.float32),
            blur=float(rng.uniform(0.35, 0.75)),
            noise=float(rng.uniform(1.0, 3.5)),
            vignette=float(rng.uniform(0.0, 0.1)),
            quality=int(rng.integers(82, 95)),
        )


def expose(rng: np.random.Generator, canvas: Canvas, sun: Points, camera: Camera) -> NDArray[np.uint8]:
    """Turn a painted canvas into a picture ``[H, W, 3]``."""
    light = _hollow(canvas.height, canvas.gsd_m)
    across = np.linspace(-1, 1, len(light), dtype=np.float32) ** 2
    light *= 1 - np.float32(camera.vignette / 2) * (across + across[:, None])
    shadow = shadow_height(canvas.height, sun, canvas.gsd_m)
    shadow -= canvas.height
    np.clip(shadow / np.float32(0.4), 0, 1, out=shadow)
    grey = canvas.colour.mean(axis=2)
    exposed = np.empty(canvas.colour.shape, np.uint8)
    for band in range(3):
        plane = grey + np.float32(camera.saturation) * (canvas.colour[..., band] - grey)
        plane *= (1 - shadow * camera.shadow[band]) * light
        exposed[..., band] = _developed(plane, camera, band)
    picture = Image.fromarray(exposed)
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(camera.blur)))
    return _compressed(_noisy(rng, blurred, camera.noise), camera.quality)


def _developed(plane: Field, camera: Camera, band: int) -> NDArray[np.uint8]:
    """Apply white balance, haze and contrast to one band."""
    plane *= camera.gain[band] * np.float32(1 - camera.haze)
    plane += np.float32(camera.haze) * _HAZE[band]
    plane -= 0.5
    plane *= np.float32(camera.contrast * 255)
    plane += 127.5
    return np.clip(plane, 0, 255).astype(np.uint8)


def _hollow(height: Field, gsd_m: float) -> Field:
    """Darken what lies among higher things: less of the sky is seen there. ``[H, W]``, 0 to 1."""
    rows, columns = height.shape
    step = max(round(1.2 / gsd_m), 1)
    small = Image.fromarray(height).reduce(step)
    around = np.asarray(small.resize((max(small.width // 3, 1), max(small.height // 3, 1)), Image.Resampling.BOX))
    smooth = np.asarray(Image.fromarray(around).resize((columns, rows), Image.Resampling.BICUBIC))
    return np.asarray(1 - np.clip((smooth - height) * np.float32(0.035), 0, 0.25), np.float32)


def _noisy(rng: np.random.Generator, picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Add sensor noise, a strip at a time so that it needs little memory."""
    noisy = np.empty_like(picture)
    for top in range(0, len(picture), 256):
        strip = picture[top : top + 256]
        grain = rng.standard_normal(strip.shape, np.float32) * np.float32(sigma)
        noisy[top : top + 256] = np.clip(strip + grain + np.float32(0.5), 0, 255).astype(np.uint8)
    return noisy


def _compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Pass a picture through JPEG, as most published imagery was."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))
