"""Twenty kills: `d2det predict` is killed at random moments and resumed until it is done, for every kind of output.

``python tests/bench/kills.py [--kills N] [--seed S]``. Exit code 1 if a file is not the same to the last byte as that
of a run that was left alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]  # the checkout's, wherever this starts

from tests.kills import digests, finish, kills_and_resumes, predict, write_inputs  # noqa: E402

OUTPUTS = ("out.geojson", "out.gpkg", "out.fgb", "out.parquet")


def main() -> int:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, wrong = np.random.default_rng(options.seed), 0
    for out in OUTPUTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_inputs(folder, 256)
            started = time.monotonic()
            finish(predict(folder, out))
            whole, alone_s = digests(folder / out), time.monotonic() - started
            (folder / out).unlink()
            kills = -(-options.kills // len(OUTPUTS))
            hits = kills_and_resumes(folder, out, kills, alone_s / 4, rng)
            same = digests(folder / out) == whole
            wrong += not same
            print(f"{out:12} {hits} of {kills} kills before it was done, {'the same' if same else 'ANOTHER'} SHA-256")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
