"""UAVDT: ground truth and detections of frames of videos (spec sections 3.1 to 3.4).

Boxes are ``left, top, width, height`` in the files and ``(left, top, left + width, top + height)`` here, nothing
clipped: two real boxes exceed their frame by a pixel, and the protocol judges them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.data.formats.files import files_in, read_text
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import listed
from d2det_geo.data.formats.tables import Layout, Table, read_table
from d2det_geo.data.formats.uavdt_layout import (
    IGNORE,
    MOST_FRAMES,
    WHOLE,
    attributes,
    frame_name,
    frame_of,
    frames,
    gt_folder,
    sequence_names,
)
from d2det_geo.data.formats.uavdt_remarks import gaps
from d2det_geo.data.formats.uavdt_sequences import ATTRIBUTES, CLASSES, LENGTHS, TEST, TRAIN
from d2det_geo.errors import InputError

_BOX = ("left", "top", "width", "height")
_GT = Layout(("frame", "target_id", *_BOX, "out_of_view", "occlusion", "category"), 9)
_REGIONS = Layout(("frame", "region_id", *_BOX), 6, more=True)
_RESULTS = Layout(("frame", "target_id", *_BOX, "score", "in_view", "category"), 7, more=True)
_Columns: TypeAlias = tuple[
    NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]
]
SAID = ("target_id", "out_of_view", "occlusion")
"""Columns of a truth, of ``Annotations``; 0 where a region has none."""


def read(path: Path, reading: Reading) -> Annotations:
    """Read DET ground truth and ignore regions of all sequences of a folder.

    Frames are those of the benchmark's lengths, also where nothing is annotated; of other sequences up to the last one
    any file speaks of. Of ``reading``, ``images`` gives frame sizes (of each sequence's first frame), ``split``
    takes the training or the test sequences only; its notices name frames and sequences that lack annotations.

    Args:
        path: ``GT``, or the benchmark's folder around it.
        reading: see above.

    Raises:
        InputError: no such folder, a wrong line, or no frames of a sequence in ``reading.images``.
    """
    folder = gt_folder(path)
    chosen = {None: None, "train": TRAIN, "test": TEST}[reading.split]
    names = [name for name in sequence_names(folder) if chosen is None or name in chosen]
    if not names:
        raise InputError(f"{folder}: holds no {reading.split} sequence; its sequences are others of UAVDT's, or none")
    parts = [_sequence(folder, name, reading.images) for name in names]
    starts = np.cumsum([0, *(part.count for part in parts)])
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "labels", "said")]
    rows = np.concatenate([part.frame + start for part, start in zip(parts, starts, strict=False)])
    truth = Annotations(
        images=_images(parts, attributes(folder, names)),
        classes=CLASSES,
        image=rows,
        boxes=joined[0],
        labels=joined[1],
        ignored=joined[1] == REGION,
        columns={name: joined[2][:, index] for index, name in enumerate(SAID)},
    )
    reading.notices.extend(gaps(truth))
    return truth


@dataclass(frozen=True, slots=True, eq=False)
class _Sequence:
    """Objects, then regions, of a sequence."""

    name: str
    count: int
    size: tuple[int, int]
    frame: NDArray[np.int64]
    """``[N]`` from 0."""
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    said: NDArray[np.int64]
    """``[N, 3]``."""


def _sequence(folder: Path, name: str, images: Path | None) -> _Sequence:
    objects = _table(folder / f"{name}{WHOLE}", _GT)
    ignore = folder / f"{name}{IGNORE}"
    regions = _table(ignore, _REGIONS) if ignore.exists() else read_table(ignore, "", _REGIONS)
    tables = (objects, regions)
    most = LENGTHS.get(name, MOST_FRAMES)
    frame = np.concatenate([table.whole("frame", 1, most) for table in tables])
    count, size = frames(name, int(frame.max(initial=0)), images)
    labels = np.full(len(frame), REGION, dtype=np.int64)
    labels[: len(objects)] = objects.whole("category", 1, len(CLASSES)) - 1
    said = np.zeros((len(frame), len(SAID)), dtype=np.int64)
    for index, column in enumerate(SAID):
        said[: len(objects), index] = objects.whole(column, -1)
    said[len(objects) :, 0] = regions.whole("region_id", -1)
    boxes = np.concatenate((objects.boxes(), regions.boxes(empty=True)))
    return _Sequence(name, count, size, frame - 1, boxes, labels, said)


def _table(path: Path, layout: Layout) -> Table:
    return read_table(path, read_text(path, "a file of UAVDT"), layout)


def _images(parts: list[_Sequence], known: Mapping[str, NDArray[np.bool_]]) -> Images:
    counts = [part.count for part in parts]
    names = [f"{part.name}/{frame_name(frame)}" for part in parts for frame in range(1, part.count + 1)]
    groups = np.repeat(np.array([part.name for part in parts], dtype=object), counts)
    sizes = np.repeat(np.array([part.size for part in parts], dtype=np.int64), counts, axis=0)
    none = np.zeros(len(ATTRIBUTES), dtype=np.bool_)
    table = np.repeat(np.array([known.get(part.name, none) for part in parts]), counts, axis=0)
    tags = {name: table[:, index] for index, name in enumerate(ATTRIBUTES)} if known else {}
    ids = np.arange(1, len(names) + 1)
    return Images(np.array(names, dtype=object), ids, sizes, groups=groups, tags=tags)


def read_results(path: Path, truth: Annotations, reading: Reading) -> Annotations:
    """Read detections of the frames of a truth.

    All rows count, whatever their score, also those without width or height. A category that is missing or none of the
    truth's classes becomes label 0 with ``columns["category_known"]`` False: the pooled protocol asks for none.

    Args:
        path: folder of ``<sequence>.txt``, the one of a detector: ``RES_DET/<detector>``.
        truth: what they are detections of. Its images are frames, named as ``read`` names them or alike.
        reading: its notices name the sequences without a file, and count detections of unknown category.

    Raises:
        InputError: a wrong line, a sequence or a frame the truth does not have.
    """
    rows = _frame_rows(truth)
    files = _result_files(path)
    parts = [_results(file, rows, truth.classes) for file in files]
    image, boxes, labels, scores, known = (np.concatenate(column) for column in zip(*parts, strict=True))
    there = {file.stem for file in files}
    without = [name for name in rows if name not in there]
    if without:
        reading.notices.append(f"{path}: has no file of {listed(without)}; nothing was found there")
    if not known.all():
        reading.notices.append(
            f"{path}: {np.count_nonzero(~known):,} detections have no category, or none of the truth's; "
            f"they count where classes are pooled, and as {truth.classes[0]} elsewhere"
        )
    return Annotations(
        images=truth.images,
        classes=truth.classes,
        image=image,
        boxes=boxes,
        labels=labels,
        ignored=np.zeros(len(image), dtype=np.bool_),
        scores=scores,
        columns={"category_known": known},
    )


def split_of(path: Path, results: Path) -> Literal["train", "test"] | None:
    """Tell which part of the benchmark detections are of, where a folder of truth holds both parts.

    The released ``GT`` holds all 50 sequences, and the protocol judges the 20 of the test split: read with the others,
    these would count as missed.

    Args:
        path: of the truth, as ``read`` takes it.
        results: folder of detections; anything else is taken to be of the test split.

    Returns:
        For ``Reading.split``: ``train`` if there are detections of training sequences and of no test sequence, None if
        the truth does not hold both parts or the detections are of both.

    Raises:
        InputError: there is no truth.
    """
    names = sequence_names(gt_folder(path))
    if not any(name in TRAIN for name in names) or not any(name in TEST for name in names):
        return None
    found = {file.stem for file in results.glob("*.txt")}
    train, test = not found.isdisjoint(TRAIN), not found.isdisjoint(TEST)
    return "train" if train and not test else None if train else "test"


def _result_files(path: Path) -> list[Path]:
    return files_in(path, frozenset({".txt"}), "one detector's <sequence>.txt (RES_DET/<detector>)")


def _frame_rows(truth: Annotations) -> dict[str, NDArray[np.int64]]:
    """Map, for each sequence, frames to rows of images; -1 where there is no such frame."""
    found: dict[str, dict[int, int]] = {}
    for row, name in enumerate(truth.images.names):
        frame = frame_of(name)
        if frame is None:
            raise InputError(f"{name}: is no frame of a UAVDT sequence; images are named like M0203/img000001.jpg")
        found.setdefault(frame[0], {})[frame[1]] = row
    rows = {}
    for sequence, known in found.items():
        rows[sequence] = np.full(max(known) + 1, -1, dtype=np.int64)
        rows[sequence][list(known)] = list(known.values())
    return rows


def _results(file: Path, rows: Mapping[str, NDArray[np.int64]], classes: tuple[str, ...]) -> _Columns:
    if file.stem not in rows:
        raise InputError(f"{file}:1: the truth has no sequence {file.stem!r}; take the file away or add its truth")
    table = _table(file, _RESULTS)
    of_frame = rows[file.stem]
    frame = table.whole("frame", 0)
    image = np.where(frame < len(of_frame), of_frame[np.minimum(frame, len(of_frame) - 1)], -1)
    last = len(of_frame) - 1
    table.refuse(image < 0, lambda row: f"frame {frame[row]} is not in the truth; {file.stem} ends with frame {last}")
    labels = np.array([classes.index(name) if name in classes else -1 for name in CLASSES])
    category = table.column("category")
    known = np.isin(category, (1, 2, 3))
    label = np.where(known, labels[np.where(known, category, 1).astype(np.int64) - 1], -1)
    return image, table.boxes(empty=True), np.maximum(label, 0), table.column("score"), label >= 0
