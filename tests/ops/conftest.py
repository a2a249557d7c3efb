"""Tests of kernels: where they run, and memory that shows what a kernel forgot to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

GPU = torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not GPU:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session", params=[pytest.param("cuda", marks=pytest.mark.gpu)] if GPU else ["cpu"])
def kernel_device(request: pytest.FixtureRequest) -> torch.device:
    """Give the device whose tensors kernels take: a GPU, or the CPU in Triton's interpreter."""
    pytest.importorskip("triton")
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill memory that comes unwritten with what no result may contain."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch, "empty_strided"), (Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, _poisoning(getattr(owner, name)))


@pytest.fixture(autouse=True)
def quiet_interpreter() -> Iterator[None]:
    """Let the interpreter compute with what is not a number, as a GPU does."""
    with np.errstate(all="ignore"):
        yield


def _poisoning(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def poisoned(*args: Any, **options: Any) -> Tensor:
        memory = allocate(*args, **options)
        with torch.no_grad():
            if memory.is_floating_point() or memory.is_complex():
                memory.fill_(torch.nan)
            else:
                memory.fill_(True if memory.dtype == torch.bool else torch.iinfo(memory.dtype).max)
        return memory

    return poisoned
