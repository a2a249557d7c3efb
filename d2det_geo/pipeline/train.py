"""Train a detector and write it as a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from d2det_geo.config import Config
from d2det_geo.errors import D2DetError, OutputExistsError
from d2det_geo.model.bundle import SUFFIX
from d2det_geo.pipeline import checkpoint
from d2det_geo.pipeline.checkpoint import load_checkpoint
from d2det_geo.pipeline.device import choose_device
from d2det_geo.pipeline.run import LOG, Report, Run, TrainSummary
from d2det_geo.pipeline.sources import training_chips, validation_images

__all__ = ["LOG", "TrainSummary", "train"]


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    max_steps: int | None = None,
    device: str = "auto",
    progress: Report | None = None,
    command: str = "",
) -> TrainSummary:
    """Run the training a configuration describes and write ``out/<name>.safetensors``.

    A checkpoint is written every few minutes, when the run is interrupted, and at its end. Nothing of a
    former run is touched before everything the new one needs has been opened.

    Args:
        config: every setting.
        out: folder of the checkpoint, the log and the bundle.
        resume: go on from the checkpoint in ``out``.
        overwrite: discard what a former run of this bundle left in ``out``.
        max_steps: stop after this many steps in all; the schedule stays that of the whole run.
        device: as in ``choose_device``.
        progress: told (steps done, steps in all, note).
        command: what the bundle's card names as the command that trained it.

    Raises:
        OutputExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` was given.
        InputError: a source, the backbone or the checkpoint cannot be read.
        D2DetError: the folder cannot be written, or the loss is no longer finite.
    """
    place = choose_device(device)
    left = _left_by_former_run(out, config)
    if left and not (resume or overwrite):
        raise OutputExistsError(f"{out}: holds a training run; pass --resume to go on with it, or --overwrite")
    notices: list[str] = []
    chips, images = training_chips(config, notices.append), validation_images(config, notices.append)
    run = Run.start(config, out, place)
    if resume:
        run.state = load_checkpoint(out / checkpoint.FILE, config, run.network, run.average, run.optimiser)
    else:
        _start_folder(out, left)
    try:
        run.train(chips, images, min(config.run.steps, max_steps or config.run.steps), progress)
    except KeyboardInterrupt:
        run.save()
        raise
    run.save()
    return replace(run.finish(images, command), notices=tuple(notices))


def _left_by_former_run(out: Path, config: Config) -> list[Path]:
    names = (checkpoint.FILE, LOG, f"{config.bundle.name}{SUFFIX}")
    return [out / name for name in names if (out / name).exists()]


def _start_folder(out: Path, left: list[Path]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in left:
            path.unlink()
    except OSError as error:
        raise D2DetError(f"{out}: cannot use this folder ({error.strerror}); choose another --out") from error
