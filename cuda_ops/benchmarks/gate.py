"""No speed of what is wrong: an operator is timed after its tests have passed, on this machine, just now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.case import Case, tensors

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "ops"
STRAYS = 1e-4  # share of values that may differ more: a sample on a border falls on either side of it in float32


def red_tests(op: str, folder: Path) -> str | None:
    """Run the tests of an operator and say why it may not be timed, or None if it may."""
    files = sorted(folder.glob(f"test_{op}.py")) + sorted(folder.glob(f"test_{op}_*.py"))
    if not files:
        return f"there are no tests {folder.name}/test_{op}*.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", *map(str, files)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT)
    if result.returncode == 0:
        return None
    lines = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0] if lines else f"its tests ended with code {result.returncode}: {result.stdout.strip()[-200:]}"


@torch.no_grad()
def disagreement(case: Case, device: torch.device) -> str | None:
    """Compare the results on the very inputs that will be timed; say who differs from ours, or None."""
    if case.tolerance is None:
        return None
    arguments = case.arguments(device)
    (ours,) = tensors(case.ours(*arguments))
    for name, rival in case.rivals.items():
        (theirs,) = tensors(rival(*arguments))
        close = (ours - theirs).abs() <= case.tolerance * (1 + ours.abs())  # not, where one is not a number
        wrong = 1 - close.double().mean().item()
        if wrong > STRAYS:
            return f"{wrong:.2%} of the values differ from {name} by more than {case.tolerance:g}"
    return None
