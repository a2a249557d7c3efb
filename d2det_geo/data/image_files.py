"""The files of the images of a set: where they are, how large, and what decodes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Images
from d2det_geo.data.formats.files import image_size, images_for
from d2det_geo.data.formats.uavdt_layout import frame_file, frame_of
from d2det_geo.data.pixels import Decoder, image_decoder
from d2det_geo.errors import InputError


def folder_of(labels: Path, images: Images) -> Path:
    """Find the folder of the images of a set that are not said to lie elsewhere.

    It is that of the labels, or ``images`` in it, beside it or in place of ``labels`` if the first image lies there.

    Args:
        labels: a file, or a folder of them.
        images: of the set.
    """
    near = labels if labels.is_dir() else labels.parent
    places = [near, near / "images", *([near.parent / "images"] if labels.is_dir() else [])]
    places += [swapped] if (swapped := images_for(near)) is not None else []
    first = str(images.names[0]) if len(images) else ""
    return next((place for place in places if first and (place / first).is_file()), near)


class ImageFiles:
    """Files of images in a folder, none of them outside of it."""

    def __init__(self, images: Images, folder: Path, source: str) -> None:
        """Prepare to look for images.

        Args:
            images: their names are relative to ``folder``. Frames of sequences, which have ``groups``, may lie in
                either of the two packagings of UAVDT.
            folder: they must lie in it.
            source: where the names are from, for messages.
        """
        self._images, self._source = images, source
        self._folder, self._root = folder, folder.resolve()
        self._folders: dict[str, Path] = {}
        self.sequences = images.groups is not None and images.windows is None

    def where(self, index: int) -> str:
        """Name the row of an image, for messages."""
        return f"{self._source}: images[{index}]"

    def path(self, index: int) -> Path:
        """Find the file of an image, which may be missing.

        Raises:
            InputError: its name leads out of the folder.
        """
        name = str(self._images.names[index])
        parent, _, file = name.rpartition("/")
        if parent not in self._folders:
            self._folders[parent] = self._found(name, parent)
        path = self._folders[parent] / file
        inside = self._folders[parent].is_relative_to(self._root) and file not in {"", ".", ".."}
        if not inside or (path.is_symlink() and not path.resolve().is_relative_to(self._root)):
            raise InputError(
                f"{self.where(index)}: file_name {name!r} leads out of {self._folder}; keep the images inside"
            )
        return path

    def opened(self) -> tuple[NDArray[np.int64], list[Decoder]]:
        """Look at the images: at each header, but of sequences, whose frames are alike, only at that of the first.

        Returns:
            Sizes ``[M, 2]``, px, and what decodes each image, which for the other frames also checks the size.

        Raises:
            InputError: an image is missing, unreadable or not of its size.
        """
        sizes, decoders = self._images.sizes.copy(), []
        first: dict[str, int] = {}
        for index in range(len(self._images)):
            path, where = self.path(index), self.where(index)
            groups = self._images.groups
            leader = first.setdefault(groups[index], index) if self.sequences and groups is not None else index
            if not sizes[index].all():
                sizes[index] = _size(path, where) if leader == index else sizes[leader]
            width, height = sizes[index].tolist()
            lazily = partial(_decode_checked, path, width, height, where)
            decoders.append(image_decoder(path, width, height, where) if leader == index else lazily)
        return sizes, decoders

    def decode(self, index: int) -> NDArray[np.uint8]:
        """Decode one image to RGB ``[3, H, W]``.

        Raises:
            InputError: it is missing, damaged, or not of the size its row says.
        """
        path, where = self.path(index), self.where(index)
        width, height = self._images.sizes[index].tolist()
        if not (width and height):
            width, height = _size(path, where)
        return _decode_checked(path, width, height, where)

    def _found(self, name: str, parent: str) -> Path:
        if self.sequences and frame_of(name) is not None:
            return frame_file(self._folder, name).resolve().parent
        return (self._folder / parent).resolve()


def _size(path: Path, where: str) -> tuple[int, int]:
    if not path.is_file():
        raise InputError(f"{where}: image file {path} is missing; check file_name and the folder of the images")
    return image_size(path)


def _decode_checked(path: Path, width: int, height: int, where: str) -> NDArray[np.uint8]:
    return image_decoder(path, width, height, where)()
