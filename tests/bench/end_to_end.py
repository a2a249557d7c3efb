"""The whole corridor with a network that costs nothing: read, cut, merge, outline, write, beside decoding alone.

``python tests/bench/end_to_end.py [--size PX] [--rounds N]`` writes a scene, decodes each of its blocks once with all
cores (the floor of ``reading.py``), and predicts it into a GPKG with canned detections: round objects with masks, each
seen by every chip it lies in, cut at the chip's edges. Each measurement is a process of its own; the table shows the
least of N. A limit that is missed ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]  # the checkout's, wherever this starts

from d2det_geo.detections import MASK_SIDE, Detections  # noqa: E402
from d2det_geo.model.bundle import Card  # noqa: E402
from d2det_geo.pipeline.predict import predict_to_file  # noqa: E402
from d2det_geo.raster.windows import scene_windows  # noqa: E402
from tests.bench.reading import CHIP, LAYOUTS, OVERLAP, best_of, measure, memory, write_scene  # noqa: E402

PITCH = 148  # px between objects: 130,000 detections on 40,000 x 40,000 px, four in ten of them seen before
MOST_TIME, MOST_MB = 3.0, 900  # of the floor; of the whole process
CARD = Card(
    name="canned",
    classes=("thing",),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    chip_size=CHIP,
    overlap=OVERLAP,
    score=0.1,
    architecture={},
    proposals={},
    sampling={},
    inference={"detections": 1000},
)


class CannedDetector(nn.Module):
    """Knows which window comes next, and what lies in it; looks at no pixel."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.card = CARD
        self.count = 0
        self._windows: Iterator[Window] = scene_windows(side, side, CHIP, OVERLAP)
        rng = np.random.default_rng(5)
        self._per_row = int((side - PITCH) // PITCH)
        row, column = np.divmod(np.arange(self._per_row**2), self._per_row)
        centre, half = np.column_stack([column + 1, row + 1]) * PITCH, rng.uniform(8, 60, (len(row), 2))
        self._boxes = np.hstack([centre - half, centre + half])
        self._scores = rng.uniform(0.3, 1, len(row)).astype(np.float32)
        self._ellipse = _ellipses(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 1.0, 1.0]]))

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        return [self._seen(next(self._windows)) for _ in range(len(images))]

    def _seen(self, window: Window) -> Detections:
        corner = np.array([window.col_off, window.row_off], np.float64)
        frame = np.array([*corner, corner[0] + window.width, corner[1] + window.height])
        near = [np.arange(max(low // PITCH - 1, 0), min(high // PITCH + 1, self._per_row)).astype(int)
                for low, high in ((frame[0], frame[2]), (frame[1], frame[3]))]  # fmt: skip
        rows = (near[1][:, None] * self._per_row + near[0]).ravel()
        whole = self._boxes[rows]
        boxes = np.hstack([np.maximum(whole[:, :2], frame[:2]), np.minimum(whole[:, 2:], frame[2:])])
        seen = (boxes[:, 2:] - boxes[:, :2] > 2).all(axis=1)
        rows, whole, boxes = rows[seen], whole[seen], boxes[seen]
        masks = np.repeat(self._ellipse, len(rows), axis=0)
        cut = np.flatnonzero((boxes != whole).any(axis=1))
        masks[cut] = _ellipses(whole[cut], boxes[cut])
        self.count += len(rows)
        scores = self._scores[rows]
        labels = np.zeros(len(rows), np.int64)
        return Detections(boxes - np.tile(corner, 2), scores, labels, masks, scores * np.float32(1.3))


def _ellipses(whole: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float32]:
    """Render the part of the ellipse in each whole box that the seen box shows, with soft edges, ``[D, 28, 28]``."""
    cells = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    offsets = []
    for axis in (0, 1):
        low, high = seen[:, axis, None], seen[:, axis + 2, None]
        start, end = whole[:, axis, None], whole[:, axis + 2, None]
        offsets.append(((2 * (low + cells * (high - low)) - start - end) / (end - start)).astype(np.float32) ** 2)
    return np.clip(0.5 + 4 * (1 - offsets[1][:, :, None] - offsets[0][:, None, :]), 0, 1)


def predict(scene: str, side: int) -> dict[str, float]:
    """Predict in this process; wall and CPU seconds, the peak of memory, and what came out."""
    torch.set_grad_enabled(False)
    network = CannedDetector(side)
    before = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        summary = predict_to_file(scene, Path(folder) / "out.gpkg", network, gsd="native", batch_size=1)
        wall, spent = time.perf_counter() - start, time.process_time() - cpu
    steps = {f"s_{step}": seconds for step, seconds in summary.seconds.items()}
    peak = memory("VmHWM")
    found = {"detections": network.count, "n": summary.objects}
    return {"wall": wall, "cpu": spent, "mb": peak, "added": peak - before} | found | steps


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--run", nargs=2, metavar=("CASE", "SCENE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        case, scene = options.run
        print(json.dumps(predict(scene, options.size) if case == "predict" else measure(case, scene)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        write_scene(scene, options.size, LAYOUTS["deflate, tiled"])
        own = [sys.executable, __file__, "--size", str(options.size)]
        subprocess.run([*own[:3], "1024", "--run", "floor", str(scene)], check=True, stdout=subprocess.DEVNULL)
        floor = best_of(options.rounds, [*own, "--run", "floor", str(scene)])
        found = best_of(options.rounds, [*own, "--run", "predict", str(scene)])
    print(f"{options.size:,} x {options.size:,} px: {found['detections']:,} detections, {found['n']:,} objects\n")
    print(f"{'':22}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
    for name, row in (("decoding alone", floor), ("predict to GPKG", found)):
        print(f"{name:22}{row['wall']:9.1f}{row['cpu']:9.1f}{row['mb']:9.0f}")
    print(", ".join(f"{name[2:]} {value:.1f} s" for name, value in found.items() if name.startswith("s_")))
    ratio = found["wall"] / floor["wall"]
    print(f"\n{ratio:.2f} x the floor (limit {MOST_TIME}); {found['mb']:.0f} MB (limit {MOST_MB}),", end=" ")
    print(f"{found['added']:.0f} of them beyond Python, torch and the other imports")
    return int(ratio > MOST_TIME or found["mb"] > MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
