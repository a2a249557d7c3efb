"""One forward of `configs/coco_r50.yaml` on the CPU, beside torchvision's Faster R-CNN v2 and Mask R-CNN R50-FPN.

    python tests/bench/forward_speed.py [--height 800 --width 1333 --repeats 5 --threads 2]

Prints Markdown. All three networks have random weights and see the same noise. Random classifiers are unsure of
everything, so each gets the score threshold that `CROWD` pairs of box and class pass: as on a busy photograph, 1000
proposals are classified, suppression has work to do, and the caps (125 candidates and 100 detections here, 100
detections there) are reached. torchvision's time includes its normalising, and Mask R-CNN's the pasting of masks.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from numba.core.dispatcher import Dispatcher
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, maskrcnn_resnet50_fpn

from d2det_geo.config import load_config
from d2det_geo.model.bundle import build_from_card
from d2det_geo.model.d2det import D2Det
from d2det_geo.pipeline.card import describe
from d2det_ops.threads import in_threads

CONFIG = Path(__file__).parents[2] / "configs" / "coco_r50.yaml"
OURS = "d2det coco_r50"
CROWD = 1000  # pairs of box and class above the score threshold
FORWARD, LOOP = "one forward", "compiled loop"
STAGES = {  # each a callable of the network
    "backbone and pyramid": "pyramid.forward",
    "proposals": "rpn.forward",
    "discriminative pooling": "classifier.pooling.forward",
    "classification layers": "classifier.layers.forward",
    "dense regression": "localiser.refine",
}
REST = "suppression, decoding, copies"

Run = Callable[[], list[Any]]


def unsure(scores: Tensor) -> float:
    """Choose the threshold that `CROWD` of the scores pass, or a tenth of fewer."""
    passing = min(CROWD, scores.numel() // 10)
    return float(scores.flatten().kthvalue(scores.numel() - passing).values)


@contextmanager
def logits_of(layer: nn.Module) -> Iterator[list[Any]]:
    """Collect what a layer returns."""
    seen: list[Any] = []
    hook = layer.register_forward_hook(lambda *call: seen.append(call[-1]))
    try:
        yield seen
    finally:
        hook.remove()


def build_ours(image: Tensor) -> tuple[D2Det, Run]:
    """Build our network, and what runs it on ``image [3, H, W]``."""
    network = build_from_card(describe(load_config(CONFIG))).to(memory_format=torch.channels_last).eval()
    height, width = image.shape[1:]
    batch = nn.functional.pad(image[None], (0, -width % 32, 0, -height % 32))

    def run() -> list[Any]:
        return network.detect(batch, [(height, width)])

    with logits_of(network.classifier) as seen:
        run()
    scores = seen[0].softmax(1)[:, 1:]
    network.inference = replace(network.inference, class_score=unsure(scores))
    return network, run


def build_theirs(build: Callable[..., Any], image: Tensor) -> Run:
    """Build one of torchvision's networks, and return what runs it."""
    sides = image.shape[1:]  # as the image has them: nothing is resized
    network = build(weights=None, weights_backbone=None, min_size=min(sides), max_size=max(sides)).eval()
    with logits_of(network.roi_heads.box_predictor) as seen:
        network([image])
    network.roi_heads.score_thresh = unsure(seen[0][0].softmax(1)[:, 1:])
    return lambda: network([image])


