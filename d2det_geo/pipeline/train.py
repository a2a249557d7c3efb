"""Train a detector and write it as a bundle.

Every step is a function of the seed and its number (chips, sampling, rate), so a resumed run
ends with the bytes of an uninterrupted one.
"""

from __future__ import annotations

import copy
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2det_geo.config import Config
from d2det_geo.data.chips import ChipSampler, TrainingChip
from d2det_geo.data.images import LabelledImage
from d2det_geo.errors import D2DetError, OutputExistsError
from d2det_geo.metrics.scores import Scores
from d2det_geo.model.bundle import SUFFIX, Card, build_from_card, load_model, save_bundle
from d2det_geo.model.d2det import D2Det
from d2det_geo.model.targets import Targets
from d2det_geo.model.weights import load_backbone
from d2det_geo.pipeline import checkpoint
from d2det_geo.pipeline.card import describe, git_revision, machine
from d2det_geo.pipeline.checkpoint import Progress, load_checkpoint, save_checkpoint
from d2det_geo.pipeline.detect import normalised
from d2det_geo.pipeline.device import choose_device
from d2det_geo.pipeline.optimise import build_optimiser, set_rate, update_average
from d2det_geo.pipeline.sources import training_chips, validation_images
from d2det_geo.pipeline.validate import validate
from d2det_geo.vector.writers import atomic_path

