"""Procedural towns as labelled images."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine

from d2det_geo.data.images import LabelledImage, array_reader
from d2det_geo.data.resample import resampled
from d2det_geo.data.vector import judge_inside
from d2det_geo.places import mapped
from d2det_geo.town import make_town
from d2det_geo.vector.repair import polygonal


def town_images(
    first_seed: int,
    towns: int,
    size: int,
    gsd_m: float,
    target_gsd_m: float | None = None,
    *,
    label: int = 0,
) -> list[LabelledImage]:
    """Make towns of consecutive seeds; they stay in memory, ``3 * size**2`` bytes each at their own GSD.

    Args:
        first_seed: seed of the first town.
        towns: how many.
        size: side of a town, px of ``gsd_m``.
        gsd_m: GSD at which the towns are drawn, m/px.
        target_gsd_m: GSD to which they are resampled, m/px; None keeps theirs.
        label: the model's class of their buildings.
    """
    return [
        _town_image(seed, size, gsd_m, target_gsd_m or gsd_m, label) for seed in range(first_seed, first_seed + towns)
    ]


def _town_image(seed: int, size: int, gsd_m: float, target_gsd_m: float, label: int) -> LabelledImage:
    town = make_town(seed, size, gsd_m)
    side = max(round(size * gsd_m / target_gsd_m), 1)
    image = resampled(town.image, side, side)
    outlines = np.array([shapely.Polygon(outline) for outline in town.polygons], dtype=object)
    polygons = polygonal(mapped(outlines, Affine.scale(side / size)))
    labels = np.full(len(polygons), label, dtype=object)
    annotations = judge_inside(polygons, labels, shapely.box(0, 0, side, side))
    return LabelledImage(f"town {seed}", side, side, annotations, array_reader(image))
