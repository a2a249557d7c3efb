"""iSAID's PNG triples as truth: by the devkit's rules, or to the pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.contours import Instances, exact_runs, outline
from d2det_geo.data.formats.files import image_size
from d2det_geo.data.formats.isaid_classes import CLASSES, UNLABELLED
from d2det_geo.data.formats.isaid_layout import Triple, triples
from d2det_geo.data.formats.isaid_maps import drawn, labels, read_instances
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError


def read(path: Path, reading: Reading) -> Annotations:
    """Read a folder of ``P0003.png``, ``P0003_instance_id_RGB.png`` and ``P0003_instance_color_RGB.png``.

    By default the objects are those the devkit would make of the files: polygons through the centres
    of border pixels, no instance of 10 px or fewer, or with a part of one or two pixels in a line, holes lost.
    Published numbers stand on these. With ``reading.exact`` every instance of a class is there with all its
    pixels, as ``Runs``; a score against those is not iSAID's AP. Instances on black have no class, in neither.

    Boxes cover the pixels: what the devkit calls ``[x, y, w, h]``. Image ids count from 0 in natural order, as the
    devkit's do; ``columns["instance"]`` is the value in the id map.

    Args:
        path: a split: the three kinds of files side by side, there or in ``images``, or the released layout.
        reading: ``exact``.

    Raises:
        InputError: a file is missing, damaged, of another size than its image, not 8-bit RGB, or has a colour
            of no class; the message names it.
    """
    found = triples(path)
    parts = [_objects(triple, exact=reading.exact) for triple in found]
    counts = [len(part[0]) for part in parts]
    boxes, areas, labelled, ids = (
        np.concatenate([np.asarray(part[column]) for part in parts]) for column in (0, 1, 2, 3)
    )
    outlines = np.empty(sum(counts), object)
    outlines[:] = [shape for part in parts for shape in part[4]]
    images = Images(
        names=np.array([triple.image.name for triple in found], object),
        ids=np.arange(len(found)),
        sizes=np.array([image_size(triple.image) for triple in found], np.int64).reshape(-1, 2),
    )
    return Annotations(
        images=images,
        classes=CLASSES,
        image=np.repeat(np.arange(len(found)), counts),
        boxes=boxes.reshape(-1, 4).astype(np.float64),
        labels=labelled,
        ignored=np.zeros(len(labelled), np.bool_),
        outlines=outlines,
        areas=areas.astype(np.float64),
        columns={"instance": ids.astype(np.int64)},
    )


_Objects = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32], list[object]]


def _objects(triple: Triple, *, exact: bool) -> _Objects:
    """Give boxes, areas, labels, ids and outlines of one image."""
    if triple.ids is None or triple.colours is None:
        raise InputError(f"{triple.image}: has no maps; give its instance_id_RGB and instance_color_RGB")
    instances = read_instances(triple.ids, triple.colours, image_size(triple.image))
    classes = labels(instances, str(triple.colours))
    rows, shapes = _exact(instances, classes) if exact else _devkit(instances, classes)
    return instances.boxes[rows], instances.areas[rows], classes[rows], instances.ids[rows], shapes


def _exact(instances: Instances, classes: NDArray[np.int64]) -> tuple[NDArray[np.intp], list[object]]:
    rows = np.flatnonzero(classes != UNLABELLED)
    return rows, [exact_runs(instances, index) for index in rows.tolist()]


def _devkit(instances: Instances, classes: NDArray[np.int64]) -> tuple[NDArray[np.intp], list[object]]:
    kept = drawn(instances, classes)
    return np.array(kept.rows, np.intp), [outline(rings) for rings in kept.rings]
