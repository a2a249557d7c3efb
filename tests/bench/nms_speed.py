"""Plain class-wise NMS, arrays in and arrays out, beside SAHI's GreedyNMM and NMS on the same boxes in the same run.

``python tests/bench/nms_speed.py --sahi PYTHON``, where PYTHON is one that has SAHI installed. CPU seconds; a limit
that is missed ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.detections import Detections  # noqa: E402
from d2det_ops.nms import nms  # noqa: E402
from tests.bench.seam_speed import million  # noqa: E402

SIZES = (100_000, 1_000_000)
SHARE = 0.10  # of the CPU time of SAHI's GreedyNMM
ROUNDS = 3


def ours(found: Detections) -> tuple[float, int]:
    """Take the least CPU seconds of some rounds; and how many boxes are kept."""
    seconds = []
    for _ in range(ROUNDS):
        started = process_time()
        arrays = (torch.from_numpy(array) for array in (found.boxes, found.scores, found.labels))
        kept = nms(*arrays, 0.5).numpy()
        seconds.append(process_time() - started)
    return min(seconds), len(kept)


def sahi(python: str, found: Detections, name: str, metric: str) -> dict[str, NDArray[np.float64]]:
    """Give what ``sahi_merge.py`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, boxes=found.boxes, scores=found.scores, labels=found.labels)
        command = [python, ROOT / "tests/bench/sahi_merge.py", source, name, metric, out]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run(command, check=True, env=environment)
        return dict(np.load(out))


def main() -> None:
    """Print all, and exit with 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sahi", metavar="PYTHON", required=True, help="a Python that has SAHI")
    python, good = parser.parse_args().sahi, True
    torch.set_num_threads(1)
    for size in SIZES:
        parts, _ = million(size)
        found = Detections.concatenate([part for part, _ in parts])
        ours(found.select(np.arange(50)))  # compiles
        seconds, kept = ours(found)
        print(f"{len(found):>7} boxes: d2det_ops.nms {seconds:.3f} CPU s, {kept} kept")
        for name, metric in (("GreedyNMM", "IOS"), ("NMS", "IOU")):
            row = sahi(python, found, name, metric)
            print(
                f"        SAHI {name}/{metric}: {row['seconds']:.2f} s (its arrays {row['core']:.2f}), and"
                f" {row['build']:.2f} to make its objects; {len(row['boxes'])} kept. We take"
                f" {seconds / row['seconds']:.3f}, {seconds / row['core']:.3f} of its arrays,"
                f" {seconds / (row['seconds'] + row['build']):.3f} of all",
                flush=True,
            )
            good &= name != "GreedyNMM" or bool(seconds <= SHARE * row["seconds"])
    sys.exit(0 if good else "MISSED: a tenth of SAHI's GreedyNMM")


if __name__ == "__main__":
    main()
