"""Time the operators beside torchvision's and the plain references.

    python cuda_ops/benchmarks/run.py [--ops roi_align,nms] [--device cpu] [--write]

An operator whose tests are red, or whose results differ from its rivals', is not timed: it is listed as REFUSED and the
command ends with exit code 1.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import report
from benchmarks.case import Case, Setting
from benchmarks.gate import TESTS, disagreement, red_tests
from benchmarks.measure import compare, copy_ceiling, peak_bytes
from benchmarks.registry import OPERATORS

QUICK_COPY = 1 << 22  # bytes


class RefusedError(Exception):
    """An operator may not be timed."""


def measure(case: Case, device: torch.device, rounds: int, ceiling: float) -> list[report.Row]:
    """Time every contestant of a case, ours first."""
    reason = disagreement(case, device)
    if reason:
        raise RefusedError(f"{case.shape}: {reason}")
    arguments = case.arguments(device)
    calls = {name: case.call(function, arguments) for name, function in case.contestants.items()}
    seconds = compare(calls, device, rounds)
    with torch.no_grad():
        result = case.ours(*arguments)
    moved = case.moved(arguments, result, case.backward)
    del result
    ours = median(seconds["ours"])
    return [
        report.Row(case.shape, case.backward, name, seconds[name], moved, ceiling, peak_bytes(call, device), ours)
        for name, call in calls.items()
    ]


def measure_operator(op: str, setting: Setting, rounds: int, ceiling: float) -> list[report.Row]:
    """Time an operator on all its shapes once its tests have passed."""
    reason = red_tests(op, TESTS)
    if reason:
        raise RefusedError(reason)
    return [row for case in OPERATORS[op](setting) for row in measure(case, setting.device, rounds, ceiling)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the operators asked for, print the tables, keep them if asked to; 1 if one was refused."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    setting = Setting(device, options.quick, options.many)
    ceiling = copy_ceiling(device, QUICK_COPY if options.quick else None)
    name = report.machine(device)
    command = shlex.join(["python", "cuda_ops/benchmarks/run.py", *(sys.argv[1:] if arguments is None else arguments)])
    facts = (
        f"{date.today()}, {options.threads} CPU threads, a copy reaches {ceiling / 1e9:.1f} GB/s, "
        f"{report.versions()}, `{command}`"
    )
    _say(f"{name}: {facts}")
    blocks, refused = {}, []
    for op in options.ops:
        try:
            rows = measure_operator(op, setting, options.rounds, ceiling)
        except RefusedError as error:
            refused.append(op)
            blocks[op] = f"REFUSED: {error}"
            _say(f"\n{op}: REFUSED: {error}")
            continue
        blocks[op] = f"{facts}\n\n{report.markdown(rows)}"
        _say(f"\n{op}\n{report.plain(rows)}")
    if options.write:
        report.write(name, blocks)
    return 1 if refused else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ops", type=lambda text: text.split(","), default=list(OPERATORS), help="such as nms,roi_align"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--many", action="store_true", help="also 4000 RoIs of 4 images on a CPU")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: does everything run?")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {report.RESULTS.name}")
    options = parser.parse_args(arguments)
    unknown = set(options.ops) - set(OPERATORS)
    if unknown:
        parser.error(f"no operator {', '.join(sorted(unknown))}; there are {', '.join(OPERATORS)}")
    if options.write and options.quick:
        parser.error("--quick times nothing that is worth keeping: leave --write out")
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    return options


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
