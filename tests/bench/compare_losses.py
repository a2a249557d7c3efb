"""Train the same network with each reading of the regression loss, and print what it is worth.

    python tests/bench/compare_losses.py --steps 1000 --seeds 0,1 --out runs/losses

The data are those of configs/vehicles.yaml, or of the configuration given. Every run has the schedule of ``--steps``;
one that was finished before is read, not repeated, so an interrupted comparison goes on with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from d2det_cli.tables import number, table
from d2det_geo.config import Config, load_config
from d2det_geo.model.bundle import SUFFIX, read_card
from d2det_geo.model.losses import Reading
from d2det_geo.pipeline.checkpoint import FILE
from d2det_geo.pipeline.train import train

ROOT = Path(__file__).parents[2]
METRICS = ("ap", "ap50", "ap75", "f1")


def run(config: Config, out: Path, device: str) -> list[float]:
    """Train one network, or go on with it, and return its scores and minutes."""
    bundle = out / f"{config.bundle.name}{SUFFIX}"
    if not bundle.exists():
        train(config, out, resume=(out / FILE).exists(), device=device)
    card = read_card(bundle)
    return [*(card.scores.get(name, float("nan")) for name in METRICS), float(card.training["minutes"])]


def changed(config: Config, reading: str, steps: int, seed: int) -> Config:
    """Return the configuration of one run."""
    values = config.model_dump()
    values["sampling"]["regression_loss"] = reading
    values["run"] |= {"steps": steps, "seed": seed}
    return Config.model_validate(values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all and print a table: one row a run, and the mean of each loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "vehicles.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/losses"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    config = load_config(options.config)
    rows = [["loss", "seed", *METRICS, "minutes"]]
    cases = [(seed, reading) for seed in seeds for reading in get_args(Reading)]
    scores = {}
    for seed, reading in cases:
        folder = options.out / f"{reading}-{options.steps}-{seed}"
        scores[reading, seed] = run(changed(config, reading, options.steps, seed), folder, options.device)
    for reading in get_args(Reading):
        runs = [scores[reading, seed] for seed in seeds]
        rows += [[reading, str(seed), *map(number, runs[i])] for i, seed in enumerate(seeds)]
        rows.append([reading, "mean", *(number(sum(column) / len(runs)) for column in zip(*runs, strict=True))])
    sys.stdout.write(table(rows, right=1) + "\n")


if __name__ == "__main__":
    main()
