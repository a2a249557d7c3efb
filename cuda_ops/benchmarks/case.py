"""One comparison: what goes in, who computes it, and the bytes that must move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.inputs import generator

Arguments = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """Which shapes to compare."""

    device: torch.device
    quick: bool = False
    """tiny shapes, which show that everything runs and nothing about speed"""
    many: bool = False
    """also 4 images of 1000 RoIs; always on a GPU"""


@dataclass(frozen=True, slots=True)
class Case:
    """One operator on one shape."""

    op: str
    shape: str
    """in words, for the table"""
    make: Callable[[], Arguments]
    """draw the arguments, tensors of the CPU"""
    ours: Callable[..., object]
    rivals: Mapping[str, Callable[..., object]]
    """by name; each takes the same arguments"""
    moved: Callable[[Arguments, object, bool], int]
    """bytes that must move at least, of the arguments, the result, and whether gradients are asked for"""
    trained: tuple[int, ...] = ()
    """positions of the arguments that gradients are computed of; none for an operator without"""
    backward: bool = False
    """whether a call computes those gradients too"""
    layout: torch.memory_format = field(default=torch.contiguous_format)
    """of the gradient that arrives from above, ``[K, C, P, P]``"""
    tolerance: float | None = None
    """how far a rival's result may be from ours; None where the tests alone decide"""

    @property
    def contestants(self) -> dict[str, Callable[..., object]]:
        """Everyone who is timed, ours first."""
        return {"ours": self.ours, **self.rivals}

    def arguments(self, device: torch.device) -> Arguments:
        """Draw the arguments onto the device, ready to be differentiated."""
        placed = tuple(_placed(value, device) for value in self.make())
        for position in self.trained if self.backward else ():
            for tensor in tensors(placed[position]):
                tensor.requires_grad_()
        return placed

    def call(self, function: Callable[..., object], arguments: Arguments) -> Callable[[], object]:
        """Bind a contestant to its arguments: without autograd, or with the gradients of a random one from above."""
        if not self.backward:
            return torch.no_grad()(lambda: function(*arguments))
        leaves = [tensor for position in self.trained for tensor in tensors(arguments[position])]
        with torch.no_grad():
            (result,) = tensors(function(*arguments))
        above = torch.randn(result.shape, generator=generator(9)).to(result).contiguous(memory_format=self.layout)
        unread = {"allow_unused": True}  # a level without RoIs
        return lambda: torch.autograd.grad(function(*arguments), leaves, above, **unread)  # type: ignore[call-overload]


def tensors(value: object) -> Iterator[Tensor]:
    """Go through the tensors of an argument or a result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)


def size(value: object) -> int:
    """Count the bytes of the tensors of an argument or a result."""
    return sum(tensor.nbytes for tensor in tensors(value))


def _placed(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device)
    return [tensor.to(device) for tensor in tensors(value)] if isinstance(value, (list, tuple)) else value
