"""Outlines of objects, and lines drawn over pictures so that they show on any ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.metrics.overlaps import polygons_of
from d2det_geo.pipeline.evaluation import Points
from d2det_geo.runs import pixels

_HALO = (0, 0, 0)
_LEAST_STROKES = 8  # around an object: on a small one, too, a dashed line shows as such


@dataclass(frozen=True, slots=True)
class Style:
    """How a kind of object is drawn. The colours differ for every kind of eyes, and the strokes in grey, too."""

    colour: tuple[int, int, int]
    dash: tuple[float, float] | None
    """Lengths of stroke and gap, px, shorter on small objects; None is a solid line."""


RIGHT = Style((86, 180, 233), None)
WRONG = Style((255, 107, 26), (10, 6))
MISSED = Style((255, 237, 80), (3, 5))


def outlines_of(objects: Annotations, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """Return the outlines of some objects, of masks those of their pixels, else their boxes."""
    polygons = polygons_of(objects, rows)
    for place, row in enumerate(rows.tolist() if objects.outlines is not None else []):
        outline = objects.outlines[row]  # type: ignore[index]
        if isinstance(outline, Runs):
            polygons[place] = _traced(outline)
    return polygons


def _traced(mask: Runs) -> shapely.Geometry:
    """Trace the pixels of a mask, px of its image."""
    bits = pixels(mask).astype(np.uint8)
    place = Affine.translation(mask.x, mask.y)
    found = rasterio.features.shapes(bits, mask=bits.astype(bool), transform=place)
    return shapely.MultiPolygon([shapely.geometry.shape(part) for part, _ in found])


def draw(picture: Image.Image, rings: list[tuple[Points, Style]]) -> None:
    """Draw every line over a dark one: it shows on snow as on asphalt."""
    pen = ImageDraw.Draw(picture)
    for points, style in rings:
        for stroke in _strokes(points, style.dash):
            pen.line(stroke, fill=_HALO, width=5)
    for points, style in rings:
        for stroke in _strokes(points, style.dash):
            pen.line(stroke, fill=style.colour, width=3)


def _strokes(points: Points, dash: tuple[float, float] | None) -> Iterator[list[tuple[float, float]]]:
    """Cut a line into strokes, each a list of points."""
    if dash is None:
        yield [(x, y) for x, y in points.tolist()]
        return
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(round(float(along[-1]) / sum(dash)), _LEAST_STROKES)
    period = along[-1] / count
    for start in (np.arange(count) * period).tolist():
        ends = np.array([start, start + period * dash[0] / sum(dash)])
        between = along[(along > ends[0]) & (along < ends[1])]
        places = np.concatenate([ends[:1], between, ends[1:]])
        yield list(zip(*(np.interp(places, along, points[:, axis]).tolist() for axis in (0, 1)), strict=True))
