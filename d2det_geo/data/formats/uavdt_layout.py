"""Where UAVDT's files are (spec section 3.1): ground truth, attributes and, in both packagings, frames."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2det_geo.data.formats.files import IMAGE_SUFFIXES, image_size, natural_key, read_text
from d2det_geo.data.formats.tables import Layout, read_table
from d2det_geo.data.formats.uavdt_sequences import ATTRIBUTES, LENGTHS, listed_attributes
from d2det_geo.errors import InputError

WHOLE, IGNORE = "_gt_whole.txt", "_gt_ignore.txt"
MOST_FRAMES = 999_999
"""Of a sequence: names of its files have six digits."""
RELEASED_FRAME = re.compile(r"img(\d{6})\.jpg", re.ASCII | re.IGNORECASE)
"""The file of a frame as the benchmark has it."""
ANY_FRAME = re.compile(rf"img(\d+)(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})", re.ASCII | re.IGNORECASE)
"""The file of a frame where it is known that files are frames."""
_FRAME_NAME = re.compile(r"(?:.*?/)??(?:([^/]+)/img1/|([^/]+)[/_])img0*(\d{1,6})\.[^/.]+", re.ASCII)


def gt_folder(path: Path) -> Path:
    """Find the ``GT`` folder: the path itself, or in the benchmark's folders below it.

    Raises:
        InputError: none of them holds a ``<sequence>_gt_whole.txt``.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give UAVDT's folder GT (UAV-benchmark-MOTD_v1.0/GT)")
    for folder in (path, path / "GT", path / "UAV-benchmark-MOTD_v1.0" / "GT"):
        if next(folder.glob(f"*{WHOLE}"), None) is not None:
            return folder
    raise InputError(
        f"{path}: holds no file named like M0203{WHOLE}; give UAVDT's folder GT (UAV-benchmark-MOTD_v1.0/GT)"
    )


def sequence_names(folder: Path) -> list[str]:
    """List the sequences with ground truth, in the order of their numbers."""
    return sorted((path.name.removesuffix(WHOLE) for path in folder.glob(f"*{WHOLE}")), key=natural_key)


def attributes(folder: Path, sequences: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Tell the attributes ``[10]`` of the sequences they are known of.

    From ``M_attr/{train,test}/<sequence>_attr.txt`` in ``GT`` or one of the two folders around it; for test sequences
    without such a file from the toolkit's lists. A space in the name is fine: one released file has it.

    Raises:
        InputError: a file does not hold ten times 0 or 1.
    """
    files: dict[str, Path] = {}
    folder = Path(os.path.abspath(folder))  # "GT" and "." have no folders around them  # noqa: PTH100
    for place in (folder.parent.parent, folder.parent, folder):
        for path in sorted(place.glob("M_attr/*/*_attr.txt")):
            files[path.name.removesuffix("_attr.txt").strip()] = path
    known = {}
    for name in sequences:
        listed = listed_attributes(name)
        if name in files:
            known[name] = _attribute_row(files[name])
        elif listed:
            known[name] = np.array([attribute in listed for attribute in ATTRIBUTES])
    return known


def _attribute_row(path: Path) -> NDArray[np.bool_]:
    table = read_table(path, read_text(path, "UAVDT attributes"), Layout(ATTRIBUTES, len(ATTRIBUTES)))
    if len(table) != 1:
        raise InputError(f"{path}: has {len(table)} lines; give one of ten times 0 or 1: {', '.join(ATTRIBUTES)}")
    return np.array([table.whole(name, 0, 1)[0] == 1 for name in ATTRIBUTES])


def _frame_folder(images: Path, sequence: str) -> Path | None:
    """Find the folder with the frames of a sequence, in the old packaging or the new one."""
    folders: list[Path] = [images / sequence, images / "UAV-benchmark-M" / sequence]
    if images.name == sequence:
        folders.append(images)
    for folder in folders:
        for place in (folder, folder / "img1"):
            if place.is_dir() and any(ANY_FRAME.fullmatch(path.name) for path in place.iterdir()):
                return place
    return None


def frame_file(images: Path, name: str) -> Path:
    """Find the file of a frame.

    Args:
        images: folder of the sequences, in either packaging.
        name: of the frame as ``Images`` has it: ``M0203/img000001.jpg``. A file of that very name is taken, too, where
            it is not how the benchmark names its frames: ``M0203/img1.png``.

    Raises:
        InputError: there is no such file.
    """
    sequence, frame = frame_of(name) or (name, 0)
    folder = _frame_folder(images, sequence)
    place = folder or images / sequence
    path = place / name.rpartition("/")[2]
    if not path.is_file():
        path = place / frame_name(frame)
    if not path.is_file():
        raise InputError(f"{path}: is missing; give the folder of UAVDT's sequences (UAV-benchmark-M)")
    return path


def frame_name(frame: int) -> str:
    """Name the file of a frame, counted from 1."""
    return f"img{frame:06d}.jpg"


def frame_of(name: str) -> tuple[str, int] | None:
    """Part the name of an image into its sequence and frame; None where it is no frame's.

    ``M0203/img000001.jpg``, the same with ``img1`` or folders before, and ``M0203_img000001.jpg``.
    """
    match = _FRAME_NAME.fullmatch(name)
    return None if match is None else (match[1] or match[2], int(match[3]))


def frames(sequence: str, last: int, images: Path | None) -> tuple[int, tuple[int, int]]:
    """Tell how many frames a sequence has, and their width and height, px (0 without images).

    Args:
        sequence: its name. The benchmark's own have the benchmark's lengths.
        last: last frame its files speak of, which decides for others together with the frames that are there.
        images: folder of the sequences.

    Raises:
        InputError: ``images`` has no frames of it.
    """
    count = LENGTHS.get(sequence, last)
    if images is None:
        return count, (0, 0)
    folder = _frame_folder(images, sequence)
    if folder is None:
        raise InputError(
            f"{images / sequence}: holds no frames (img000001.jpg, or img1/img000001.jpg); give the folder of UAVDT's "
            f"sequences (UAV-benchmark-M), or only ground truth of sequences that are there"
        )
    found = {int(match[1]): path for path in folder.iterdir() if (match := ANY_FRAME.fullmatch(path.name))}
    if sequence not in LENGTHS:
        count = max(count, *found)
    return count, image_size(found[min(found)])
