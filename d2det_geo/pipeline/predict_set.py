"""Predict an image set: one network over all its images, results in the format a protocol wants."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from d2det_geo import __version__
from d2det_geo.detections import Detections
from d2det_geo.errors import UsageError
from d2det_geo.model.bundle import Card, find_bundle
from d2det_geo.model.convention import Convention
from d2det_geo.pipeline.detect import Progress
from d2det_geo.pipeline.loaded import CardedDetector, LoadedModel, loaded
from d2det_geo.pipeline.network import ChipNetwork
from d2det_geo.pipeline.options import PredictOptions, gsd_of
from d2det_geo.pipeline.output import Kept
from d2det_geo.pipeline.predict_set_classes import categories_of, unnumbered
from d2det_geo.pipeline.predict_set_images import ImageSet, open_set
from d2det_geo.pipeline.predict_set_masks import mask_runs
from d2det_geo.pipeline.predict_set_results import (
    BOX_DIGITS,
    COCO_RESULTS,
    FILES,
    FORMATS,
    Sink,
    check_target,
    check_writable,
    open_results,
)
from d2det_geo.pipeline.predict_set_run import SetRun, Size
from d2det_geo.pipeline.predict_set_summary import SetSummary, manifest_of, summary_of
from d2det_geo.pipeline.run_key import RunKey
from d2det_geo.pipeline.scene_job import CHIPS_PER_BATCH
from d2det_geo.pipeline.tally import Tally
from d2det_geo.runs import measured

OPTIONS = frozenset({"score", "classes", "gsd", "chip_size", "overlap", "batch_size", "device", "scales", "flip"})
"""Those of ``PredictOptions`` that mean something for a set."""


def predict_set(  # noqa: PLR0913 - what goes in, what comes out, and what to do about failures
    path: Path,
    out: Path,
    model: str | Path | CardedDetector | LoadedModel = "buildings",
    *,
    images: Path | None = None,
    format: str | None = None,
    class_map: Mapping[str, str] | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> SetSummary:
    """Predict the images of a set into one output, complete or not at all.

    Every image is decoded whole and seen as in training: at its own pixels, or at the GSD of the model if it says its
    GSD. Its chips are merged. All detections the network gives are kept unless ``score`` says otherwise, as protocols
    want them. What is done is kept in a ledger beside the output while the run lasts, and longer if images failed.

    Args:
        path: a COCO JSON file, a folder of a UAVDT sequence or of several, or a folder of images.
        out: file or folder of the results, as the format has it.
        model: name of a packaged model, path of a bundle, or a loaded network.
        images: folder of the images of a JSON file; None is the one it lies in.
        format: one of ``FORMATS``; None lets the suffix of ``out`` say, and without one is ``uavdt`` for sequences.
        class_map: class of the model -> class of the set, where they differ; an empty name drops the class.
        on_error: what an image that fails does to the others: ``fail`` ends the run there, ``skip`` goes on.
        overwrite: replace what is there.
        resume: go on where an interrupted run stopped, or with the images that failed; the output is the same to the
            last byte as that of a run without interruption. A complete output is left as it is.
        progress: called with the images done and the images in all.
        options: fields of ``PredictOptions`` that ``OPTIONS`` names.

    Raises:
        UsageError, OutputExistsError, D2DetError: the output cannot be written, options make no sense, or a class has
            no place in the set; said before the network runs.
        InputError: the set or an image cannot be read; or, before the network runs, the format has no place for a
            class or for the name of an image.
    """
    started = time.perf_counter()
    settings = _checked(options)
    found = open_set(path, images, sequences=True if format == "uavdt" else None)
    format = _format(format, found, out)
    check_target(out, format, overwrite=overwrite or resume)
    if isinstance(model, str | Path):
        find_bundle(model)
    network = loaded(model, settings.device)
    targets, categories = categories_of(network.card, settings.classes, class_map or {}, found, format)
    check_writable(format, found, categories, {target for target in targets if target >= 0})
    run = _run(found, network, settings, [row for row, target in enumerate(targets) if target >= 0], on_error)
    key = _key(run, network, settings, [targets, categories.names, categories.ids, format])
    kept = Kept(out, overwrite=overwrite, resume=resume, units="images")
    before = kept.complete(key)
    if before is not None:
        return summary_of(run, network, format, key, started, before["counts"])
    with ExitStack() as stack:
        ledger = stack.enter_context(kept.ledger(key))
        sink = stack.enter_context(open_results(out, format, found, categories))
        write = _Writer(sink, network.card, np.array(targets), run.tally)
        run.run(write, ledger, progress)
    summary = summary_of(run, network, format, key, started)
    summary = replace(summary, notices=(*summary.notices, *unnumbered(categories, format)))
    kept.finish(manifest_of(run, key, summary, categories, out), keep=bool(run.failures))
    return summary


class _Writer:
    """Sends detections to a sink as its format wants them."""

    def __init__(self, sink: Sink, card: Card, targets: np.ndarray[Any, np.dtype[np.int64]], tally: Tally) -> None:
        self._sink, self._targets, self._tally = sink, targets, tally
        self._convention = Convention(card.architecture.get("convention", Convention.ALIGNED))

    def __call__(self, row: int, size: Size, found: Detections) -> None:
        with self._tally.timed("write"):
            boxes = np.round(found.boxes, BOX_DIGITS)
            solid = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
            masks = None if found.masks is None else mask_runs(found, size, self._convention)
            if masks is not None:
                solid &= measured(masks).areas > 0
            kept = found.select(solid)
            kept.labels[:] = self._targets[kept.labels]
            self._sink.write(row, size, kept, masks and [mask for mask, good in zip(masks, solid, strict=True) if good])
        self._tally.drop("empty", int((~solid).sum()))
        self._tally.objects += len(kept)


def _checked(options: dict[str, Any]) -> PredictOptions:
    """Refuse options that mean nothing for a set."""
    settings, usual = PredictOptions.of(options), PredictOptions()
    for name in options:
        if name not in OPTIONS and getattr(settings, name) != getattr(usual, name):
            raise UsageError(f"--{name.replace('_', '-')} means nothing for an image set; leave it out")
    return settings


def _format(format: str | None, found: ImageSet, out: Path) -> str:
    if format is None:
        of_suffix = {suffix: name for name, suffix in FILES.items()}
        return of_suffix.get(out.suffix.lower(), "uavdt" if found.kind == "sequences" else COCO_RESULTS)
    if format not in FORMATS:
        raise UsageError(f"--format {format}: is none of an image set; there are {', '.join(FORMATS)}")
    return format


def _run(
    found: ImageSet, model: LoadedModel, options: PredictOptions, labels: list[int], on_error: Literal["fail", "skip"]
) -> SetRun:
    card = model.card
    network = ChipNetwork(
        model.augmented(options.scales, flip=options.flip),
        card,
        card.overlap if options.overlap is None else options.overlap,
        options.batch_size or CHIPS_PER_BATCH[model.device.type],
        np.array(labels, np.int64),
        0.0 if options.score is None else options.score,
    )
    chip_size = card.chip_size if options.chip_size is None else options.chip_size
    return SetRun(found, network, chip_size, gsd_of(options.gsd, card.gsd_m), on_error, Tally())


def _key(run: SetRun, model: LoadedModel, options: PredictOptions, output: list[Any]) -> RunKey:
    """Say what decides the result; whether an image changed is seen when its part of a ledger is taken up."""
    images = run.set.images
    listed = json.dumps([[*map(str, images.names)], images.ids.tolist(), images.sizes.tolist(), str(images.gsd_m)])
    settings = {
        "--score": run.network.score,
        "--gsd": options.gsd,
        "--chip-size": run.chip_size,
        "--overlap": run.network.overlap,
        "--batch-size": run.network.batch_size,
        "--device": model.device.type,
        "--tta": [*options.scales, *(["flip"] if options.flip else [])],
        "--classes, --class-map and --format": output,
        "torch": torch.__version__,
        "threads": torch.get_num_threads() if model.device.type == "cpu" else None,  # change the last bits
    }
    content: dict[str, str | int] = {"images": len(images), "sha256": hashlib.sha256(listed.encode()).hexdigest()}
    return RunKey(content, model.identity, json.loads(json.dumps(settings)), __version__)
