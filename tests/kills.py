"""A `d2det predict` that is killed at random moments and resumed, for tests and the bench."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from d2det_geo.config import load_config
from d2det_geo.model.bundle import build_from_card, save_bundle
from d2det_geo.pipeline.card import describe
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.manifest import manifest_path
from d2det_geo.town import make_town

ROOT = Path(__file__).parents[1]
CONFIG = """\
classes: [building]
bundle: {name: tiny}
data: {chip_size: 64, overlap: 40, train: [{kind: town, towns: 1, size: 256}]}
model: {backbone: mobilenet_v2, channels: 32, dlr_convs: 1, dlr_channels: 32, classifier_width: 32, offset_width: 32,
        mask_iou_width: 32}
inference: {rpn_pre_nms: 100, rpn_post_nms: 20, detections: 20}
run: {steps: 400, batch_size: 1}
"""


def write_inputs(folder: Path, size: int) -> None:
    """Write ``scene.tif``, ``size`` px of a town, and ``tiny.safetensors``, an untrained network."""
    image = make_town(seed=3, size=256, gsd_m=0.15).image[:, :size, :size]
    profile = {"count": 3, "height": size, "width": size, "dtype": "uint8", "tiled": True, "blockxsize": 64}
    place = {"crs": "EPSG:32645", "transform": Affine(0.15, 0, 334_000, 0, -0.15, 3_065_000)}
    with rasterio.open(folder / "scene.tif", "w", driver="GTiff", **profile, blockysize=64, **place) as dataset:
        dataset.write(np.ascontiguousarray(image))
    (folder / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    card = describe(load_config(folder / "tiny.yaml")).model_copy(update={"score": 0.0})
    save_bundle(folder / "tiny.safetensors", build_from_card(card), card, half=True)


def predict(folder: Path, out: str, *options: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cuda_ops"))
    command = ["predict", "scene.tif", "--out", out, "--model", "tiny.safetensors", "--device", "cpu", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "d2det_cli", *command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a process that must end well."""
    _, stderr = process.communicate(timeout=300)
    if process.returncode != 0:
        raise AssertionError(f"exit code {process.returncode}: {stderr}")


def killed(process: subprocess.Popen[str], ledger: Path, delay_s: float) -> bool:
    """Kill a process some time after its ledger appeared; False if it was done before that."""
    while not ledger.exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode != 0


def digests(out: Path) -> tuple[str, str]:
    """Give SHA-256 of an output and of its manifest."""
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (out, manifest_path(out)))
    return first, second


def kills_and_resumes(folder: Path, out: str, kills: int, longest_s: float, rng: np.random.Generator) -> int:
    """Kill one run that many times at random moments, resuming it each time, then let it end.

    Returns:
        How many kills came before the run was done: after that, another run of the same kind begins.
    """
    path, hits = folder / out, 0
    options: tuple[str, ...] = ()
    for _ in range(kills):
        hit = killed(predict(folder, out, *options), ledger_path(path), rng.uniform(0, longest_s))
        hits += hit
        options = ("--resume",) if hit else ("--overwrite",)
    finish(predict(folder, out, *options))
    return hits
