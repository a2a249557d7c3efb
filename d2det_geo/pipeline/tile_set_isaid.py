"""iSAID cut as its devkit cuts it: windows, names and rules of iSAID_Devkit a671fd53."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.data.formats.contours import Instances
from d2det_geo.data.formats.files import image_size
from d2det_geo.data.formats.isaid_classes import CLASSES
from d2det_geo.data.formats.isaid_layout import COLOUR_SUFFIX, ID_SUFFIX, Triple, splits_of, triples
from d2det_geo.data.formats.isaid_maps import check_maps, check_same_size, drawn, instances_in, labels, read_instances
from d2det_geo.pipeline.tile_set_book import Book, ChipRow
from d2det_geo.pipeline.tile_set_pixels import MAP, PHOTOGRAPH, Scroll, write_png
from d2det_geo.pipeline.tile_set_plan import Plan, SceneJob
from d2det_geo.raster.source import open_dataset
from d2det_geo.raster.windows import scene_windows

SIZE, OVERLAP = 800, 200
SKIPPED = frozenset({"P1527", "P1530"})
"""Images the devkit leaves out."""
_CATEGORIES = tuple(enumerate(CLASSES, start=1))


def plan_isaid(folder: Path, *, devkit_ids: bool) -> Plan:
    """Plan the tiling of iSAID, or of one split of it.

    Args:
        folder: holds ``train``, ``val``, ``test``, or is one of them.
        devkit_ids: number annotations from 0 and list only the classes seen, as the devkit does.

    Raises:
        InputError: files are missing or do not belong together.
    """
    splits = splits_of(folder)
    scenes: list[SceneJob] = []
    books: list[Book] = []
    folders: list[str] = []
    skipped: list[str] = []
    notices: list[str] = []
    for index, (split, path) in enumerate(splits.items()):
        found = triples(path, labelled=False)
        labelled = found[0].ids is not None
        if not labelled and split != "test":
            notices.append(f"{path}: has no maps of instances; its chips have no annotations")
        place = "" if path == folder else f"{split}/"
        folders.append(f"{place}images")
        name = f"instancesonly_filtered_{split}.json" if labelled else f"{split}_info.json"
        first = (0 if devkit_ids else 1) if not any(book.labelled for book in books) else None
        description = f"iSAID {split} as its devkit cuts it, {SIZE} px with {OVERLAP} px of overlap"
        # Image ids from 0 are what the evaluation server knows the test patches by.
        books.append(Book(f"{place}{name}", description, _CATEGORIES, labelled, 0, first, devkit_ids))
        skipped += [f"{split}/{triple.image.stem}" for triple in found if triple.image.stem in SKIPPED]
        scenes += [_job(triple, index, folders[-1]) for triple in found if triple.image.stem not in SKIPPED]
    if skipped:
        notices.append(f"{', '.join(skipped)} left out, as the devkit does")
    settings = {"devkit": "isaid", "devkit_ids": devkit_ids}
    return Plan(tuple(scenes), tuple(books), tuple(folders), settings, tuple(notices))


def _job(triple: Triple, book: int, folder: str) -> SceneJob:
    width, height = image_size(triple.image)
    inputs = tuple(path for path in (triple.image, triple.ids, triple.colours) if path is not None)
    if min(width, height) <= SIZE:
        return SceneJob(book, 1, (width, height), inputs, partial(_copy, triple, (width, height), folder))
    windows = tuple(scene_windows(width, height, SIZE, OVERLAP))
    return SceneJob(book, len(windows), (width, height), inputs, partial(_cut, triple, windows, folder))


def _copy(triple: Triple, size: tuple[int, int], folder: str, out: Path) -> Iterator[ChipRow]:
    """Take an image that is not larger than a chip in both directions as it is, once it was decoded."""
    stem = triple.image.stem
    with open_dataset(triple.image) as image:  # what cannot be cut must not pass because it is small
        photograph = Scroll(image, rgb=True)
        photograph.rows(0, image.height)
    shutil.copyfile(triple.image, out / folder / f"{stem}.png")
    row = _image(triple, stem, Window(0, 0, *size))
    if triple.ids is None or triple.colours is None:
        yield ChipRow(row, [], 0)
        return
    instances = read_instances(triple.ids, triple.colours, size)
    shutil.copyfile(triple.ids, out / folder / f"{stem}{ID_SUFFIX}.png")
    shutil.copyfile(triple.colours, out / folder / f"{stem}{COLOUR_SUFFIX}.png")
    yield _labelled(row, instances, labels(instances, str(triple.colours)))


def _cut(triple: Triple, windows: tuple[Window, ...], folder: str, out: Path) -> Iterator[ChipRow]:
    with ExitStack() as stack:
        image = stack.enter_context(open_dataset(triple.image))
        photograph = Scroll(image, rgb=True)
        maps = _map_scrolls(triple, image, stack)
        for top, line in groupby(windows, key=lambda window: int(window.row_off)):
            rows = photograph.rows(top, SIZE)
            values = [scroll.rows(top, SIZE) for scroll in maps]
            for window in line:
                left = int(window.col_off)
                name = f"{triple.image.stem}_{top}_{top + SIZE}_{left}_{left + SIZE}"
                path = out / folder
                write_png(path / f"{name}.png", photograph.coloured(rows[:, :, left : left + SIZE]), PHOTOGRAPH)
                row = _image(triple, name, window)
                if not maps:
                    yield ChipRow(row, [], 0)
                    continue
                ids, colours = (np.ascontiguousarray(part[:, :, left : left + SIZE], np.uint8) for part in values)
                write_png(path / f"{name}{ID_SUFFIX}.png", ids, MAP)
                write_png(path / f"{name}{COLOUR_SUFFIX}.png", colours, MAP)
                instances = instances_in(ids, colours)
                yield _labelled(row, instances, labels(instances, str(triple.colours), (left, top)))


def _map_scrolls(triple: Triple, image: rasterio.DatasetReader, stack: ExitStack) -> list[Scroll]:
    if triple.ids is None or triple.colours is None:
        return []
    ids, colours = (stack.enter_context(open_dataset(path)) for path in (triple.ids, triple.colours))
    check_maps(ids, colours)
    check_same_size(ids, image)
    return [Scroll(ids, rgb=True), Scroll(colours, rgb=True)]


def _image(triple: Triple, name: str, window: Window) -> dict[str, Any]:
    place = [int(value) for value in window.flatten()]
    row = {"file_name": f"{name}.png", "width": place[2], "height": place[3]}
    if triple.ids is not None:
        row |= {"ins_file_name": f"{name}{ID_SUFFIX}.png", "seg_file_name": f"{name}{COLOUR_SUFFIX}.png"}
    return row | {"scene": triple.image.name, "window": place}


def _labelled(image: dict[str, Any], instances: Instances, classes: NDArray[np.int64]) -> ChipRow:
    kept = drawn(instances, classes)
    annotations = []
    for index, rings, place in zip(kept.rows, kept.rings, kept.places, strict=True):
        label = int(classes[index])
        x1, y1, x2, y2 = (int(value) for value in instances.boxes[index])
        annotations.append(
            {
                "id": place,
                "segmentation": [ring.ravel().tolist() for ring in rings],
                "category_id": label + 1,
                "category_name": CLASSES[label],
                "iscrowd": 0,
                "area": int(instances.areas[index]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
        )
    left_out = {"10 px or fewer": kept.small, "a part of 1 or 2 px": kept.flat, "no class": kept.unlabelled}
    return ChipRow(image, annotations, kept.used, {reason: count for reason, count in left_out.items() if count})
