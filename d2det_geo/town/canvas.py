"""The painting: colour and height of every pixel, and patches of it in an object's own frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from d2det_geo.town.geometry import Points, Rectangle, direction

Field = NDArray[np.float32]


def noise(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> Field:
    """Draw smooth noise ``[H, W]``, about standard normal, whose blobs are ``cell`` pixels wide."""
    height, width = shape
    grid = rng.standard_normal((int(height / cell) + 4, int(width / cell) + 4), np.float32)
    box = (1.0, 1.0, 1.0 + width / cell, 1.0 + height / cell)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(smooth, np.float32)


@dataclass(frozen=True)
class Canvas:
    """A scene while it is painted."""

    colour: Field
    """``[H, W, 3]`` what the surface reflects, 0 to 1, sRGB."""
    height: Field
    """``[H, W]`` metres above ground; casts the shadows."""
    gsd_m: float

    def patch(self, frame: Rectangle, margin: float) -> Patch:
        """Open the pixels around ``frame``, ``margin`` metres further on each side."""
        corners = frame.corners()
        low = np.maximum((corners.min(0) - margin) / self.gsd_m, 0).astype(int)
        high = np.ceil((corners.max(0) + margin) / self.gsd_m).astype(int)
        rows, columns = slice(low[1], max(high[1], 0)), slice(low[0], max(high[0], 0))
        colour = self.colour[rows, columns]
        x = (np.arange(colour.shape[1]) + low[0] + 0.5) * self.gsd_m - frame.centre[0]
        y = (np.arange(colour.shape[0]) + low[1] + 0.5) * self.gsd_m - frame.centre[1]
        ux, uy = direction(frame.angle)
        u = (x * ux + y[:, None] * uy).astype(np.float32)
        v = (y[:, None] * ux - x * uy).astype(np.float32)
        return Patch(colour, self.height[rows, columns], u, v, self.gsd_m, frame.angle)


@dataclass(frozen=True)
class Patch:
    """Views of a canvas around one object, with each pixel's place in the object's frame."""

    colour: Field
    height: Field
    u: Field
    v: Field
    gsd_m: float
    angle: float

    def paint(self, inside: Field, colour: Field, height: Field | float | None = None, opacity: float = 1.0) -> None:
        """Lay a colour over the pixels, anti-aliased.

        Args:
            inside: ``[H, W]`` signed distance to the edge, m, positive inside.
            colour: ``[3]`` or ``[H, W, 3]``.
            height: metres above ground the painted part stands at; None leaves the height.
            opacity: 0 to 1.
        """
        cover = np.clip(inside / self.gsd_m + 0.5, 0, 1)[..., None] * np.float32(opacity)
        self.colour[...] += cover * (colour - self.colour)
        if height is not None:
            np.copyto(self.height, np.asarray(height, np.float32), where=inside > 0)

    def box(self, u: float, v: float, length: float, width: float) -> Field:
        """Give the signed distance to a rectangle along the frame."""
        distance: Field = np.minimum(length / 2 - np.abs(self.u - u), width / 2 - np.abs(self.v - v))
        return distance

    def disc(self, u: float, v: float, radius: float) -> Field:
        """Give the signed distance to a disc."""
        distance: Field = np.float32(radius) - np.hypot(self.u - np.float32(u), self.v - np.float32(v))
        return distance

    def polygon(self, ring: Points) -> Field:
        """Give the signed distance to a simple ring in the frame's coordinates."""
        nearest = np.full(self.u.shape, np.inf, np.float32)
        odd = np.zeros(self.u.shape, np.bool_)
        for (u1, v1), (u2, v2) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True):
            du, dv = u2 - u1, v2 - v1
            pu, pv = self.u - np.float32(u1), self.v - np.float32(v1)
            share = np.clip((pu * np.float32(du) + pv * np.float32(dv)) / np.float32(du * du + dv * dv), 0, 1)
            nearest = np.minimum(nearest, (pu - share * np.float32(du)) ** 2 + (pv - share * np.float32(dv)) ** 2)
            if dv:
                odd ^= ((self.v < v1) != (self.v < v2)) & (pu < pv * np.float32(du / dv))
        return np.where(odd, 1, -1) * np.sqrt(nearest)