LOG = "log.jsonl"
Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What a training session left behind."""

    bundle: Path
    steps: int
    """done over all sessions"""
    seconds: float
    """spent training over all sessions"""
    scores: dict[str, float]
    """of the bundle on the validation data; empty without any"""


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    max_steps: int | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> TrainSummary:
    """Run the training a configuration describes and write ``out/<name>.safetensors``.

    A checkpoint is written every few minutes, and when the run is interrupted.

    Args:
        config: every setting.
        out: folder of the checkpoint, the log and the bundle.
        resume: go on from the checkpoint in ``out``.
        overwrite: discard what a former run left in ``out``.
        max_steps: stop after this many steps in all; the schedule stays that of the whole run.
        device: as in ``choose_device``.
        progress: told (steps done, steps in all, note).

    Raises:
        OutputExistsError: ``out`` holds a run, and neither ``resume`` nor ``overwrite`` was given.
        InputError: a source, the backbone or the checkpoint cannot be read.
        D2DetError: the folder cannot be written, or the loss is no longer finite.
    """
    _prepare_folder(out, resume=resume, overwrite=overwrite)
    chips, images = training_chips(config), validation_images(config)
    run = Run.start(config, out, choose_device(device))
    if resume:
        run.progress = load_checkpoint(out / checkpoint.FILE, config, run.network, run.average, run.optimiser)
    last = min(config.run.steps, max_steps or config.run.steps)
    try:
        run.train(chips, images, last, progress)
    finally:
        run.save()
    return run.finish(images)


@dataclass(slots=True)
class Run:
    """The state of a training run and its steps."""

    config: Config
    out: Path
    card: Card
    network: D2Det
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    progress: Progress

    @classmethod
    def start(cls, config: Config, out: Path, device: torch.device) -> Run:
        """Build network and optimiser from the seed."""
        torch.manual_seed(config.run.seed)
        card = describe(config)
        network = build_from_card(card, trainable_stages=config.model.trainable_stages)
        if config.model.backbone_weights is not None:
            load_backbone(network.pyramid, config.model.backbone_weights)
        network = network.to(device).train()
        average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return cls(config, out, card, network, average, build_optimiser(network, config.optimiser), Progress(0, 0.0))

    def train(self, chips: ChipSampler, images: list[LabelledImage], last: int, report: Report | None) -> None:
        """Take steps up to ``last``, writing checkpoints and validating on the way."""
        settings = self.config.run
        saved = time.monotonic()
        for step, batch in _batches(chips, self.config, self.progress.step, last):
            started = time.monotonic()
            values = self.step(step, batch)
            self.progress = Progress(step + 1, self.progress.seconds + time.monotonic() - started)
            if report is not None:
                report(step + 1, last, f"loss {sum(values.values()):.3f}")
            if images and (step + 1) % settings.validate_every == 0 and step + 1 < last:
                self._log({"validation": _rounded(validate(self._averaged(), self.card, images).metrics())})
            if (step + 1) % 20 == 0 or step + 1 == last:
                self._log({"loss": {name: round(value, 4) for name, value in values.items()}})
            if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()

    def step(self, step: int, batch: list[TrainingChip]) -> dict[str, float]:
        """Take one step; return the losses by name.

        Raises:
            D2DetError: the loss is not finite.
        """
        settings = self.config
        torch.manual_seed(int(np.random.SeedSequence([settings.run.seed, step]).generate_state(1)[0]))
        device = next(self.network.parameters()).device
        images = normalised([chip.image for chip in batch], self.card, device)
        images = images.contiguous(memory_format=torch.channels_last)
        sizes = [(chip.image.shape[1], chip.image.shape[2]) for chip in batch]
        set_rate(self.optimiser, settings.optimiser, step, settings.run.steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.run.precision == "bfloat16"):
            losses = self.network(images, sizes, [_targets(chip, device) for chip in batch])
        total = torch.stack(list(losses.values())).sum()
        if not bool(total.isfinite()):
            names = ", ".join(name for name, value in losses.items() if not bool(value.isfinite()))
            raise D2DetError(f"step {step + 1}: the loss is not finite ({names}); lower optimiser.learning_rate")
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if settings.optimiser.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.optimiser.clip_norm)
        self.optimiser.step()
        update_average(self.average, self.network, settings.optimiser.ema, step)
        return {name: value.item() for name, value in losses.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        path = self.out / checkpoint.FILE
        save_checkpoint(path, self.config, self.network, self.average, self.optimiser, self.progress)

    def finish(self, images: list[LabelledImage]) -> TrainSummary:
        """Write the bundle, score it as it was written, and write its scores into it."""
        path = self.out / f"{self.config.bundle.name}{SUFFIX}"
        training: dict[str, str | float] = {
            "command": shlex.join(["d2det", *sys.argv[1:]]),
            "steps": float(self.progress.step),
            "batch_size": float(self.config.run.batch_size),
            "minutes": round(self.progress.seconds / 60, 1),
            "machine": machine(next(self.network.parameters()).device),
            "torch": torch.__version__,
        }
        card = self.card.model_copy(update={"training": training, "git_revision": git_revision()})
        network = self._averaged()
        _write(path, network, card, half=self.config.bundle.half)
        scores: dict[str, float] = {}
        if images:
            measured = validate(load_model(path, str(next(network.parameters()).device)), card, images)
            scores = _rounded(measured.metrics())
            card = card.model_copy(update={"scores": scores, "score": self._threshold(measured)})
            _write(path, network, card, half=self.config.bundle.half)
            self._log({"bundle": scores})
        return TrainSummary(path, self.progress.step, self.progress.seconds, scores)

    def _threshold(self, scores: Scores) -> float:
        """Choose the bundle's threshold: as configured, else the score of the best F1, if there is one."""
        if self.config.inference.score is not None or not np.isfinite(scores.score_threshold):
            return self.card.score
        return round(scores.score_threshold, 3)

    def _averaged(self) -> D2Det:
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average)
        return network.eval()

    def _log(self, entry: dict[str, Any]) -> None:
        line = {"step": self.progress.step, "seconds": round(self.progress.seconds, 1), **entry}
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _prepare_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        left = [path for path in (out / checkpoint.FILE, out / LOG, *sorted(out.glob(f"*{SUFFIX}"))) if path.exists()]
        if left and overwrite and not resume:
            for path in left:
                path.unlink()
        elif left and not resume:
            raise OutputExistsError(f"{out}: holds a training run; pass --resume to go on with it, or --overwrite")
    except OSError as error:
        raise D2DetError(f"{out}: cannot use this folder ({error.strerror}); choose another --out") from error


def _batches(chips: ChipSampler, config: Config, first: int, last: int) -> Iterator[tuple[int, list[TrainingChip]]]:
    """Draw the batches of steps ``first`` to ``last - 1``, one step ahead on a thread of its own."""

    def draw(step: int) -> list[TrainingChip]:
        return [chips.draw(config.run.seed, step, index) for index in range(config.run.batch_size)]

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="chips") as reader:
        ahead = reader.submit(draw, first) if first < last else None
        for step in range(first, last):
            assert ahead is not None  # noqa: S101 - there is a step, so it was submitted
            batch = ahead.result()
            if step + 1 < last:
                ahead = reader.submit(draw, step + 1)
            yield step, batch


def _targets(chip: TrainingChip, device: torch.device) -> Targets:
    return Targets(
        boxes=torch.from_numpy(chip.boxes),
        labels=torch.from_numpy(chip.labels),
        masks=None if chip.masks is None else torch.from_numpy(chip.masks),
        ignored=torch.from_numpy(chip.ignored),
    ).to(device)


def _write(path: Path, network: D2Det, card: Card, *, half: bool) -> None:
    with atomic_path(path) as temporary:
        save_bundle(temporary, network, card, half=half)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}
