"""DOTA cut as its devkit cuts it: windows, names and rules of DOTA_devkit 99388551, polygons of four corners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.annotations import Annotations
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, image_size
from d2det_geo.data.formats.isaid_layout import splits_of
from d2det_geo.data.formats.registry import Reading, format_named
from d2det_geo.errors import InputError
from d2det_geo.pipeline.tile_set_book import FLAT, Book, ChipRow, outside
from d2det_geo.pipeline.tile_set_pixels import PHOTOGRAPH, Scroll, write_png
from d2det_geo.pipeline.tile_set_plan import Plan, SceneJob
from d2det_geo.raster.source import open_dataset
from d2det_geo.raster.windows import scene_windows

LEAST_VISIBLE = 0.7
"""Share of an object in a chip up to which it is difficult."""
CUT_OFF = 2
"""``difficult`` of an object of which that much or less is in the chip."""
_ODD = "3 or more than 5 corners when cut"
_WHAT = "DOTA's images"
Corners = NDArray[np.float64]


def plan_dota(folder: Path, size: int, overlap: int) -> Plan:
    """Plan the tiling of DOTA, or of one split of it.

    Args:
        folder: holds ``train``, ``val``, ``test``, or is one of them, with ``images`` and ``labelTxt``; without
            ``labelTxt`` there are chips only.
        size: side of a chip, px; smaller images are padded with zeros.
        overlap: px.

    Raises:
        InputError: files are missing or do not belong together.
    """
    scenes: list[SceneJob] = []
    books: list[Book] = []
    folders: list[str] = []
    notices: list[str] = []
    for index, (split, path) in enumerate(splits_of(folder).items()):
        place = "" if path == folder else f"{split}/"
        truth = _truth(path, notices)
        if truth is None and split != "test":
            notices.append(f"{path}: has no labelTxt; its chips have no annotations")
        folders += [f"{place}images"] if truth is None else [f"{place}images", f"{place}labelTxt"]
        categories = tuple(enumerate(() if truth is None else truth.classes, start=1))
        description = f"DOTA {split} as its devkit cuts it, {size} px with {overlap} px of overlap"
        first = None if any(book.labelled for book in books) else 1
        books.append(Book(f"{place}annotations.json", description, categories, truth is not None, 1, first))
        for scene in _scenes(path, place, size, truth):
            whole = image_size(scene.path)
            windows = tuple(scene_windows(*whole, size, overlap))
            labels = () if truth is None else (path / "labelTxt" / f"{scene.path.stem}.txt",)
            scenes.append(SceneJob(index, len(windows), whole, (scene.path, *labels), partial(_cut, scene, windows)))
    settings = {"devkit": "dota", "chip_size": size, "overlap": overlap}
    return Plan(tuple(scenes), tuple(books), tuple(folders), settings, tuple(notices))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """An image, and its objects where they are known."""

    path: Path
    place: str
    size: int
    objects: Annotations | None
    gsd_m: float
    """m/px, NaN where unknown."""


def _truth(split: Path, notices: list[str]) -> Annotations | None:
    labels = split / "labelTxt"
    if not labels.is_dir():
        return None
    reading = Reading(images=split / "images", notices=notices)
    truth: Annotations = format_named("dota", "read").read(labels, reading)  # type: ignore[misc]
    return truth


def _scenes(split: Path, place: str, size: int, truth: Annotations | None) -> Iterator[_Scene]:
    images = {image.stem: image for image in files_in(split / "images", IMAGE_SUFFIXES, _WHAT)}
    if truth is None:
        yield from (_Scene(image, place, size, None, np.nan) for image in images.values())
        return
    rows = {Path(name).stem: row for row, name in enumerate(truth.images.names)}
    for stem in rows:
        if stem not in images:
            raise InputError(f"{split / 'labelTxt' / stem}.txt: its image is not in {split / 'images'}; give it")
    order, ends = truth.by_image()
    for stem, image in images.items():
        if stem not in rows:
            raise InputError(f"{image}: has no labels; give {split / 'labelTxt' / stem}.txt, or remove the image")
        row = rows[stem]
        gsd = np.nan if truth.images.gsd_m is None else float(truth.images.gsd_m[row])
        yield _Scene(image, place, size, truth.rows(order[ends[row] : ends[row + 1]]), gsd)


def _cut(scene: _Scene, windows: Sequence[Window], out: Path) -> Iterator[ChipRow]:
    size = scene.size
    with open_dataset(scene.path) as dataset:
        photograph = Scroll(dataset, rgb=True)
        edges = (dataset.width, dataset.height)
        lost = {} if scene.objects is None else outside(scene.objects, (edges[0] - 1, edges[1] - 1))
        for top, line in groupby(windows, key=lambda window: int(window.row_off)):
            rows = photograph.rows(top, min(size, dataset.height))
            for window in line:
                left = int(window.col_off)
                name = f"{scene.path.stem}__1__{left}___{top}"
                pixels = photograph.coloured(rows[:, :, left : left + size])
                chip = np.zeros((len(pixels), size, size), pixels.dtype)
                chip[:, : pixels.shape[1], : pixels.shape[2]] = pixels
                write_png(out / scene.place / "images" / f"{name}.png", chip, PHOTOGRAPH)
                image = {"file_name": f"{name}.png", "width": size, "height": size}
                image |= {"scene": scene.path.name, "window": [left, top, size, size]}
                image |= {"gsd_m": scene.gsd_m} if scene.gsd_m > 0 else {}
                if scene.objects is None:
                    yield ChipRow(image, [], 0)
                    continue
                objects = cut_objects(scene.objects, (left, top), size, edges)
                text = "".join(f"{_line(item, scene.objects.classes)}\n" for item in objects.kept)
                (out / scene.place / "labelTxt" / f"{name}.txt").write_text(text, encoding="utf-8")
                rows_of = [_row(number, item) for number, item in enumerate(objects.kept)]
                yield ChipRow(image, rows_of, len(rows_of), lost | objects.left_out)
                lost = {}  # counted once a scene, not in every chip


@dataclass(frozen=True, slots=True, eq=False)
class CutObject:
    """An object in a chip."""

    corners: Corners
    """``[4, 2]`` px of the chip, whole numbers, as the devkit truncates them."""
    label: int
    difficult: int


@dataclass(frozen=True, slots=True, eq=False)
class CutObjects:
    """What a chip shows."""

    kept: list[CutObject]
    left_out: dict[str, int]


def cut_objects(objects: Annotations, corner: tuple[int, int], size: int, edges: tuple[int, int]) -> CutObjects:
    """Cut the objects of a scene to a chip by the devkit's rules.

    What is visible ends a pixel before the scene's last column and row, as it does there.

    Args:
        objects: of one scene, with outlines of four corners and a column ``difficult``.
        corner: x and y of the chip's first pixel, px of the scene.
        size: side of the chip, px.
        edges: width and height of the scene, px.
    """
    left, top = corner
    right, bottom = min(left + size, edges[0] - 1), min(top + size, edges[1] - 1)
    frame = shapely.box(left, top, right, bottom)
    x1, y1, x2, y2 = objects.boxes.T
    near = np.flatnonzero((x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top))
    kept = []
    left_out = {FLAT: 0, _ODD: 0}
    difficult = objects.columns["difficult"]
    for index in near.tolist():
        polygon = objects.outlines[index]  # type: ignore[index]
        corners = shapely.get_coordinates(polygon.exterior)[:4]
        flag = int(difficult[index])
        if polygon.area <= 0:
            left_out[FLAT] += 1
        elif x1[index] >= left and y1[index] >= top and x2[index] <= right and y2[index] <= bottom:
            kept.append(CutObject(np.trunc(corners - corner), int(objects.labels[index]), flag))
        else:
            seen = _seen(polygon, frame)
            if seen is None or len(seen) not in {4, 5}:
                left_out[_ODD] += seen is not None
                continue
            share = shapely.Polygon(seen).area / polygon.area
            seen = _aligned(four_corners(seen) if len(seen) == 5 else seen, corners)
            inside = np.clip(np.trunc(seen - corner), 1, size)
            kept.append(CutObject(inside, int(objects.labels[index]), flag if share > LEAST_VISIBLE else CUT_OFF))
    return CutObjects(kept, {reason: count for reason, count in left_out.items() if count})


def _seen(polygon: shapely.Geometry, frame: shapely.Geometry) -> Corners | None:
    """Give the corners of what is left of a polygon in a frame, anticlockwise where y points up; None if nothing is."""
    if not polygon.is_valid:
        polygon = polygon.convex_hull
    part = shapely.intersection(polygon, frame)
    if part.area <= 0:
        return None
    if part.geom_type != "Polygon":  # in several pieces
        return np.zeros((0, 2))
    return np.asarray(shapely.get_coordinates(shapely.geometry.polygon.orient(part, sign=1).exterior)[:-1])


def four_corners(corners: Corners) -> Corners:
    """Make five corners ``[5, 2]`` four: those of the shortest edge become the point between them."""
    following = np.roll(corners, -1, axis=0)
    shortest = int(np.argmin(np.hypot(*(following - corners).T)))
    merged = corners.copy()
    merged[shortest] = (corners[shortest] + following[shortest]) / 2
    return np.delete(merged, (shortest + 1) % 5, axis=0)


def _aligned(corners: Corners, original: Corners) -> Corners:
    """Begin with the corner that makes all four lie nearest to those of the whole object."""
    turns = [np.roll(corners, -turn, axis=0) for turn in range(4)]
    return turns[int(np.argmin([((turn - original) ** 2).sum() for turn in turns]))]


def _line(item: CutObject, classes: Sequence[str]) -> str:
    coordinates = " ".join(str(value) for value in item.corners.ravel().tolist())
    return f"{coordinates} {classes[item.label]} {item.difficult}"


def _row(number: int, item: CutObject) -> dict[str, Any]:
    (x1, y1), (x2, y2) = item.corners.min(axis=0).tolist(), item.corners.max(axis=0).tolist()
    return {
        "id": number,
        "category_id": item.label + 1,
        "segmentation": [item.corners.ravel().tolist()],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(shapely.Polygon(item.corners).area),
        "iscrowd": 0,
        "ignore": int(item.difficult > 0),
        "difficult": item.difficult,
    }
