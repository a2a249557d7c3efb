"""Any annotated set cut into chips of any size, its truth along their edges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from rasterio.windows import Window

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.data.formats.files import image_size
from d2det_geo.data.formats.registry import Reading, format_named
from d2det_geo.data.image_files import ImageFiles
from d2det_geo.errors import InputError, UsageError
from d2det_geo.pipeline.chip_labels import LEAST_VISIBLE, segmentation
from d2det_geo.pipeline.tile_set_book import FLAT, OUTSIDE, Book, ChipRow, outside
from d2det_geo.pipeline.tile_set_pixels import PHOTOGRAPH, Scroll, write_png
from d2det_geo.pipeline.tile_set_plan import Plan, SceneJob
from d2det_geo.pipeline.tile_set_stamp import stamp_of_truth
from d2det_geo.places import mapped
from d2det_geo.raster.source import open_dataset
from d2det_geo.raster.windows import scene_windows
from d2det_geo.runs import measured, pixels
from d2det_geo.vector.repair import polygonal

IGNORE_CLASS = "ignore"
"""Name of the category of regions that are ignored for all classes."""
_DIGITS = 3  # of coordinates, px
Part = tuple[dict[str, Any], float]
"""Keys of an annotation that say where it is, and the share of the object in the chip."""


def plan_cut(source: Path, format: str, reading: Reading, cut: tuple[int, int]) -> Plan:
    """Plan the tiling of an annotated set.

    Args:
        source: of the truth.
        format: name of its format.
        reading: what its reader needs, and always the folder of the images.
        cut: side of a chip and overlap, px.

    Raises:
        UsageError: no such format, or no folder of images.
        InputError: the truth cannot be read, or an image is missing or of another size than it says.
    """
    reader = format_named(format, "read").read
    if reading.images is None:
        raise UsageError(f"--from {format}: give the folder of the images, too, with --images DIR")
    truth = reader(source, reading)  # type: ignore[misc]
    scenes = tuple(_scenes(truth, source, reading.images, cut))
    categories = tuple(enumerate(truth.classes, start=1))
    if (truth.labels == REGION).any():
        categories += ((len(truth.classes) + 1, IGNORE_CLASS),)
    description = f"Chips of {cut[0]} px with {cut[1]} px of overlap of {source.name}"
    stamp = stamp_of_truth(source, [path for scene in scenes for path in scene.inputs])
    settings: dict[str, Any] = {
        "format": format,
        "source": stamp,
        "cut": list(cut),
        "classes": list(reading.class_names),
    }
    settings |= {"exact": reading.exact, "split": reading.split}
    book = Book("annotations.json", description, categories)
    return Plan(scenes, (book,), ("images",), settings, tuple(reading.notices))


def _scenes(truth: Annotations, source: Path, images: Path, cut: tuple[int, int]) -> Iterator[SceneJob]:
    order, ends = truth.by_image()
    files = ImageFiles(truth.images, images, str(source))
    names = truth.images.names.tolist()
    stems = _stems(names, source)
    for index, name in enumerate(names):
        path = files.path(index)
        size = image_size(path)
        said = tuple(truth.images.sizes[index].tolist())
        if 0 not in said and said != size:
            raise InputError(
                f"{path}: is {size[0]} x {size[1]} px, but {source} says {said[0]} x {said[1]}; give its images"
            )
        windows = tuple(scene_windows(*size, *cut))
        gsd = None if truth.images.gsd_m is None else float(truth.images.gsd_m[index])
        scene = _Scene(path, name, stems[index], size, gsd, truth.rows(order[ends[index] : ends[index + 1]]))
        yield SceneJob(0, len(windows), size, (path,), partial(_cut, scene, windows))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """An image and what is known of its objects."""

    path: Path
    name: str
    stem: str
    size: tuple[int, int]
    gsd_m: float | None
    objects: Annotations


def _stems(names: Sequence[str], source: Path) -> list[str]:
    """Name the chips of each image: its path in one word."""
    stems = [re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix(""))) for name in names]
    if len(set(stems)) < len(stems):
        double = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{source}: chips of two images would be called {double}; rename one of them")
    return stems


def _cut(scene: _Scene, windows: Sequence[Window], out: Path) -> Iterator[ChipRow]:
    digits = len(str(max(scene.size)))
    outlines = _polygons(scene.objects)
    lost = _lost(scene, outlines)
    with open_dataset(scene.path) as dataset:
        photograph = Scroll(dataset, rgb=False)
        for top, line in groupby(windows, key=lambda window: int(window.row_off)):
            line_windows = list(line)
            rows = photograph.rows(top, int(line_windows[0].height))
            for window in line_windows:
                left, width, height = (int(value) for value in (window.col_off, window.width, window.height))
                name = f"{scene.stem}_{top:0{digits}}_{left:0{digits}}.png"
                write_png(out / "images" / name, photograph.coloured(rows[:, :, left : left + width]), PHOTOGRAPH)
                place = {"scene": scene.name, "window": [left, top, width, height]}
                image = {"file_name": name, "width": width, "height": height, **place}
                if scene.gsd_m is not None and scene.gsd_m > 0:
                    image["gsd_m"] = round(scene.gsd_m, 6)
                yield _labelled(image, scene.objects, outlines, (left, top, width, height), lost)
                lost = {}  # counted once a scene, not in every chip


def _lost(scene: _Scene, outlines: NDArray[np.object_]) -> dict[str, int]:
    """Count the objects that no chip can show: those beside the image, and those without area."""
    empty = shapely.area(outlines) <= 0  # not so of masks, which are no shapes here
    if scene.objects.outlines is not None:
        masks = np.flatnonzero(shapely.is_missing(outlines))
        empty[masks] = measured(list(scene.objects.outlines[masks])).areas == 0
    flat = scene.objects.rows(empty)
    lost = outside(scene.objects, scene.size)
    count = int(empty.sum()) - outside(flat, scene.size).get(OUTSIDE, 0)
    return lost | ({FLAT: count} if count else {})


def _polygons(objects: Annotations) -> NDArray[np.object_]:
    """Give each object a shape with area, scene px; None for masks."""
    boxes = np.array(shapely.box(*objects.boxes.T), object).reshape(-1)
    if objects.outlines is None:
        return boxes
    masks = np.array([isinstance(outline, Runs) for outline in objects.outlines], bool)
    shapes = objects.outlines.copy()
    shapes[masks] = None
    shapes = polygonal(shapes)
    flat = shapely.area(shapes) <= 0  # a line of pixels is traced without area; its box is what there is
    shapes[flat] = boxes[flat]
    shapes[masks] = None
    return shapes


def _labelled(
    image: dict[str, Any],
    objects: Annotations,
    outlines: NDArray[np.object_],
    window: tuple[int, int, int, int],
    lost: dict[str, int],
) -> ChipRow:
    x, y, width, height = window
    x1, y1, x2, y2 = objects.boxes.T
    rows: list[dict[str, Any]] = []
    slivers = 0
    for index in np.flatnonzero((x1 < x + width) & (x2 > x) & (y1 < y + height) & (y2 > y)).tolist():
        region = objects.labels[index] == REGION
        crowd = bool(objects.ignored[index])
        if outlines[index] is None:
            part, share = _of_mask(objects.outlines[index], window)  # type: ignore[index]
        else:
            bare = objects.outlines is None or objects.outlines[index] is None
            part, share = _of_polygon(outlines[index], window, runs=crowd, bare=bare)
        if share <= 0 or (share < LEAST_VISIBLE and not region):
            slivers += share > 0
            continue
        label = len(objects.classes) if region else int(objects.labels[index])
        rows.append(
            {"id": len(rows), "category_id": label + 1, **part, "iscrowd": int(crowd), "visible": round(share, 4)}
        )
    left_out = {f"less than {LEAST_VISIBLE:.0%} visible": slivers} if slivers else {}
    return ChipRow(image, rows, len(rows), lost | left_out)


def _of_polygon(shape: shapely.Geometry, window: tuple[int, int, int, int], *, runs: bool, bare: bool) -> Part:
    x, y, width, height = window
    moved = mapped(np.array([shape], object), Affine.translation(-x, -y))
    part = polygonal(shapely.intersection(moved, shapely.box(0, 0, width, height)))[0]
    if part.area <= 0:
        return {}, 0.0
    x1, y1, x2, y2 = part.bounds
    box = [round(value, _DIGITS) for value in (x1, y1, x2 - x1, y2 - y1)]
    outline = {} if bare else {"segmentation": segmentation(part, (height, width), runs=runs)}
    return {**outline, "bbox": box, "area": round(part.area, _DIGITS)}, float(part.area / shape.area)


def _of_mask(runs: Runs, window: tuple[int, int, int, int]) -> Part:
    x, y, width, height = window
    crop = _pixels(runs)
    top, left = max(y - runs.y, 0), max(x - runs.x, 0)
    seen = crop[top : max(y + height - runs.y, 0), left : max(x + width - runs.x, 0)]
    if not seen.any():
        return {}, 0.0
    down, right = runs.y + top - y, runs.x + left - x
    chip = np.zeros((height, width), np.uint8, order="F")
    chip[down : down + seen.shape[0], right : right + seen.shape[1]] = seen
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = [right + columns[0], down + rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    mask = {"size": [height, width], "counts": coco_mask.encode(chip)["counts"].decode("ascii")}
    area = int(seen.sum())
    return {"segmentation": mask, "bbox": [int(value) for value in box], "area": area}, area / int(crop.sum())


def _pixels(runs: Runs) -> NDArray[np.uint8]:
    """Paint ``[H, W]`` of a crop, 1 inside."""
    return pixels(runs).astype(np.uint8)
