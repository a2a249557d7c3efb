"""How long the first call of each operator takes on a CPU, in a fresh process: with nothing compiled, and after that.

    python cuda_ops/benchmarks/first_call.py

A call is what a user waits for: the import of d2det_ops on top of torch, the forward call and, where there is one, the
backward call. Ends with exit code 1 if any takes longer than 3 s once its code has been compiled before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

LIMIT_S = 3.0


def first_call(op: str) -> float:
    """Time the import and the first calls in this process, on tiny inputs."""
    started = perf_counter()
    import d2det_ops  # noqa: F401, PLC0415 - it is what is timed

    imported = perf_counter() - started
    from benchmarks.case import Setting  # noqa: PLC0415
    from benchmarks.registry import OPERATORS  # noqa: PLC0415

    device = torch.device("cpu")
    case = list(OPERATORS[op](Setting(device, quick=True)))[-1]  # with the backward call where there is one
    arguments = case.arguments(device)
    started = perf_counter()
    case.call(case.ours, arguments)()
    return imported + perf_counter() - started


def in_fresh_process(op: str, cache: Path) -> float:
    """Time the first call in a process that finds compiled code in ``cache`` only."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, __file__, "--here", op]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", type=lambda text: text.split(","), help="such as nms,roi_align; default: all")
    parser.add_argument("--here", metavar="OP", help="time OP in this very process, and print only the seconds")
    options = parser.parse_args(arguments)
    if options.here:
        print(first_call(options.here))
        return 0
    from benchmarks.registry import OPERATORS  # noqa: PLC0415 - a process that times an import must not have it

    slow = []
    print(f"{'operator':20}  nothing compiled  compiled before")
    for op in options.ops or OPERATORS:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (in_fresh_process(op, Path(cache)) for _ in range(2))
        print(f"{op:20}  {cold:14.2f} s  {warm:13.2f} s", flush=True)
        slow += [op] if warm > LIMIT_S else []
    if slow:
        print(f"slower than {LIMIT_S:g} s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
