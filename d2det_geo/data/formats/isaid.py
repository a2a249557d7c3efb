"""iSAID's JSON: the released files of whole images, and the devkit's of patches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats import coco
from d2det_geo.data.formats.isaid_classes import CLASSES, LABELS, normalised
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError


def read(path: Path, reading: Reading) -> Annotations:
    """Read truth; the classes are always the 15 in official order, whatever the file lists.

    The released files number categories in the order they were met, train other than val, and only the devkit's
    numbers are official: classes are looked up by name, without regard to case, ``_``, ``-`` and spaces.
    Images without ``width`` and ``height``, as in one of the released files, are measured in ``reading.images``.
    A notice tells of a file with numbers of its own, because detections are then read with the official ones.

    Args:
        path: ``iSAID_train.json``, ``instancesonly_filtered_train.json`` and the like.
        reading: ``images``, the folder; takes the notice.

    Raises:
        InputError: not a COCO file, a row is wrong, or a category is none of iSAID's; the message names file and row.
    """
    truth = coco.read(path, reading)
    official = np.array([_label(path, place, name) for place, name in enumerate(truth.classes)], np.int64)
    labels = np.where(truth.labels == REGION, REGION, official[truth.labels] if len(official) else truth.labels)
    for name, own, label in zip(truth.classes, truth.class_ids or (), official.tolist(), strict=True):
        if own != label + 1:
            reading.notices.append(
                f"{path}: has class numbers of its own ({name} is {own}, officially {label + 1}): detections are read "
                "with the official ones; if yours have those of the file, add --truth-format coco"
            )
            break
    ids = tuple(range(1, len(CLASSES) + 1))
    return replace(truth, classes=CLASSES, labels=labels, class_ids=ids, supercategories=None)


def _label(path: Path, place: int, name: str) -> int:
    label = LABELS.get(normalised(name))
    if label is None:
        raise InputError(
            f"{path}: categories[{place}].name: {name!r:.60} is none of iSAID's 15 classes ({', '.join(CLASSES)});"
            " correct it, or read the file as coco"
        )
    return label
