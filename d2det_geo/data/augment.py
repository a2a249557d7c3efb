"""How a training chip differs from what the camera saw: one affine view, one change of colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)
BLUR_SIGMA = (0.4, 1.0)  # px
QUARTER_TURNS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))  # cosine, sine


@dataclass(frozen=True, slots=True)
class Augment:
    """Ranges that augmentations are drawn from; the defaults change nothing."""

    flip: bool = False
    rotate: Literal["none", "quarter", "any"] = "none"
    """'any' needs outlines; images that have only boxes are turned by quarters."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Least and greatest zoom, drawn log-uniformly."""
    brightness: float = 0.0
    """Largest relative change."""
    contrast: float = 0.0
    """Largest relative change."""
    saturation: float = 0.0
    """Largest relative change."""
    colour: float = 0.0
    """Largest relative change of each band on its own."""
    blur: float = 0.0
    """Probability of a slight Gaussian blur."""
    noise: float = 0.0
    """Largest standard deviation of added noise, grey levels."""


def draw_turn(augment: Augment, rng: np.random.Generator, *, outlines: bool) -> Affine:
    """Draw the linear part of a view: zoom, flip and rotation, as a map from chip px to grid px."""
    low, high = augment.scale
    step = 1 / math.exp(rng.uniform(math.log(low), math.log(high)))
    if augment.rotate == "any" and outlines:
        angle = rng.uniform(0, 2 * math.pi)
        cosine, sine = math.cos(angle), math.sin(angle)
    else:
        cosine, sine = QUARTER_TURNS[0 if augment.rotate == "none" else rng.integers(4)]
    flip = -1.0 if augment.flip and rng.random() < 0.5 else 1.0
    return Affine(cosine * step * flip, -sine * step, 0.0, sine * step * flip, cosine * step, 0.0)


def warp(pixels: NDArray[np.uint8], known: NDArray[np.bool_], view: Affine, size: int) -> tuple[Tensor, Tensor]:
    """Resample a window bilinearly into a chip.

    Unknown pixels take no part: the colours are weighted by what is known, so that the border of
    the known area is not darkened. A view that shrinks by 2 or more is averaged first, against aliasing.

    Args:
        pixels: ``[C, H, W]``.
        known: ``[H, W]``.
        view: chip px -> window px, pixel edges at integers in both.
        size: side S of the chip, px.

    Returns:
        Chip ``[C, S, S]`` float32 in grey levels, 0 where unknown, and the known part ``[S, S]`` bool.
    """
    weights = torch.from_numpy(known).float()
    stack = torch.cat([torch.from_numpy(pixels).float() * weights, weights[None]])
    factor = max(int(math.sqrt(abs(view.determinant)) + 1e-9), 1)
    if factor > 1:
        height, width = stack.shape[1:]
        stack = F.avg_pool2d(F.pad(stack, (0, -width % factor, 0, -height % factor)), factor)
    height, width = stack.shape[1:]
    to_unit = Affine.translation(-1, -1) @ Affine.scale(2 / (factor * width), 2 / (factor * height))
    unit = to_unit @ view @ Affine.scale(size / 2) @ Affine.translation(1, 1)
    theta = torch.tensor([[[unit.a, unit.b, unit.c], [unit.d, unit.e, unit.f]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 1, size, size], align_corners=False)
    sampled = F.grid_sample(stack[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    weight = sampled[-1]
    inside = weight >= 0.5
    return sampled[:-1] / weight.clamp(min=0.5) * inside, inside


def change_colours(chip: Tensor, inside: Tensor, augment: Augment, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and colour, then blur and add noise.

    Args:
        chip: ``[3, S, S]`` grey levels.
        inside: ``[S, S]`` bool; the rest stays 0.
        augment: the ranges to draw from.
        rng: drawn from.

    Returns:
        ``[3, S, S]`` uint8, rounded.
    """
    matrix, offset = _colour_map(chip, inside, augment, rng)
    changed = (matrix @ chip.flatten(1) + offset[:, None]).view_as(chip)
    if augment.blur and rng.random() < augment.blur:
        changed = _blurred(changed, rng.uniform(*BLUR_SIGMA))
    if augment.noise:
        deviation = rng.uniform(0, augment.noise)
        changed = changed + torch.from_numpy(rng.standard_normal(chip.shape, np.float32)) * deviation
    return (changed.clamp(0, 255).round() * inside).to(torch.uint8).numpy()


def _colour_map(chip: Tensor, inside: Tensor, augment: Augment, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Brightness, contrast, saturation and band gains as one ``[3, 3]`` matrix and an offset ``[3]``."""
    names = ("brightness", "contrast", "saturation")
    brightness, contrast, saturation = (1 + rng.uniform(-1, 1) * getattr(augment, name) for name in names)
    gains = torch.from_numpy(1 + rng.uniform(-1, 1, 3) * augment.colour).float() * brightness
    luma = torch.tensor(LUMA)
    mean = (luma @ chip.flatten(1)).sum() / inside.sum().clamp(min=1)
    mixing = saturation * torch.eye(3) + (1 - saturation) * luma.expand(3, 3)
    return gains[:, None] * contrast * mixing, gains * (1 - contrast) * mean


def _blurred(chip: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    for axis in (1, 2):
        padding = (0, 0, radius, radius) if axis == 1 else (radius, radius, 0, 0)
        padded, length = F.pad(chip, padding, mode="replicate"), chip.shape[axis]
        chip = torch.zeros_like(chip)
        for offset, weight in enumerate(weights):
            chip.add_(padded.narrow(axis, offset, length), alpha=weight / sum(weights))
    return chip
