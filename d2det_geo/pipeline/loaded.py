"""A network in memory, with what says which one it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from d2det_geo.model.bundle import Card, load_model
from d2det_geo.model.tta import AugmentedDetector
from d2det_geo.pipeline.device import choose_device, device_of
from d2det_geo.pipeline.network import Detector


class CardedDetector(Detector, Protocol):
    """A loaded network that brings its card."""

    @property
    def card(self) -> Card:
        """What the bundle says about the network."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A network where it computes."""

    detector: CardedDetector
    card: Card
    device: torch.device
    identity: dict[str, str | int]
    """``name``, and SHA-256 of the ``card`` and of the ``weights``."""
    needs: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Bytes the process takes with a batch of this shape: measured once, as the peak never falls again."""

    def augmented(self, scales: Sequence[float], *, flip: bool) -> Detector:
        """Give the network as test-time augmentation wants it; itself where that changes nothing."""
        if not flip and tuple(scales) == (1.0,):
            return self.detector
        return AugmentedDetector(self.detector, self.card, scales, flip=flip)


def loaded(model: str | Path | CardedDetector | LoadedModel, device: str = "auto") -> LoadedModel:
    """Load a model, once: one that is loaded stays as and where it is.

    Args:
        model: name of a packaged model, path of a bundle, or a network.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: no such model or kind of device. InputError: a damaged bundle.
        DependencyError: a GPU was asked for and is not there.
    """
    if isinstance(model, LoadedModel):
        return model
    place = choose_device(device)
    detector: CardedDetector = load_model(model, str(place)) if isinstance(model, str | Path) else model
    card = detector.card
    identity: dict[str, str | int] = {
        "name": card.name,
        "card": hashlib.sha256(card.model_dump_json().encode()).hexdigest(),
        "weights": _digest(detector),
    }
    return LoadedModel(detector, card, device_of(detector), identity)


def _digest(detector: CardedDetector) -> str:
    """Take the SHA-256 of all weights and statistics, in the order the network names them."""
    digest = hashlib.sha256()
    state = detector.state_dict().values() if isinstance(detector, torch.nn.Module) else detector.parameters()
    for values in state:
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
