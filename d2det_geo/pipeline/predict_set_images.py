"""Which images a user means by a set: those a COCO JSON lists, the frames of sequences, or a folder of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from d2det_geo.annotations import Images
from d2det_geo.data.formats.coco import read_set
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, natural_key
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.image_files import ImageFiles, folder_of
from d2det_geo.errors import InputError, UsageError

Kind = Literal["coco", "sequences", "folder"]
_FRAME = re.compile(r"img\d+\.[A-Za-z]+", re.ASCII)
_FRAMES_FOLDER = "img1"  # of a sequence, in the newer packaging of UAVDT
_MAPS = re.compile(r"_instance_(id|color)_RGB$")  # label maps of iSAID, which may lie beside the images


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """The images of a set in its order."""

    source: Path
    """What the user named."""
    kind: Kind
    images: Images
    files: ImageFiles
    categories: tuple[tuple[int, str], ...]
    """Number and name of each, where the set says; empty where it does not."""


def open_set(path: Path, images: Path | None = None, *, sequences: bool | None = None) -> ImageSet:
    """Find the images of a set; none of them is opened.

    Image ids are those of a JSON file. Images of a folder are numbered in natural order from 0, as the official list
    of iSAID's test patches does; frames from 1, as the reader of UAVDT does. Label maps of iSAID beside the images are
    no images.

    Args:
        path: a COCO JSON file; the folder of a UAVDT sequence, or of several, in either packaging; or a folder of
            images.
        images: folder of the images of a JSON file; None is the one it lies in, or ``images`` in that.
        sequences: whether a folder holds frames of sequences; None looks at how its files are called.

    Raises:
        InputError: there is no such set, it is empty, or a row of the file is wrong.
        UsageError: ``images`` was given for a folder.
    """
    if path.suffix.lower() == ".json" and not path.is_dir():
        return _listed(path, images)
    if images is not None:
        raise UsageError(f"--images {images}: belongs to a COCO JSON file; {path} is the folder of the images itself")
    if not path.is_dir():
        raise InputError(f"{path}: is neither a COCO JSON file nor a folder; check the path")
    found = {} if sequences is False else _sequences(path)
    if found:
        return _of_sequences(path, found)
    if sequences:
        raise InputError(f"{path}: holds no frames such as M0203/img000001.jpg; give UAVDT's folder of sequences")
    files = [file for file in files_in(path, IMAGE_SUFFIXES, "the images") if not _MAPS.search(file.stem)]
    if not files:
        raise InputError(f"{path}: holds label maps only; give the folder of the images")
    return _set(path, "folder", path, _images([file.name for file in files]))


def _listed(path: Path, folder: Path | None) -> ImageSet:
    listing = read_set(path, Reading())
    known = list(zip(listing.class_ids, listing.classes, strict=True))
    return _set(path, "coco", folder or folder_of(path, listing.images), listing.images, known)


def _of_sequences(path: Path, found: dict[str, list[str]]) -> ImageSet:
    names = [f"{sequence}/{frame}" for sequence, frames in found.items() for frame in frames]
    groups = np.array([sequence for sequence, frames in found.items() for _ in frames], dtype=object)
    folder = path.resolve().parent if list(found) == [path.resolve().name] else path
    return _set(path, "sequences", folder, _images(names, groups))


def _sequences(path: Path) -> dict[str, list[str]]:
    """Find the frames of each sequence in natural order; none where the folder holds other images, too."""
    alone = _frames(path)
    if alone:
        return {path.resolve().name: alone}
    folders = sorted((item for item in path.iterdir() if item.is_dir()), key=lambda item: natural_key(item.name))
    return {folder.name: frames for folder in folders if (frames := _frames(folder))}


def _frames(folder: Path) -> list[str]:
    place = folder / _FRAMES_FOLDER if (folder / _FRAMES_FOLDER).is_dir() else folder
    names = [item.name for item in place.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(names, key=natural_key) if all(_FRAME.fullmatch(name) for name in names) else []


def _images(names: list[str], groups: np.ndarray[tuple[int], np.dtype[np.object_]] | None = None) -> Images:
    ids, sizes = np.arange(len(names)) + (groups is not None), np.zeros((len(names), 2), np.int64)
    return Images(np.array(names, dtype=object), ids, sizes, groups=groups)


def _set(path: Path, kind: Kind, folder: Path, images: Images, categories: Sequence[tuple[int, str]] = ()) -> ImageSet:
    return ImageSet(path, kind, images, ImageFiles(images, folder, str(path)), tuple(categories))