def race(runs: dict[str, Run], repeats: int) -> dict[str, float]:
    """Time the runs in turn, so that what else the machine does meets all of them; medians in seconds."""
    times = defaultdict(list)
    for _ in range(repeats):
        for name, run in runs.items():
            started = perf_counter()
            run()
            times[name].append(perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


@contextmanager
def replaced(places: Iterable[tuple[object, str]], wrap: Callable[[str, Any], Any]) -> Iterator[None]:
    """Put ``wrap(name, value)`` in place of attributes for a while."""
    kept = [(owner, name, name in vars(owner), getattr(owner, name)) for owner, name in places]
    for owner, name, _, value in kept:
        setattr(owner, name, wrap(name, value))
    try:
        yield
    finally:
        for owner, name, own, value in kept:
            setattr(owner, name, value) if own else delattr(owner, name)


def time_stages(network: D2Det, run: Run, repeats: int) -> dict[str, float]:
    """Median seconds of each stage of our network, and of the rest."""
    times = defaultdict(list)
    places = {stage: path.rpartition(".") for stage, path in STAGES.items()}
    owners = {stage: network.get_submodule(module) for stage, (module, _, _) in places.items()}
    stages = iter(STAGES)

    def watched(_: str, call: Callable[..., Any]) -> Callable[..., Any]:
        stage = next(stages)

        def timed(*arguments: Any) -> Any:
            started = perf_counter()
            result = call(*arguments)
            times[stage].append(perf_counter() - started)
            return result

        return timed

    with replaced([(owners[stage], places[stage][2]) for stage in STAGES], watched):
        whole = race({OURS: run}, repeats)[OURS]
    parts = {stage: median(times[stage]) for stage in STAGES}
    return parts | {REST: whole - sum(parts.values())}


def python_share(run: Run) -> float:
    """Share of one forward in which the main thread runs neither an operator of torch nor a compiled loop.

    That is the Python of d2det, torch and torchvision together: what is ours is less.
    """
    places = [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith("d2det_ops.") and path.rpartition(".")[2] in {"cpu", "gather"}
        for name, value in vars(module).items()
        if value is in_threads or isinstance(value, Dispatcher)
    ]

    def noted(_: str, loop: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with record_function(LOOP):
                return loop(*arguments)

        return call

    with replaced(places, noted), profile(activities=[ProfilerActivity.CPU]) as trace, record_function(FORWARD):
        run()
    events = trace.events() or []
    (forward,) = (event for event in events if event.name == FORWARD)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.thread == forward.thread and event.name != FORWARD and not event.name.startswith("d2det::")
    )
    busy, reached = 0.0, float(forward.time_range.start)
    for start, end in spans:
        busy += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return 1 - busy / (forward.time_range.end - forward.time_range.start)


def describe_run(name: str, run: Run) -> str:
    """Say how many detections a run ends with."""
    (found,) = run()
    return f"{name} {len(found['boxes'] if isinstance(found, dict) else found)}"


def report(height: int, width: int, repeats: int) -> Iterator[str]:
    """Measure, and say it line by line."""
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    network, ours = build_ours(image)
    runs = {
        OURS: ours,
        "fasterrcnn_resnet50_fpn_v2": build_theirs(fasterrcnn_resnet50_fpn_v2, image),
        "maskrcnn_resnet50_fpn": build_theirs(maskrcnn_resnet50_fpn, image),
    }
    detections = ", ".join(describe_run(name, run) for name, run in runs.items())
    with logits_of(network.classifier) as classified, logits_of(network.localiser.trunk) as refined:
        ours()
    yield f"{height} x {width} px, float32, {torch.get_num_threads()} threads of the CPU, torch {torch.__version__}."
    yield f"Ours classifies {len(classified[0])} proposals and refines {len(refined[0])}. Detections: {detections}."
    seconds = race(runs, repeats)
    yield "\n| network | s | ours takes |\n|---|---:|---:|"
    for name, value in seconds.items():
        yield f"| {name} | {value:.2f} | {'' if name == OURS else f'{seconds[OURS] / value:.2f} x'} |"
    stages = time_stages(network, ours, repeats)
    yield "\n| stage of ours | s | share |\n|---|---:|---:|"
    for stage, value in stages.items():
        yield f"| {stage} | {value:.3f} | {value / sum(stages.values()):.1%} |"
    share = median(python_share(ours) for _ in range(repeats))
    yield f"\nPython (ours, torch's and torchvision's; main thread in no operator and no compiled loop): {share:.1%}"


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=800, help="px")
    parser.add_argument("--width", type=int, default=1333, help="px")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        for line in report(options.height, options.width, options.repeats):
            print(line, flush=True)


if __name__ == "__main__":
    main()
