"""Where the second stage of coco_r50 spends its time: pooling, heads and suppression, with made-up weights.

    python cuda_ops/benchmarks/second_stage.py [--device cuda] [--batch 8]

The features are noise and the proposals are those of the operators' benchmarks. The classifier's last layer is scaled
until it finds about as many objects as there are proposals, which is a crowded image.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import cast

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import inputs
from benchmarks.report import machine, versions
from d2det_geo.config import load_config
from d2det_geo.detections import Detections
from d2det_geo.model.bundle import build_from_card
from d2det_geo.model.d2det import D2Det
from d2det_geo.pipeline.card import describe

CONFIG = Path(__file__).parents[2] / "configs" / "coco_r50.yaml"
SPREAD, BACKGROUND = 3.0, 8.0  # standard deviation of the logits, and how far background is ahead
LARGEST = 3
PARTS = {
    "classification: discriminative pooling": "classifier.pooling",
    "classification: layers": "classifier.layers",
    "localisation: pooling": "localiser.trunk.pooling",
    "localisation: convolutions": "localiser.trunk.layers",
    "localisation: votes": "localiser.votes",
}
REST = "suppression, decoding, copies"


class Fixed(nn.Module):
    """Stand in for the backbone: the same features, whatever the image."""

    def __init__(self, features: Sequence[Tensor]) -> None:
        super().__init__()
        self.features = {str(index): level for index, level in enumerate(features)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return P2 to P5 of the batch."""
        return self.features


class SecondStage:
    """A network that is handed features and proposals."""

    def __init__(self, device: torch.device, batch: int, side: int, proposals: int) -> None:
        torch.manual_seed(0)
        card = describe(load_config(CONFIG))
        self.network: D2Det = build_from_card(card).eval()
        features = inputs.pyramid(batch, card.architecture["channels"], side, torch.channels_last, torch.float32)
        rois = inputs.rois(batch * proposals, batch, side)
        self.boxes = [rois[rois[:, 0] == image, 1:].to(device) for image in range(batch)]
        self.network.pyramid = Fixed([level.to(device) for level in features])
        self.network.to(device)
        self.images = torch.zeros(batch, 3, side, side, device=device)
        self.sizes = [(side, side)] * batch
        self._spread_logits()

    def run(self) -> list[Detections]:
        """Classify, localise and suppress the batch."""
        return self.network.detect(self.images, self.sizes, self.boxes)

    @torch.no_grad()
    def _spread_logits(self) -> None:
        first = torch.cat([torch.zeros_like(self.boxes[0][:, :1]), self.boxes[0]], 1)
        levels = list(self.network.pyramid(self.images).values())
        spread = self.network.classifier(levels, first).std()
        last = cast(nn.Linear, list(self.network.get_submodule("classifier.layers").children())[-1])
        last.weight *= SPREAD / spread
        last.bias[0] += BACKGROUND


@contextmanager
def timed(network: nn.Module, device: torch.device) -> Iterator[dict[str, float]]:
    """Add up the seconds of each part while the block runs, one after the other."""
    seconds: dict[str, float] = defaultdict(float)
    hooks = []
    for name, path in PARTS.items():
        part = network.get_submodule(path)

        def start(*_: object, name: str = name) -> None:
            seconds[name] -= _now(device)

        def stop(*_: object, name: str = name) -> None:
            seconds[name] += _now(device)

        hooks += [part.register_forward_pre_hook(start), part.register_forward_hook(stop)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


def part_costs(stage: SecondStage, device: torch.device, rounds: int) -> tuple[dict[str, float], float]:
    """Time the parts of a batch, and the batch without looking into it; medians, s."""
    parts, whole = [], []
    for _ in range(rounds):
        started = _now(device)
        stage.run()
        whole.append(_now(device) - started)
        with timed(stage.network, device) as seconds:
            started = _now(device)
            stage.run()
            total = _now(device) - started
        parts.append({**seconds, REST: total - sum(seconds.values())})
    return {name: median(part[name] for part in parts) for name in parts[0]}, median(whole)


def profiled(stage: SecondStage, device: torch.device) -> tuple[dict[str, float], dict[str, float]]:
    """Profile one batch: own seconds by operator, and by GPU kernel."""
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as record:
        stage.run()
        _now(device)
    operators, kernels = {}, {}
    for event in record.key_averages():
        if event.device_type.name == "CPU":
            operators[event.key] = (event.self_device_time_total if gpu else event.self_cpu_time_total) / 1e6
        else:
            kernels[event.key] = event.self_device_time_total / 1e6
    return operators, kernels


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the parts and the largest costs."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    stage = SecondStage(device, options.batch, options.side, options.proposals)
    found = stage.run()
    stage.run()
    parts, whole = part_costs(stage, device, options.rounds)
    print(
        f"{machine(device)}, {options.threads} CPU threads, {versions()}\n{CONFIG.stem}: batch {options.batch} of "
        f"{options.side} px, {options.proposals} proposals each, {sum(len(part.boxes) for part in found)} detections\n"
        f"whole second stage {1e3 * whole:.1f} ms"
    )
    _table("part", parts, len(parts))
    operators, kernels = profiled(stage, device)
    _table("largest operators, own time", operators, LARGEST)
    if kernels:
        _table("largest kernels", kernels, LARGEST)


def _table(title: str, seconds: dict[str, float], count: int) -> None:
    total = sum(seconds.values())
    print(f"\n{title}")
    for name, cost in sorted(seconds.items(), key=lambda item: -item[1])[:count]:
        print(f"  {1e3 * cost:9.2f} ms  {cost / total:5.1%}  {name[:90]}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if gpu else "cpu")
    parser.add_argument("--batch", type=int, default=8 if gpu else 1)
    parser.add_argument("--side", type=int, default=800, help="of an image, px")
    parser.add_argument("--proposals", type=int, default=1000, help="of an image")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
