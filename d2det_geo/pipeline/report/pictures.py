"""Regions of images as small pictures, with what is right, wrong and missed drawn over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from d2det_geo.annotations import Annotations
from d2det_geo.data.image_files import ImageFiles
from d2det_geo.errors import InputError
from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.errors import Errors
from d2det_geo.pipeline.evaluation import Evaluation, Points
from d2det_geo.pipeline.report.html import Html, element, joined, number, paragraph, section
from d2det_geo.pipeline.report.regions import Region, worst_regions
from d2det_geo.pipeline.report.strokes import MISSED, RIGHT, WRONG, draw, outlines_of
from d2det_geo.raster.scene import Scene, open_scene

_LONGEST_PX = 800
_QUALITY = 80


def pictures_section(evaluation: Evaluation, compared: Compared, errors: Errors) -> Html:
    """Show the regions with most errors, where their images are at hand."""
    found: list[Html] = []
    told = ""
    if evaluation.images is None and evaluation.scene is None:
        told = "The images were not given, so none are shown here."
    elif not (errors.wrong.any() or errors.missed.any()):
        told = "There are no errors at this score."
    else:
        frame = _Frame(evaluation)
        boxes = frame.boxes(compared.truth), frame.boxes(compared.predictions)
        for region in worst_regions(compared, errors, frame.size_of, boxes):
            picture = _picture(frame, region, compared, errors, boxes)
            if picture is not None:
                found.append(picture)
        told = "Those with most errors first, at the score of precision and recall."
        if frame.missing:
            told += f" Images with errors that could not be read: {number(frame.missing)}, such as {frame.example}."
    legend = element(
        "ul",
        *(
            element("li", element("i", class_=f"stroke {name}"), text)
            for name, text in (("right", "right detection"), ("wrong", "wrong detection"), ("missed", "missed object"))
        ),
        class_="legend",
    )
    pictures = (legend, element("div", *found, class_="pictures")) if found else ()
    return section("Worst images", "pictures", paragraph(told), *pictures)


class _Frame:
    """Where the images are, and the way from annotations to their px."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.missing = 0
        self.example = ""
        self._evaluation = evaluation
        self._sizes: dict[int, tuple[int, int] | None] = {}

    def path_of(self, image: int) -> Path | None:
        """Find an image; None where its name leads out of the folder or to nothing."""
        if self._evaluation.scene is not None:
            return self._evaluation.scene
        folder = self._evaluation.images
        if folder is None:
            return None
        try:
            path = ImageFiles(self._evaluation.truth.images, folder, "the truth").path(image)
        except InputError:
            return None
        return path if path.is_file() else None

    def name_of(self, image: int) -> str:
        """Name an image."""
        return str(self._evaluation.truth.images.names[image])

    def size_of(self, image: int) -> tuple[int, int] | None:
        """Look into an image for its width and height, px; None where it cannot be read."""
        if image not in self._sizes:
            self._sizes[image] = self._size(image)
        return self._sizes[image]

    @contextmanager
    def opened(self, image: int) -> Iterator[Scene | None]:
        """Open an image; None where it cannot be read, which is counted."""
        path = self.path_of(image)
        scene = None
        if path is not None:
            try:
                scene = open_scene(path)
            except InputError:
                scene = None
        if scene is None:
            self.missing += 1
            self.example = self.example or self.name_of(image)
            yield None
            return
        with scene:
            yield scene

    def boxes(self, objects: Annotations) -> NDArray[np.float64]:
        """Return the boxes ``[N, 4]`` of objects, px of their images."""
        way = self._evaluation.to_scene
        if way is None or len(objects) == 0:
            return objects.boxes
        corners = way(objects.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def rings(self, objects: Annotations, rows: NDArray[np.intp]) -> Iterator[Points]:
        """Give the outlines of objects, else their boxes, px of their images, hole by hole."""
        way = self._evaluation.to_scene
        for polygon in outlines_of(objects, rows):
            for part in shapely.get_parts(polygon):
                for ring in (part.exterior, *part.interiors):
                    points = shapely.get_coordinates(ring)
                    yield points if way is None else way(points)

    def _size(self, image: int) -> tuple[int, int] | None:
        with self.opened(image) as scene:
            return None if scene is None else (scene.width, scene.height)


def _picture(
    frame: _Frame,
    region: Region,
    compared: Compared,
    errors: Errors,
    boxes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Html | None:
    with frame.opened(region.image) as scene:
        if scene is None:
            return None
        try:
            chip, _ = scene.read(Window(region.x, region.y, region.width, region.height))
        except InputError:
            return None
    picture = Image.fromarray(np.ascontiguousarray(chip.transpose(1, 2, 0)))
    scale = min(_LONGEST_PX / max(picture.size), 1.0)
    if scale < 1:
        size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    layers = (
        (compared.predictions, errors.right, boxes[1], RIGHT),
        (compared.truth, errors.missed, boxes[0], MISSED),
        (compared.predictions, errors.wrong, boxes[1], WRONG),
    )
    rings = [
        ((points - (region.x, region.y)) * scale, style)
        for objects, flags, bounds, style in layers
        for points in frame.rings(objects, _inside(region, objects.image, bounds, flags))
    ]
    draw(picture, rings)
    return _figure(frame.name_of(region.image), region, picture)


def _inside(
    region: Region, images: NDArray[np.int64], boxes: NDArray[np.float64], flags: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Find the objects that reach into a region."""
    low, high = (region.x, region.y), (region.x + region.width, region.y + region.height)
    reach = (boxes[:, 2:] > low).all(axis=1) & (boxes[:, :2] < high).all(axis=1)
    return np.flatnonzero(flags & reach & (images == region.image))


def _figure(name: str, region: Region, picture: Image.Image) -> Html:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    place = f"{name}, {region.width} x {region.height} px"
    if region.x or region.y:
        place += f" from ({region.x}, {region.y})"
    alt = (
        f"{place}: {region.right} right detections (solid blue), {region.wrong} wrong ones (dashed orange), "
        f"{region.missed} missed objects (dotted yellow)"
    )
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    image = element(
        "img", src=f"data:image/jpeg;base64,{data}", alt=alt, width=picture.width, height=picture.height, loading="lazy"
    )
    counts = f"{region.right} right, {region.wrong} wrong, {region.missed} missed"
    return element(
        "figure",
        element("button", image, type="button"),
        element("figcaption", joined((element("b", place), element("br"), counts))),
    )
