"""Which processor the network runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import torch

from d2det_geo.errors import DependencyError, UsageError


class HasParameters(Protocol):
    """Anything with weights."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the weights."""
        ...


_CUDA = re.compile(r"cuda(?::(\d+))?")


def device_of(network: HasParameters) -> torch.device:
    """Tell where a network's weights are; one without weights computes on the CPU."""
    return next((weights.device for weights in network.parameters()), torch.device("cpu"))


def choose_device(name: str = "auto") -> torch.device:
    """Choose a device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DependencyError: a GPU was asked for and is not there.
        UsageError: no such kind of device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    cuda = _CUDA.fullmatch(name)
    if cuda is None:
        raise UsageError(f"--device {name}: no such device; use auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise DependencyError(f"--device {name}: torch sees no usable GPU; run d2det doctor, or use --device cpu")
    count = torch.cuda.device_count()
    if int(cuda[1] or 0) >= count:
        raise DependencyError(f"--device {name}: there are {count} GPUs, numbered from 0; use a smaller number")
    return torch.device(name)
