"""Merge boxes as SAHI does; run by benches with a Python that has SAHI, which is no part of this project.

Arguments: ``.npz`` with boxes [D, 4], scores, labels; a class of ``sahi.postprocess.combine``; its metric; and
the ``.npz`` to write: boxes, and CPU seconds of making SAHI's objects, of merging them (``seconds``), and of what
of the latter works on arrays (``core``).
"""

import sys
import time

import numpy as np
from sahi.postprocess import combine
from sahi.prediction import ObjectPrediction


def main(source: str, name: str, metric: str, out: str) -> None:
    data = np.load(source)
    merge = getattr(combine, f"{name}Postprocess")(match_threshold=0.5, match_metric=metric, class_agnostic=False)
    merge(made(data, 50))  # compiles
    started = time.process_time()
    objects = made(data)
    build = time.process_time() - started
    started = time.process_time()
    found = merge(objects)
    seconds = time.process_time() - started
    table = np.column_stack([data["boxes"], data["scores"], data["labels"]])
    started = time.process_time()
    merge._batched_func(table, metric, 0.5) if hasattr(merge, "_batched_func") else combine.batched_nms(table, metric)
    core = time.process_time() - started
    np.savez(out, boxes=[item.bbox.to_xyxy() for item in found], build=build, seconds=seconds, core=core)


def made(data: dict, count: int | None = None) -> list[ObjectPrediction]:
    rows = zip(*(data[name][:count].tolist() for name in ("boxes", "scores", "labels")), strict=True)
    return [ObjectPrediction(bbox=box, score=score, category_id=label) for box, score, label in rows]


main(*sys.argv[1:])
