"""Whether kernels run on a GPU."""

from __future__ import annotations

import os
import shutil
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch

OLDEST = (7, 5)  # compute capability: Turing
OLDEST_TRITON = (3, 7)  # before, tuples of numbers do not reach a kernel as the kernels take them


def usable(device: torch.device) -> bool:
    """Tell whether our kernels run on ``device``; where they do not, say once why, and the caller does without."""
    index = torch.cuda.current_device() if device.index is None else device.index
    problem = problem_of(index)
    if problem is not None:
        _say(problem)
    return problem is None


@cache
def problem_of(index: int) -> str | None:
    """What keeps Triton from running on GPU ``index``, or None."""
    capability = torch.cuda.get_device_capability(index)
    if capability < OLDEST:
        name = torch.cuda.get_device_name(index)
        found = ".".join(map(str, capability))
        return f"{name} has compute capability {found}, and our kernels need {'.'.join(map(str, OLDEST))}"
    if find_spec("triton") is None:
        return "triton is not installed"
    version = str(import_module("triton").__version__)  # its distribution is not called triton everywhere
    if tuple(map(int, version.split(".")[:2])) < OLDEST_TRITON:
        return f"triton {version} is older than {'.'.join(map(str, OLDEST_TRITON))}"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton finds no C compiler (gcc or clang, or the one that CC names)"
    return None


@cache
def _say(problem: str) -> None:
    warnings.warn(f"d2det runs its operators without GPU kernels, far slower: {problem}", stacklevel=3)
