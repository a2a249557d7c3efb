"""Read and write a large COCO set: 150,000 annotations with outlines, 300,000 results, 40 MB each.

Prints CPU seconds and peak memory of a process that does only that, and what json.loads alone takes:
    python tests/bench/coco_reading.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "cuda_ops")]

from d2det_geo.data.formats import coco, coco_write  # noqa: E402
from d2det_geo.data.formats.reading import Reading  # noqa: E402

IMAGES, OBJECTS, FOUND, CLASSES, SIDE = 500, 300, 600, 15, 800


def made(folder: Path) -> None:
    """Write a truth and results with boxes of all digits and outlines of one."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for image in range(1, IMAGES + 1):
        sizes = np.exp(rng.normal(3, 0.8, (FOUND, 2))).clip(4, 300)
        boxes = np.hstack([rng.uniform(0, 1, (FOUND, 2)) * (SIDE - sizes), sizes]).tolist()
        labels, scores = rng.integers(1, CLASSES + 1, FOUND).tolist(), rng.random(FOUND).tolist()
        for box, label, score in zip(boxes, labels, scores, strict=True):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
        for x, y, w, h in boxes[:OBJECTS]:
            ring = [round(value, 1) for value in (x, y, x + w, y, x + w, y + h, x, y + h)]
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": [x, y, w, h]}
            annotations.append({**row, "area": w * h, "iscrowd": 0, "segmentation": [ring]})
    images = [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in range(1, IMAGES + 1)]
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))


def peak() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(truth: Path, results: Path) -> None:
    """Read and write, and say what it took."""
    print(f"before: {peak():.0f} MB")
    started = time.process_time()
    known = coco.read(truth, Reading())
    print(f"{len(known)} annotations read: {time.process_time() - started:.2f} s, peak {peak():.0f} MB")
    started = time.process_time()
    found = coco.read_results(results, known, Reading())
    print(f"{len(found)} results read: {time.process_time() - started:.2f} s, peak {peak():.0f} MB")
    for write, rows in ((coco_write.write, known), (coco_write.write_results, found)):
        started = time.process_time()
        write(rows, truth.parent / "written.json")
        print(f"{len(rows)} rows written: {time.process_time() - started:.2f} s, peak {peak():.0f} MB")
    data = results.read_bytes()
    started = time.process_time()
    json.loads(data)
    print(f"json.loads of the results alone: {time.process_time() - started:.2f} s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            made(Path(folder))
        case ["read", folder]:
            main(Path(folder) / "truth.json", Path(folder) / "results.json")
        case _:  # each in a process of its own: what one takes is counted as the next one's, too
            with tempfile.TemporaryDirectory() as name:
                for step in ("make", "read"):
                    subprocess.run([sys.executable, __file__, step, name], check=True)
