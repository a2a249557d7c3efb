"""Seconds and memory to read DOTA's labels at the size of v1.0's training set, and to merge a million detections.

Run: python tests/bench/dota.py
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.dota import V1_0, read
from d2det_geo.data.formats.dota_corners import polygons
from d2det_geo.data.formats.dota_merge import merged
from d2det_geo.data.formats.dota_results import read_task1, write_task1
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.table_text import row_text

IMAGES, OBJECTS, DETECTIONS = 1_411, 188_282, 1_000_000


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = make_labels(Path(made))
        timed("nothing", lambda: ())
        timed("read labels", lambda: read(folder, Reading()))
        for turned in (False, True):
            found, whole = make_detections(turned=turned)
            merged(found.rows(np.arange(10)), whole, 0.3)  # compiles
            name = "turned boxes" if turned else "boxes"
            kept = timed(f"merge {name}", lambda found=found, whole=whole: merged(found, whole, 0.3))
            print(f"  {len(found):,} to {len(kept):,}")
        timed("write Task 1", lambda: write_task1(kept, Path(made) / "task1"))
        timed("read Task 1", lambda: read_task1(Path(made) / "task1", kept, Reading()))
        crowd, whole = make_detections(turned=True, images=1, side=12_000, count=100_000, classes=1)
        timed("merge 100,000 turned boxes of one image and class", lambda: merged(crowd, whole, 0.3))


def timed(name, work):
    start = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {time.perf_counter() - start:.2f} s, {len(result or ()):,} objects, peak so far {peak:.0f} MB")
    return result


def make_labels(folder: Path) -> Path:
    """Write label files of DOTA-v1.0's size."""
    random, each = np.random.default_rng(0), OBJECTS // IMAGES
    (folder / "labelTxt").mkdir()
    for image in range(IMAGES):
        names = np.array(V1_0, dtype=object)[random.integers(0, len(V1_0), each)]
        text = row_text([*random.integers(0, 4000, (8, each)), names, random.integers(0, 2, each)], " ")
        (folder / "labelTxt" / f"P{image:04d}.txt").write_text("imagesource:GoogleEarth\ngsd:0.146\n" + text)
    return folder


def make_detections(
    *, turned: bool, images: int = 1_411, side: int = 3_000, count: int = DETECTIONS, classes: int = 15
):
    """Make objects, most of them seen by several patches with a little noise."""
    random, seen = np.random.default_rng(1), 3
    place, image = random.uniform(0, side, (count // seen, 2)), random.integers(0, images, count // seen)
    angle, size = random.uniform(0, np.pi, count // seen), random.uniform(8, 40, (count // seen, 2))
    axes = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    quads = np.repeat(np.einsum("kc,nc,ncd->nkd", unit, size, axes) + place[:, None], seen, axis=0)
    quads += random.normal(0, 0.7, (len(quads), 1, 2))
    labels = np.repeat(random.integers(0, classes, count // seen), seen)
    image = np.repeat(image, seen)
    names = np.array([f"P{row:04d}__1__0___0.png" for row in range(images)], dtype=object)
    sizes = np.full((images, 2), side, dtype=np.int64)
    patches = Images(names, np.arange(1, images + 1), sizes)
    whole = Images(np.array([f"P{row:04d}.png" for row in range(images)], dtype=object), patches.ids, sizes)
    found = Annotations(
        patches,
        V1_0[:classes],
        image,
        np.hstack((quads.min(axis=1), quads.max(axis=1))),
        labels,
        np.zeros(len(quads), dtype=bool),
        scores=random.random(len(quads)),
        outlines=polygons(quads) if turned else None,
    )
    return found, whole


if __name__ == "__main__":
    main()
