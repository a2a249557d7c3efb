"""Images of formats with one text file an image: found by the name they share, without folder and suffix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Images
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, image_size
from d2det_geo.errors import InputError


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The images of a folder."""

    folder: Path | None
    """None: there are none at hand."""
    suffix: str
    """What images are taken to end with where there are none."""
    by_stem: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path | None, suffix: str) -> ImageFolder:
        """List a folder of images.

        Raises:
            InputError: it is no folder of images, or two of them differ in their suffix only.
        """
        found: dict[str, Path] = {}
        for path in [] if folder is None else files_in(folder, IMAGE_SUFFIXES, "the images"):
            if path.stem in found:
                raise InputError(f"{path}: there is also {found[path.stem].name}; keep one image of a name")
            found[path.stem] = path
        return cls(folder, suffix, found)

    def images(self, stems: list[str], labels: Path, gsd_m: NDArray[np.float64] | None = None) -> Images:
        """Make the set of the images with labels. Images without are no part of it.

        Args:
            stems: names of the label files without suffix.
            labels: their folder, for messages.
            gsd_m: ``[M]``.

        Raises:
            InputError: an image is missing or cannot be read.
        """
        if self.folder is None:
            names, sizes = [stem + self.suffix for stem in stems], np.zeros((len(stems), 2), dtype=np.int64)
        else:
            paths = [self._file(stem, labels) for stem in stems]
            names = [path.name for path in paths]
            sizes = np.array([image_size(path) for path in paths], dtype=np.int64).reshape(len(stems), 2)
        return Images(np.array(names, dtype=object), np.arange(1, len(names) + 1), sizes, gsd_m=gsd_m)

    def _file(self, stem: str, labels: Path) -> Path:
        if stem not in self.by_stem:
            raise InputError(f"{labels / stem}.txt: its image is missing in {self.folder}; add it or remove the labels")
        return self.by_stem[stem]


def row_by_stem(images: Images) -> dict[str, int]:
    """Map names without folders and suffix to rows of images.

    Raises:
        InputError: two images differ in folder or suffix only, so that a text file could not tell them apart.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(images.names):
        stem = PurePosixPath(name).stem
        if stem in rows:
            raise InputError(
                f"{name}: there is also {images.names[rows[stem]]}, and a text file each needs other names"
            )
        rows[stem] = row
    return rows
