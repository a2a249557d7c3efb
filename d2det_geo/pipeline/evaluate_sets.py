"""Image sets compared: any format read, classes settled, what cannot be compared refused in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats.registry import Reading, format_named
from d2det_geo.data.formats.uavdt import split_of
from d2det_geo.data.formats.uavdt_remarks import remarks
from d2det_geo.errors import InputError
from d2det_geo.metrics.classes import ClassRules, renamed
from d2det_geo.metrics.protocols import PROTOCOLS
from d2det_geo.pipeline.evaluate_options import IOUS_OF, EvaluateOptions
from d2det_geo.pipeline.evaluation import Evaluation

_MOST_OUTSIDE = 0.5  # of detections that lie beside their image: beyond, they are in another frame


def compare_sets(truth_path: Path, pred_path: Path, options: EvaluateOptions) -> Evaluation:
    """Compare detections with the truth of an image set.

    Raises:
        InputError: a file is missing, unreadable, not of its format, or the two do not belong together.
        UsageError: a format that cannot be read as what it is given for.
    """
    truth_format, pred_format = options.formats
    reading = Reading(
        images=options.images,
        class_names=tuple(options.class_names),
        class_field=options.class_field,
        raster=options.scene,
        split=options.split or _part(truth_path, pred_path, truth_format),
        merge_patches=options.merge_patches,
    )
    if reading.split != options.split:
        reading.notices.append(f"{truth_path}: holds both parts of UAVDT; the {reading.split} sequences are judged")
    read, read_results = format_named(truth_format, "read").read, format_named(pred_format, "read_results").read_results
    if read is None or read_results is None:
        raise AssertionError("format_named gives formats that can")
    truth = read(truth_path, reading)
    pred_reading = replace(reading, class_field=options.pred_class_field or reading.class_field)
    predictions = read_results(pred_path, truth, pred_reading)
    notices = [*reading.notices, *_beside(predictions, pred_path)]
    if options.protocol.startswith("uavdt"):
        notices += remarks(truth)
    if options.compared_by == "segm":
        for objects, path in ((truth, truth_path), (predictions, pred_path)):
            _check_outlines(objects, path, options.protocol)
    truth, predictions, told = renamed(truth, predictions, ClassRules(options.class_map, options.ignore))
    score = PROTOCOLS[options.protocol].score
    outcome = score(truth, predictions, iou=options.compared_by, score=options.score, **options.extra)
    return Evaluation(
        truth=truth,
        predictions=predictions,
        outcome=outcome,
        images=options.images,
        notices=(*dict.fromkeys(notices), *told, *_nothing_shared(truth, predictions, pooled=outcome.verdicts.pooled)),
    )


def _part(truth: Path, predictions: Path, truth_format: str) -> Literal["train", "test"] | None:
    """Say which part of a benchmark is judged; the other's sequences would count as missed."""
    return split_of(truth, predictions) if truth_format == "uavdt" else None


def _check_outlines(objects: Annotations, path: Path, protocol: str) -> None:
    """Refuse to compare outlines where there are only boxes."""
    if len(objects) == 0:
        return
    without: NDArray[np.bool_] = objects.labels != REGION
    if objects.outlines is not None:
        without = without & np.array([outline is None for outline in objects.outlines], bool)
    if without.any():
        row = int(np.flatnonzero(without)[0])
        image = objects.images.names[objects.image[row]]
        advice = ", or compare boxes with --iou bbox" if "bbox" in IOUS_OF[protocol] else ""
        raise InputError(f"{path}: object {row} (of image {image}) has a box and no outline; add outlines{advice}")


def _beside(predictions: Annotations, path: Path) -> list[str]:
    """Tell detections that lie wholly beside their image, and refuse them where they are most."""
    sizes = predictions.images.sizes[predictions.image]
    boxes = predictions.boxes
    beside = (boxes[:, :2] >= sizes).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    beside &= (sizes > 0).all(axis=1)
    count = int(np.count_nonzero(beside))
    if count == 0:
        return []
    row = int(np.flatnonzero(beside)[0])
    name, (width, height) = predictions.images.names[predictions.image[row]], sizes[row]
    example = f"the first is object {row}, {boxes[row].round(2).tolist()} in {name} of {width} x {height} px"
    if count > _MOST_OUTSIDE * len(predictions):
        raise InputError(
            f"{path}: {count} of {len(predictions)} detections lie beside their image ({example});"
            " are they in another frame, such as that of the scene the images are chips of? bring them to their images"
        )
    return [f"{path}: {count} detections lie beside their image; {example}"]


def _nothing_shared(truth: Annotations, predictions: Annotations, *, pooled: bool) -> list[str]:
    """Say what makes every score zero though there is something to compare."""
    wanted = ~truth.ignored & (truth.labels != REGION)
    if not wanted.any() or len(predictions) == 0:
        return []
    shared = np.intersect1d(truth.image[wanted], predictions.image)
    if len(shared) == 0:
        return ["no image has both truth and detections; check that the two are of the same images"]
    if not pooled and len(np.intersect1d(truth.labels[wanted], predictions.labels)) == 0:
        names = [
            ", ".join(truth.classes[label] for label in np.unique(labels))
            for labels in (truth.labels[wanted], predictions.labels)
        ]
        return [f"no class has both truth ({names[0]}) and detections ({names[1]}); --class-map renames classes"]
    return []
