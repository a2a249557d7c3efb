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
from d2det_geo.data.formats.uavdt_layout import ANY_FRAME, RELEASED_FRAME
from d2det_geo.data.image_files import ImageFiles, folder_of
from d2det_geo.errors import InputError, UsageError

Kind = Literal["coco", "sequences", "folder"]
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
    no images, nor are hidden files.

    Args:
        path: a COCO JSON file; the folder of a UAVDT sequence, or of several, in either packaging; or a folder of
            images.
        images: folder of the images of a JSON file; None is the one it lies in, or ``images`` in that.
        sequences: whether a folder holds frames of sequences; None looks whether its files are called as UAVDT's
            are released, ``img000001.jpg``.

    Raises:
        InputError: there is no such set, it is empty, a row of the file is wrong, or other images lie among frames.
        UsageError: ``images`` was given for a folder.
    """
    if path.suffix.lower() == ".json" and not path.is_dir():
        return _listed(path, images)
    if images is not None:
        raise UsageError(f"--images {images}: belongs to a COCO JSON file; {path} is the folder of the images itself")
    if not path.is_dir():
        raise InputError(f"{path}: is neither a COCO JSON file nor a folder; check the path")
    found = {} if sequences is False else _sequences(path, surely=bool(sequences))
    if found:
        return _of_sequences(path, found)
    if sequences:
        raise InputError(f"{path}: holds no frames such as M0203/img000001.jpg; give UAVDT's folder of sequences")
    files = [file for file in files_in(path, IMAGE_SUFFIXES, "the images") if not file.name.startswith(".")]
    files = [file for file in files if not _MAPS.search(file.stem)]
    if not files:
        raise InputError(f"{path}: holds label maps or hidden files only; give the folder of the images")
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


def _sequences(path: Path, *, surely: bool) -> dict[str, list[str]]:
    """Find the frames of each sequence in natural order; none where the folder is one of other images.

    Args:
        path: of a sequence or several.
        surely: all images are frames, however many digits they count with; otherwise those named as released.

    Raises:
        InputError: other images lie among the frames, or beside the sequences: nobody can tell what is meant.
    """
    frame = ANY_FRAME if surely else RELEASED_FRAME
    own = _image_names(path)
    if own and all(frame.fullmatch(name) for name in own):
        return {path.resolve().name: own}
    if own and surely and any(frame.fullmatch(name) for name in own):
        raise _stray(path, own, frame)
    found = {folder.name: (folder, names) for folder in _folders(path) if (names := _image_names(folder))}
    if not any(frame.fullmatch(name) for _, names in found.values() for name in names):
        return {}
    for folder, names in [(path, own), *found.values()]:
        if not all(frame.fullmatch(name) for name in names):
            raise _stray(folder, names, frame)
    return {name: names for name, (_, names) in found.items()}


def _stray(folder: Path, names: list[str], frame: re.Pattern[str]) -> InputError:
    stray = next(name for name in names if not frame.fullmatch(name))
    return InputError(
        f"{folder / stray}: lies among frames of sequences (img000001.jpg) and is none; move it away, or give a COCO"
        " JSON of the images that are meant"
    )


def _folders(path: Path) -> list[Path]:
    folders = [item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")]
    return sorted(folders, key=lambda item: natural_key(item.name))


def _image_names(folder: Path) -> list[str]:
    """List the images of a sequence in natural order, without files that are hidden."""
    place = folder / _FRAMES_FOLDER if (folder / _FRAMES_FOLDER).is_dir() else folder
    names = [item.name for item in place.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES]
    return sorted((name for name in names if not name.startswith(".")), key=natural_key)


def _images(names: list[str], groups: np.ndarray[tuple[int], np.dtype[np.object_]] | None = None) -> Images:
    ids, sizes = np.arange(len(names)) + (groups is not None), np.zeros((len(names), 2), np.int64)
    return Images(np.array(names, dtype=object), ids, sizes, groups=groups)


def _set(path: Path, kind: Kind, folder: Path, images: Images, categories: Sequence[tuple[int, str]] = ()) -> ImageSet:
    return ImageSet(path, kind, images, ImageFiles(images, folder, str(path)), tuple(categories))
