"""Plain image files (JPEG, PNG, WebP, TIFF) as RGB pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.scene import open_scene

LARGEST = 400_000_000  # px; decoded whole, 1.2 GB
LARGEST_FOR_PILLOW = 64_000_000  # px; Pillow takes more for an attack
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")


def check_image(path: Path, width: int, height: int, where: str) -> None:
    """Make sure that a file is an image of the size its row says, reading its header only.

    Raises:
        InputError: missing, not an image, too large to decode whole, or of another size.
    """
    if not path.is_file():
        raise InputError(f"{where}: image file {path} is missing; check file_name and the folder of the images")
    if width * height > LARGEST:
        raise InputError(f"{where}: {width} x {height} px is too large for COCO; use a geo source for whole scenes")
    if width * height > LARGEST_FOR_PILLOW:
        return
    try:
        with Image.open(path) as image:
            size = image.size
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"{where}: {path} is not a readable image ({error}); replace it") from error
    if size != (width, height):
        raise InputError(f"{where}: {path} has {size[0]} x {size[1]} px, the row says {width} x {height}; correct it")


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode a whole image to RGB ``[3, H, W]``; more than 8 bits a band are scaled as in any scene.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with Image.open(path) as image:
            if image.mode in EIGHT_BIT_MODES and image.width * image.height <= LARGEST_FOR_PILLOW:
                return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged image ({error}); replace it") from error
    with open_scene(path) as scene:
        pixels, valid = scene.read(Window(0, 0, scene.width, scene.height))
    return np.where(valid, pixels, np.uint8(0))
