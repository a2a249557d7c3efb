"""UAVDT's text files of a set of frames: ground truth and detections, in the columns of spec section 3.2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats.table_text import MAPPED, row_text, sides
from d2det_geo.data.formats.uavdt_layout import IGNORE, WHOLE, frame_of
from d2det_geo.data.formats.uavdt_sequences import CLASSES
from d2det_geo.errors import InputError


def write(annotations: Annotations, path: Path) -> None:
    """Write ``<sequence>_gt_whole.txt`` and ``<sequence>_gt_ignore.txt`` of every sequence.

    Regions go to the second, objects to the first; ignored objects have no place in either and are left out. Without
    columns of the format, objects are numbered in each sequence and said to be fully in view. Frames of sequences that
    are not the benchmark's and that have nothing on them after the last one that has are not told by these files.

    Args:
        annotations: of images named like ``M0203/img000001.jpg``, of classes car, truck and bus.
        path: a folder that does not exist yet.

    Raises:
        InputError: an image is no frame or the same as another, or a class is none of the three.
    """
    category = _categories(annotations)
    wrong = (annotations.labels != REGION) & ~annotations.ignored & (category[annotations.labels] < 1)
    if wrong.any():
        name = annotations.classes[int(annotations.labels[wrong][0])]
        raise InputError(f"class {name!r} has no category in UAVDT ({', '.join(CLASSES)}); {MAPPED.format(name)}")
    sequences = list(_sequences(annotations))
    path.mkdir(parents=True)
    for sequence, frame, rows in sequences:
        regions = annotations.labels[rows] == REGION
        objects = ~regions & ~annotations.ignored[rows]
        _write_objects(path / f"{sequence}{WHOLE}", annotations, (frame[objects], rows[objects]), category)
        _write_regions(path / f"{sequence}{IGNORE}", annotations, (frame[regions], rows[regions]))


_Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.intp]]
_Column: TypeAlias = NDArray[np.int64] | NDArray[np.float64]


def _write_objects(path: Path, annotations: Annotations, of: _Rows, category: NDArray[np.int64]) -> None:
    frame, rows = of
    said = annotations.columns
    numbered, in_view = np.arange(1, len(rows) + 1), np.ones(len(rows), dtype=np.int64)
    identity = said["target_id"][rows] if "target_id" in said else numbered
    views = [said[name][rows] if name in said else in_view for name in ("out_of_view", "occlusion")]
    _write_rows(path, [frame, identity, *_box(annotations, rows), *views, category[annotations.labels[rows]]])


def _write_regions(path: Path, annotations: Annotations, of: _Rows) -> None:
    frame, rows = of
    said, ones = annotations.columns, np.ones(len(rows), dtype=np.int64)
    identity = said["target_id"][rows] if "target_id" in said else np.arange(1, len(rows) + 1)
    _write_rows(path, [frame, identity, *_box(annotations, rows), ones, -ones, -ones])


def write_results(annotations: Annotations, path: Path) -> None:
    """Write ``<sequence>.txt`` of every sequence, also where nothing was found.

    Rows are in the order of the frames, and in one frame in that of ``annotations``. Category is -1 for a class that is
    none of car, truck and bus, such as the one class of a detector of vehicles: the pooled protocol asks for none.

    Args:
        annotations: with scores, of images named like ``M0203/img000001.jpg``.
        path: a folder that does not exist yet.

    Raises:
        InputError: an image is no frame, or the same as another.
    """
    if annotations.scores is None:
        raise ValueError("detections have scores")
    category = _categories(annotations)[annotations.labels]
    known = annotations.columns.get("category_known")
    if known is not None:
        category = np.where(known, category, -1)
    sequences = list(_sequences(annotations))
    path.mkdir(parents=True)
    for sequence, frame, rows in sequences:
        ones = np.ones(len(rows), dtype=np.int64)
        columns: list[_Column] = [
            frame,
            -ones,
            *_box(annotations, rows),
            annotations.scores[rows],
            ones,
            category[rows],
        ]
        _write_rows(path / f"{sequence}.txt", columns)


def _box(annotations: Annotations, rows: NDArray[np.intp]) -> list[NDArray[np.float64]]:
    boxes = annotations.boxes[rows]
    return [*boxes[:, :2].T, *sides(boxes).T]


def _write_rows(path: Path, columns: list[_Column]) -> None:
    path.write_text(row_text(columns), encoding="utf-8", newline="\n")


def _categories(annotations: Annotations) -> NDArray[np.int64]:
    """Category of each class ``[K]``, -1 where UAVDT has none; one more for a set without classes."""
    numbers = [CLASSES.index(name.lower()) + 1 if name.lower() in CLASSES else -1 for name in annotations.classes]
    return np.array([*numbers, -1], dtype=np.int64)


def _sequences(annotations: Annotations) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.intp]]]:
    """Give for each sequence its name and, of its objects by frame, the frames and the rows."""
    frames: dict[tuple[str, int], str] = {}
    for name in annotations.images.names:
        frame = frame_of(name)
        if frame is None:
            raise InputError(f"{name}: is no frame of a UAVDT sequence; name images like M0203/img000001.jpg")
        if frame in frames:
            raise InputError(f"{name}: is frame {frame[1]} of {frame[0]} like {frames[frame]}; rename one's sequence")
        frames[frame] = name
    names = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in frames))}
    sequence = np.array([names[name] for name, _ in frames], dtype=np.int64)[annotations.image]
    number = np.array([frame for _, frame in frames], dtype=np.int64)[annotations.image]
    order = np.lexsort((number, sequence))
    ends = np.searchsorted(sequence[order], np.arange(len(names) + 1))
    for name, index in names.items():
        rows = order[ends[index] : ends[index + 1]]
        yield name, number[rows], rows
