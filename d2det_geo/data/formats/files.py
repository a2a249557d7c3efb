"""Files as all formats read them: text, folders in natural order, sizes from the headers of images."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from d2det_geo.errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2"})
_NUMBER = re.compile(r"(\d+)")


def read_text(path: Path, what: str) -> str:
    """Read a text file; a byte order mark is dropped.

    Args:
        path: the file.
        what: what should be there, for the message: ``a COCO JSON file``.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of {what}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8 (byte {error.start}); give the path of {what}") from error


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort names as people do: ``P2`` before ``P10``."""
    parts = _NUMBER.split(name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def files_in(folder: Path, suffixes: frozenset[str], what: str) -> list[Path]:
    """List the files of a folder with one of the suffixes (lower case, with dot), in natural order.

    Raises:
        InputError: it is not a folder, or holds no such file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of {what}")
    found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()]
    if not found:
        raise InputError(f"{folder}: holds no {' or '.join(sorted(suffixes))} file; give the folder of {what}")
    return sorted(found, key=lambda path: natural_key(path.name))


def image_size(path: Path) -> tuple[int, int]:
    """Read width and height, px, from an image's header.

    Raises:
        InputError: there is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as image:
                return int(image.width), int(image.height)
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read as an image; check that the file is there and whole") from error


def images_for(labels: Path) -> Path | None:
    """Name the folder of images that goes with a folder of labels as in YOLO: ``images/train`` with ``labels/train``.

    Returns:
        None where no part of the path is ``labels``. The folder need not be there.
    """
    parts = list(labels.parts)
    if "labels" not in parts:
        return None
    parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
    return Path(*parts)


def inside(folder: Path, name: str, where: str) -> Path:
    """Give the path of a file by a name that was read somewhere, which must not lead out of a folder.

    Args:
        folder: where it must be.
        name: relative to the folder.
        where: file and row the name was read from, for the message.

    Raises:
        InputError: it would lead out of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{where}: {name!r:.80} leads out of {folder}; keep the files inside")
    return path
