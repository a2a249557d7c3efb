"""Merge boxes as SAHI does; run by ``seams.py --sahi`` with a Python that has SAHI, which is no part of this project.

Arguments: ``.npz`` with boxes [D, 4], scores, labels; a class of ``sahi.postprocess.combine``; its metric; and
the ``.npz`` to write.
"""

import sys
import time

import numpy as np
from sahi.postprocess import combine
from sahi.prediction import ObjectPrediction


def main(source: str, name: str, metric: str, out: str) -> None:
    data = np.load(source)
    rows = zip(data["boxes"].tolist(), data["scores"].tolist(), data["labels"].tolist(), strict=True)
    started = time.process_time()
    objects = [ObjectPrediction(bbox=box, score=score, category_id=label) for box, score, label in rows]
    built = time.process_time()
    merge = getattr(combine, f"{name}Postprocess")(match_threshold=0.5, match_metric=metric, class_agnostic=False)
    found = merge(objects)
    seconds = time.process_time() - built
    np.savez(out, boxes=[item.bbox.to_xyxy() for item in found], build=built - started, seconds=seconds)


main(*sys.argv[1:])
