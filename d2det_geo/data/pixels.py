"""Image files as RGB pixels: Pillow for the plain ones, the scene reader for the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.scene import open_scene

LARGEST = 400_000_000  # px; decoded whole, 1.2 GB
LARGEST_FOR_PILLOW = 64_000_000  # px; it takes much larger ones for an attack
PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")  # up to 8 bits a band

Decoder = Callable[[], NDArray[np.uint8]]
"""Decodes one whole image to RGB ``[3, H, W]``; InputError if the file is damaged."""


def image_decoder(path: Path, width: int, height: int, where: str) -> Decoder:
    """Make sure that a file is an image of the size its row says, and find out how to decode it.

    Only the header is read. Images of more than 8 bits a band are scaled as any scene is.

    Args:
        path: the file.
        width: by the row, px.
        height: by the row, px.
        where: the row, for messages.

    Raises:
        InputError: missing, not an image, too large to decode whole, or of another size.
    """
    if not path.is_file():
        raise InputError(f"{where}: image file {path} is missing; check file_name and the folder of the images")
    if width * height > LARGEST:
        raise InputError(f"{where}: {width} x {height} px is too large for COCO; use a geo source for whole scenes")
    try:
        size, decoder = _choose(path, plain=width * height <= LARGEST_FOR_PILLOW)
    except (InputError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise InputError(f"{where}: {path} is not a readable image ({error}); replace it") from error
    if size != (width, height):
        raise InputError(f"{where}: {path} has {size[0]} x {size[1]} px, the row says {width} x {height}; correct it")
    return decoder


def _choose(path: Path, *, plain: bool) -> tuple[tuple[int, int], Decoder]:
    """Size and decoder of a file."""
    if plain:
        try:
            with Image.open(path) as image:
                if image.mode in PLAIN_MODES:
                    return image.size, partial(_decode_plain, path)
        except UnidentifiedImageError:
            pass  # Pillow knows no 16-bit colour TIFF, and fewer formats than GDAL
    with open_scene(path) as scene:
        return (scene.width, scene.height), partial(_decode_scene, path)


def _decode_plain(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow calls a broken PNG a syntax error
        raise InputError(f"{path}: damaged image ({error}); replace it") from error


def _decode_scene(path: Path) -> NDArray[np.uint8]:
    with open_scene(path) as scene:
        return scene.read(Window(0, 0, scene.width, scene.height))[0]
