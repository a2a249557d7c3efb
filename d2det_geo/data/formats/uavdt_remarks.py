"""What a reader of UAVDT numbers should know of the truth they stand on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats.table_text import listed
from d2det_geo.data.formats.uavdt_layout import frame_of
from d2det_geo.data.formats.uavdt_sequences import LENGTHS, TEST, TRAIN


def remarks(truth: Annotations) -> tuple[str, ...]:
    """Say, one sentence each, how the sequences of a UAVDT truth differ from those the protocol stands on.

    What ``gaps`` says of them is among the notices of the reader.

    Args:
        truth: as the reader gives it, its ``groups`` naming the sequences.
    """
    groups = truth.images.groups
    return () if groups is None else tuple(_split(list(dict.fromkeys(groups))))


def gaps(truth: Annotations) -> tuple[str, ...]:
    """Name sequences with frames nothing is annotated in, and sequences whose ignore regions are missing."""
    groups = truth.images.groups
    if groups is None:
        return ()
    names = list(dict.fromkeys(groups))
    frames = {name: int(count) for name, count in zip(*np.unique(groups.astype(str), return_counts=True), strict=True)}
    return tuple(said for said in (_bare(truth, frames), _regions(truth, names)) if said)


def _split(names: list[str]) -> list[str]:
    missing, train = [name for name in TEST if name not in names], [name for name in names if name in TRAIN]
    if len(missing) == len(TEST):
        known = f"{len(train)} sequences of the training split" if train else "no sequence of the benchmark"
        return [f"The truth is {known}: numbers compare with none that is published for the test split."]
    said = []
    if missing:
        said.append(f"Of the test split the truth lacks {listed(missing)}: numbers compare with none published.")
    if train:
        said.append(f"The truth holds training sequences, which published numbers leave out: {listed(train)}.")
    return said


def _bare(truth: Annotations, frames: Mapping[str, int]) -> str:
    annotated = np.unique(truth.image[truth.labels != REGION])
    groups = truth.images.groups
    with_objects = np.zeros(len(truth.images), dtype=np.bool_)
    with_objects[annotated] = True
    bare = dict.fromkeys(frames, 0)
    for name in groups[~with_objects] if groups is not None else ():
        bare[name] += 1
    told = [f"{name} is annotated in {frames[name] - n:,} of {frames[name]:,} frames" for name, n in bare.items() if n]
    return f"Frames without objects count as such: {listed(told)}." if told else ""


def _regions(truth: Annotations, names: list[str]) -> str:
    groups = truth.images.groups
    having = set() if groups is None else set(groups[truth.image[truth.labels == REGION]])
    # In the released files these are empty, so only what is missing beyond them is worth a sentence.
    empty = {"M0207", "M0210", "M0501", "M0901", "M1202", "M0209", "M0801"}
    lacking = [name for name in names if name in LENGTHS and name not in having and name not in empty]
    return f"Ignore regions, which the released files have, are missing in {listed(lacking)}." if lacking else ""


def unsaid_frames(truth: Annotations) -> tuple[str, ...]:
    """Name the sequences whose frames will be others when what is written is read: the files list none.

    Those of the benchmark have its lengths, others end with the last frame that has something on it.

    Args:
        truth: whose images are named like frames; others are passed over.
    """
    frames = [frame_of(str(name)) for name in truth.images.names]
    held: dict[str, set[int]] = {}
    for frame in frames:
        if frame is not None:
            held.setdefault(frame[0], set()).add(frame[1])
    last = dict.fromkeys(held, 0)
    for row in np.unique(truth.image).tolist():
        frame = frames[row]
        if frame is not None:
            last[frame[0]] = max(last[frame[0]], frame[1])
    counts = {name: LENGTHS.get(name, last[name]) for name in held}
    told = [
        f"{name} will have {counts[name]:,} frames instead of {len(numbers):,}"
        for name, numbers in held.items()
        if numbers != set(range(1, counts[name] + 1))
    ]
    return (f"UAVDT's files do not list frames: read again, {listed(told)}",) if told else ()
