"""A picture of a scene with the outlines of its objects, small enough for a page."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.windows import Window

from d2det_geo.places import mapped_back
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.vector.output import atomic_path

_COLOUR = (255, 206, 40)  # stands out from roofs, leaves, soil and asphalt alike
_FILL, _LINE = 0.1, 0.9  # opacity
_FINER = 4  # outlines are drawn this much larger, then reduced: smooth edges
_LINE_PX = 1.0


def draw_preview(scene_path: str | Path, frame: gpd.GeoDataFrame, out: Path, *, longest_px: int = 1200) -> None:
    """Draw a reduced scene with objects over it, and write it as PNG.

    The scene is averaged down by a whole number, a strip at a time, so memory does not grow with its height.

    Args:
        scene_path: anything ``open_scene`` reads.
        frame: (Multi)Polygons in any CRS; scene pixels if the scene has no georeference.
        out: PNG to write; appears complete or not at all.
        longest_px: most pixels of the picture's longer side.

    Raises:
        InputError: the scene cannot be read.
        D2DetError: ``out`` cannot be written.
    """
    with open_scene(scene_path) as scene:
        step = max(ceil(max(scene.width, scene.height) / longest_px), 1)
        picture = _reduced(scene, step)
        here = frame if scene.crs is None or frame.crs is None else frame.to_crs(scene.crs)
        polygons = shapely.get_parts(mapped_back(here.geometry.to_numpy(), scene.transform))
    with atomic_path(out) as temporary:
        Image.fromarray(_overlaid(picture, polygons, step)).save(temporary, format="PNG", optimize=True)


def _reduced(scene: Scene, step: int) -> Image.Image:
    """Average squares of ``step`` px; those cut by the scene's edge are averaged over what there is."""
    picture = Image.new("RGB", (ceil(scene.width / step), ceil(scene.height / step)))
    rows = step * max(512 // step, 1)
    for top in range(0, scene.height, rows):
        chip, _ = scene.read(Window(0, top, scene.width, min(rows, scene.height - top)))
        strip = Image.fromarray(np.ascontiguousarray(chip.transpose(1, 2, 0)))
        picture.paste(strip.reduce(step), (0, top // step))
    return picture


def _overlaid(picture: Image.Image, polygons: NDArray[np.object_], step: int) -> NDArray[np.uint8]:
    """Blend fill and outline over a picture; ``polygons`` in scene px."""
    size = (picture.width * _FINER, picture.height * _FINER)
    fill, line = Image.new("L", size), Image.new("L", size)
    fill_pen, line_pen = ImageDraw.Draw(fill), ImageDraw.Draw(line)
    for polygon in polygons:
        rings = [_points(ring, _FINER / step) for ring in (polygon.exterior, *polygon.interiors)]
        for ring, shade in zip(rings, [255] + [0] * len(polygon.interiors), strict=True):
            fill_pen.polygon(ring, fill=shade)
            line_pen.line([*ring, ring[1]], fill=255, width=round(_LINE_PX * _FINER), joint="curve")
    blended = np.asarray(picture, np.float32)
    for mask, opacity in ((fill, _FILL), (line, _LINE)):
        cover = np.asarray(mask.reduce(_FINER), np.float32)[..., None] * np.float32(opacity / 255)
        blended = blended + cover * (np.array(_COLOUR, np.float32) - blended)
    return np.asarray(np.rint(blended), np.uint8)


def _points(ring: shapely.LinearRing, scale: float) -> list[tuple[float, float]]:
    return [(x * scale, y * scale) for x, y in shapely.get_coordinates(ring).tolist()]
