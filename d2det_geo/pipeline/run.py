"""The state of a training run, and its steps.

Every step is a function of the seed and its number (chips, sampling, rate), so on a CPU a resumed
run ends with the bytes of an uninterrupted one.
"""

from __future__ import annotations

import copy
import json
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
from d2det_geo.errors import D2DetError
from d2det_geo.metrics.scores import Scores
from d2det_geo.model.bundle import SUFFIX, Card, build_from_card, load_model, save_bundle
from d2det_geo.model.d2det import D2Det
from d2det_geo.model.targets import Targets
from d2det_geo.model.weights import load_backbone
from d2det_geo.pipeline import checkpoint
from d2det_geo.pipeline.card import describe, git_revision, machine
from d2det_geo.pipeline.checkpoint import TrainedSoFar, save_checkpoint
from d2det_geo.pipeline.interrupts import interrupts_held
from d2det_geo.pipeline.network import normalised
from d2det_geo.pipeline.optimise import build_optimiser, set_rate, update_average
from d2det_geo.pipeline.validate import validate
from d2det_geo.vector.output import atomic_path

LOG = "log.jsonl"
LOG_EVERY = 20  # steps
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
    notices: tuple[str, ...] = ()
    """what the user should know of the data"""


@dataclass(slots=True)
class Run:
    """A network on its way."""

    config: Config
    out: Path
    card: Card
    network: D2Det
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    state: TrainedSoFar

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
        optimiser = build_optimiser(network, config.optimiser)
        return cls(config, out, card, network, average, optimiser, TrainedSoFar(0, 0.0))

    def train(self, chips: ChipSampler, images: list[LabelledImage], last: int, report: Report | None) -> None:
        """Take steps up to ``last``, writing checkpoints and validating on the way."""
        settings = self.config.run
        saved, validation = time.monotonic(), ""
        for step, batch in _batches(chips, self.config, self.state.step, last):
            with interrupts_held():  # weights, their average and the count of steps belong together
                started = time.monotonic()
                losses = self.step(step, batch)
                self.state = TrainedSoFar(step + 1, self.state.seconds + time.monotonic() - started)
            if images and (step + 1) % settings.validate_every == 0 and step + 1 < last:
                _tell(report, step, last, "validating")
                scores = _rounded(validate(self._averaged(), self.card, images).metrics())
                self._log({"validation": scores})
                validation = f", AP {scores.get('ap', 0):.3f} at step {step + 1}"
            if (step + 1) % LOG_EVERY == 0 or step + 1 == last:
                self._log({"loss": {name: round(value, 4) for name, value in losses.items()}})
            if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            _tell(report, step + 1, last, f"loss {sum(losses.values()):.3f}{validation}")
        _tell(report, last, last, "validating" if images else "writing the bundle")

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
            raise D2DetError(
                f"step {step + 1}: the loss is not finite ({names});"
                " lower optimiser.learning_rate and start again with --overwrite"
            )
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
        with interrupts_held():
            save_checkpoint(path, self.config, self.network, self.average, self.optimiser, self.state)

    def finish(self, images: list[LabelledImage], command: str) -> TrainSummary:
        """Write the bundle, score it as it was written, and write its scores into it."""
        path = self.out / f"{self.config.bundle.name}{SUFFIX}"
        device = next(self.network.parameters()).device
        training: dict[str, str | float] = {
            "command": command,
            "steps": float(self.state.step),
            "batch_size": float(self.config.run.batch_size),
            "minutes": round(self.state.seconds / 60, 1),
            "machine": machine(device),
            "torch": torch.__version__,
        }
        card = self.card.model_copy(update={"training": training, "git_revision": git_revision()})
        self._write(path, card)
        scores: dict[str, float] = {}
        if images:
            measured = validate(load_model(path, str(device)), card, images)
            scores = _rounded(measured.metrics())
            self._write(path, card.model_copy(update={"scores": scores, "score": self._threshold(measured)}))
            self._log({"bundle": scores})
        return TrainSummary(path, self.state.step, self.state.seconds, scores)

    def _threshold(self, scores: Scores) -> float:
        """Choose the bundle's threshold: as configured, else the score of the best F1, if there is one."""
        if self.config.inference.score is not None or not np.isfinite(scores.score_threshold):
            return self.card.score
        return round(scores.score_threshold, 3)

    def _averaged(self) -> D2Det:
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average)
        return network.eval()

    def _write(self, path: Path, card: Card) -> None:
        with atomic_path(path) as temporary:
            save_bundle(temporary, self._averaged(), card, half=self.config.bundle.half)

    def _log(self, entry: dict[str, Any]) -> None:
        line = {"step": self.state.step, "seconds": round(self.state.seconds, 1), **entry}
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _batches(chips: ChipSampler, config: Config, first: int, last: int) -> Iterator[tuple[int, list[TrainingChip]]]:
    """Draw the batches of steps ``first`` to ``last - 1``, one step ahead on a thread of its own."""

    def draw(step: int) -> list[TrainingChip]:
        return [chips.draw(config.run.seed, step, index) for index in range(config.run.batch_size)]

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="chips") as reader:
        ahead = [reader.submit(draw, first)] if first < last else []
        for step in range(first, last):
            batch = ahead.pop().result()
            if step + 1 < last:
                ahead.append(reader.submit(draw, step + 1))
            yield step, batch


def _tell(report: Report | None, done: int, total: int, note: str) -> None:
    if report is not None:
        report(done, total, note)


def _targets(chip: TrainingChip, device: torch.device) -> Targets:
    return Targets(
        boxes=torch.from_numpy(chip.boxes),
        labels=torch.from_numpy(chip.labels),
        masks=None if chip.masks is None else torch.from_numpy(chip.masks),
        ignored=torch.from_numpy(chip.ignored),
    ).to(device)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}
