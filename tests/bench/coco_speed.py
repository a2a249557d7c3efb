"""The COCO protocol against pycocotools on 15 classes x 500 images x 300 objects x 600 results: time, memory, AP.

    python tests/bench/coco_speed.py [bbox] [segm]

Each runs in a process of its own, from the JSON files to the average precision.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_tools

ROOT = Path(__file__).parents[2]
SIDE, IMAGES, OBJECTS, RESULTS, CLASSES = 800, 500, 300, 600, 15
CAPS = (1, 10, 100)


def sizes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw widths and heights, px: most small, few large."""
    return np.exp(rng.normal(3, 0.8, (count, 2))).clip(4, 300)


def write_set(folder: Path) -> None:
    """Write a truth of polygons and results with boxes and masks, most of them near an object."""
    rng = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, IMAGES + 1):
        size = sizes(rng, OBJECTS)
        corner = rng.uniform(0, 1, (OBJECTS, 2)) * (SIDE - size)
        labels = rng.integers(1, CLASSES + 1, OBJECTS)
        for label, (x, y, width, height) in zip(labels.tolist(), np.hstack([corner, size]).tolist(), strict=True):
            ring = [round(value, 1) for value in (x, y, x + width, y, x + width, y + height, x, y + height)]
            truth.append(
                {"id": len(truth) + 1, "image_id": image, "category_id": label, "bbox": [x, y, width, height],
                 "area": width * height, "iscrowd": 0, "segmentation": [ring]}
            )  # fmt: skip
        near = np.hstack([
            corner + rng.normal(0, 0.08, (OBJECTS, 2)) * size, size * np.exp(rng.normal(0, 0.1, (OBJECTS, 2)))
        ])  # fmt: skip
        size = sizes(rng, RESULTS - OBJECTS)
        boxes = np.vstack([near, np.hstack([rng.uniform(0, 1, size.shape) * (SIDE - size), size])])
        guessed = rng.integers(1, CLASSES + 1, RESULTS)
        guessed[:OBJECTS] = np.where(rng.random(OBJECTS) < 0.9, labels, guessed[:OBJECTS])
        masks = mask_tools.frPyObjects(boxes, SIDE, SIDE)
        for label, box, mask in zip(guessed.tolist(), boxes.tolist(), masks, strict=True):
            mask["counts"] = mask["counts"].decode()
            score = round(float(rng.random()), 4)
            results.append({"image_id": image, "category_id": label, "bbox": box, "segmentation": mask, "score": score})
    images = [
        {"id": image, "width": SIDE, "height": SIDE, "file_name": f"{image}.png"} for image in range(1, IMAGES + 1)
    ]
    categories = [{"id": label, "name": f"c{label}"} for label in range(1, CLASSES + 1)]
    document = {"images": images, "annotations": truth, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(document), encoding="utf-8")
    for iou, field in (("bbox", "segmentation"), ("segm", "bbox")):  # pycocotools' areas go wrong with both
        rows = [{key: value for key, value in row.items() if key != field} for row in results]
        (folder / f"{iou}.json").write_text(json.dumps(rows), encoding="utf-8")


def ours(folder: Path, iou: str) -> float:
    """Score with d2det."""
    sys.path[:0] = [str(ROOT / part) for part in (".", "cli", "cuda_ops")]
    from d2det_geo.data.formats.coco import read, read_results  # noqa: PLC0415
    from d2det_geo.data.formats.reading import Reading  # noqa: PLC0415
    from d2det_geo.metrics.protocols import PROTOCOLS  # noqa: PLC0415

    truth = read(folder / "truth.json", Reading())
    predictions = read_results(folder / f"{iou}.json", truth, Reading())
    return PROTOCOLS["coco"].score(truth, predictions, iou=iou).metrics["ap"]


def theirs(folder: Path, iou: str) -> float:
    """Score with pycocotools."""
    from pycocotools.coco import COCO  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / f"{iou}.json")), iou)
        evaluation.params.maxDets = list(CAPS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(precision[precision > -1].mean())


def measured(name: str, folder: Path, iou: str) -> dict[str, float]:
    """Run one of the two in a process of its own."""
    run = subprocess.run([sys.executable, __file__, name, str(folder), iou], check=True, capture_output=True, text=True)
    return dict(json.loads(run.stdout))


def child(run: Callable[[Path, str], float], folder: Path, iou: str) -> None:
    """Print what a run took, imports included, and its AP."""
    start = time.perf_counter()
    ap = run(folder, iou)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "ap": ap, "wall_s": time.perf_counter() - start, "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }))  # fmt: skip


def main(ious: list[str]) -> None:
    """Compare for each kind of IoU."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder)
        for iou in ious or ["bbox", "segm"]:
            measured("ours", folder, iou)  # compiles once
            here, there = (measured(which, folder, iou) for which in ("ours", "theirs"))
            for which, numbers in (("d2det", here), ("pycocotools", there)):
                print(f"{iou} {which:12}", *(f"{key} {value:.4g}" for key, value in numbers.items()))
            print(
                f"{iou}: AP differs by {abs(here['ap'] - there['ap']):.1e}, "
                f"{there['wall_s'] / here['wall_s']:.1f} x faster (CPU {there['cpu_s'] / here['cpu_s']:.1f} x), "
                f"{here['peak_mb'] / there['peak_mb']:.2f} x the memory"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in {"ours", "theirs"}:
        child({"ours": ours, "theirs": theirs}[sys.argv[1]], Path(sys.argv[2]), sys.argv[3])
    else:
        main(sys.argv[1:])
