"""Training state on disk: written whole or not at all, read without running code from it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2det_geo.config import Config
from d2det_geo.errors import InputError, UsageError
from d2det_geo.vector.output import atomic_path

FILE = "checkpoint.pt"
_DAMAGE = (OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True)
class TrainedSoFar:
    """How far a run has come."""

    step: int
    """steps done"""
    seconds: float
    """spent training, over all sessions"""


def save_checkpoint(
    path: Path,
    config: Config,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    state: TrainedSoFar,
) -> None:
    """Write everything a run needs to go on as if it had not stopped."""
    content = {
        "config": config.model_dump(mode="json"),
        "network": network.state_dict(),
        "average": average,
        "optimiser": optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(
    path: Path,
    config: Config,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> TrainedSoFar:
    """Put a run back where it stopped, in place.

    Raises:
        InputError: there is no readable checkpoint.
        UsageError: it was written under other settings; the message names the first that differs.
    """
    if not path.exists():
        raise InputError(f"{path}: no checkpoint to resume from; start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        difference = _first_difference(state["config"], config.model_dump(mode="json"))
        if difference:
            raise UsageError(f"{path}: cannot resume, {difference}; restore it or start in another folder")
        network.load_state_dict(state["network"])
        for name, value in state["average"].items():
            average[name].copy_(value)
        optimiser.load_state_dict(state["optimiser"])
        return TrainedSoFar(state["step"], state["seconds"])
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged checkpoint ({reason:.120}); start again without --resume") from error


def _first_difference(old: Any, new: Any, key: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            difference = _first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if difference:
                return difference
        return ""
    return "" if old == new else f"{key} was {old!s:.60} and is now {new!s:.60}"
