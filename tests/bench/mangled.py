"""Mangled scenes through ``d2det predict``: an honest result or one clear line, and nothing left behind.

``python tests/bench/mangled.py [--count N] [--keep FOLDER]``. Each runs in a process of its own, forked from one that
has the imports, under a limit of time and of memory. One that misbehaves ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from tests.mangled_scenes import mangled_scenes  # noqa: E402

SECONDS = 10
MODEL = """\
classes: [building]
bundle: {name: tiny}
data: {chip_size: 512, overlap: 64, train: [{kind: town, towns: 1, size: 256}]}
model: {backbone: mobilenet_v2, channels: 32, dlr_convs: 1, dlr_channels: 32, classifier_width: 32, offset_width: 32,
        mask_iou_width: 32}
inference: {rpn_pre_nms: 100, rpn_post_nms: 20}
run: {steps: 400, batch_size: 1}
"""
MEMORY = 3 * 2**30  # bytes of address space beyond what the imports take
UNREADABLE = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended."""

    code: int
    """exit code; negative: killed by that signal"""
    seconds: float
    words: str
    """standard error"""
    faults: tuple[str, ...]
    """what a run must not do and this one did"""


def run(scene: Path, out: Path, *options: str, limit: float = SECONDS) -> Outcome:
    """Predict one scene into ``out``, which is alone in its folder, and look at what is there afterwards."""
    before = listing(scene.parent)
    with tempfile.TemporaryFile("w+") as words:
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            _predict(scene, out, words.fileno(), options)
        code, seconds = _awaited(child, started, limit)
        words.seek(0)
        said = words.read()
    return Outcome(code, seconds, said, tuple(_faults(code, said, out, listing(scene.parent) - before)))


def listing(folder: Path) -> set[str]:
    """Name every file under a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _predict(scene: Path, out: Path, words: int, options: tuple[str, ...]) -> None:
    """Be the command line; never return."""
    code = 70
    try:
        os.dup2(words, 1)
        os.dup2(words, 2)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from d2det_cli.main import app  # noqa: PLC0415

        app(["predict", str(scene), "-o", str(out), "--device", "cpu", "--progress", "none", *options])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _awaited(child: int, started: float, limit: float) -> tuple[int, float]:
    while time.perf_counter() < started + limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.perf_counter() - started
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL, time.perf_counter() - started


def _faults(code: int, words: str, out: Path, beside: set[str]) -> list[str]:
    left = listing(out.parent)
    expected = {out.name, f"{out.name}.manifest.json"} if code == 0 else set()
    lines = [line for line in words.splitlines() if line]
    return [
        fault
        for fault, there in {
            f"exit code {code}": code not in {0, UNREADABLE},
            "a traceback": "Traceback" in words,
            "more than one line of error": code == UNREADABLE and len(lines) != 1,
            "no line of error": code == UNREADABLE and not words.startswith("d2det: error: "),
            f"files {sorted(left)}": left != expected,
            f"files beside the scene {sorted(beside)}": bool(beside),
            "no complete GeoJSON": code == 0 and left == expected and not _complete(out),
        }.items()
        if there
    ]


def _complete(out: Path) -> bool:
    try:
        return isinstance(json.loads(out.read_text())["features"], list)
    except (ValueError, KeyError):
        return False


def cheap_model(folder: Path) -> Path:
    """Save a tiny untrained network, and import on the way what each run needs."""
    from d2det_geo.config import load_config  # noqa: PLC0415
    from d2det_geo.model.bundle import build_from_card, save_bundle  # noqa: PLC0415
    from d2det_geo.pipeline import predict  # noqa: F401, PLC0415
    from d2det_geo.pipeline.card import describe  # noqa: PLC0415

    config = folder / "tiny.yaml"
    config.write_text(MODEL)
    card = describe(load_config(config)).model_copy(update={"score": 0.0})
    save_bundle(folder / "tiny.safetensors", build_from_card(card), card, half=True)
    return folder / "tiny.safetensors"


def main() -> None:
    """Run all and print those that misbehave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the scenes, which stay")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        how = ("--model", str(cheap_model(Path(temporary))), "--gsd", "native")
        scenes = Path(temporary, "scenes") if options.keep is None else options.keep
        for scene in mangled_scenes(scenes, options.count, options.seed):
            results = Path(temporary, "out", scene.parent.name)
            results.mkdir(parents=True)
            if not outcomes:  # the first prediction compiles, and shows that a good scene is read
                place = Path(temporary, "out", "good")
                place.mkdir()
                first = run(scenes / "good" / "striped.tif", place / "objects.geojson", *how, limit=300)
                if first.code != 0 or first.faults:
                    sys.exit(f"a good scene fails: {first}")
            outcome = run(scene, results / "objects.geojson", *how)
            outcomes.append(outcome)
            if outcome.faults:
                last = (outcome.words.strip().splitlines() or [""])[-1]
                name = f"{scene.parent.name}/{scene.name}"
                print(f"FAULT {name}: {'; '.join(outcome.faults)}; {outcome.seconds:.1f} s: {last:.300}", flush=True)
    bad, read = sum(bool(outcome.faults) for outcome in outcomes), sum(outcome.code == 0 for outcome in outcomes)
    slowest = max(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes)} mangled scenes: {read} read all the same, {bad} misbehave, slowest {slowest:.1f} s")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
