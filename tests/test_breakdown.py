"""What is made from verdicts and pairs: breakdown, confusion, errors, calibration and parts."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2det_geo.annotations import Annotations, Runs
from d2det_geo.metrics.breakdown import STEPS, break_down
from d2det_geo.metrics.calibration import calibrate
from d2det_geo.metrics.confusion import confuse
from d2det_geo.metrics.errors import MISSED, WRONG, at_borders, by_place, errors_of
from d2det_geo.metrics.overlaps import LEAST, find_overlaps
from d2det_geo.metrics.subsets import areas_of, by_gsd, by_size, by_tag
from tests.judged import CLASSES, box_iou, compared, images, judged, objects, random_set


def table(overlaps: Any) -> dict[tuple[int, int], float]:
    rows = zip(overlaps.truths.tolist(), overlaps.predictions.tolist(), overlaps.ious.tolist(), strict=True)
    return {(t, p): iou for t, p, iou in rows}


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_pairs_are_those_of_all_against_all(seed: int) -> None:
    truth, predictions = random_set(seed)
    found = table(find_overlaps(truth, predictions, "boxes"))
    wanted = {
        (t, p): iou
        for t in range(len(truth))
        for p in range(len(predictions))
        if truth.image[t] == predictions.image[p]
        and (iou := box_iou(truth.boxes[t], predictions.boxes[p])) >= LEAST
    }
    assert found == pytest.approx(wanted, rel=1e-12)


def test_pairs_never_cross_images_even_where_boxes_leave_them() -> None:
    of = images(3)
    truth = objects(of, [(0, 0, 150, 0, 1e7, 100, 0), (1, 0, 0, 0, 10, 10, 0)])
    predictions = objects(of, [(1, 0, 0, 0, 10, 10, 0.5), (2, 0, 0, 0, 10, 10, 0.5)], scored=True)
    assert table(find_overlaps(truth, predictions, "boxes")) == {(1, 0): 1.0}


def test_an_absorbing_truth_is_measured_by_the_prediction_it_covers() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 100, 100, 1)])
    predictions = objects(of, [(0, 0, 95, 0, 105, 10, 0.5)], scored=True)
    assert table(find_overlaps(truth, predictions, "boxes")) == {}
    assert table(find_overlaps(truth, predictions, "boxes", np.array([True]))) == {(0, 0): 0.5}


def drawn(of: Any, outlines: list[object], *, scored: bool) -> Annotations:
    boxes = [shapely.bounds(o) if isinstance(o, shapely.Geometry) else (0, 0, 200, 100) for o in outlines]
    rows = [(0, 0, *box, 0.5 if scored else 0) for box in boxes]
    return objects(of, rows, scored=scored, outlines=np.array(outlines, dtype=object))


def test_masks_are_compared_as_pycocotools_compares_them() -> None:
    of, rng = images(), np.random.default_rng(3)
    shapes = [shapely.MultiPoint(rng.uniform((-20, -20), (220, 120), (5, 2))).convex_hull for _ in range(8)]
    bits = np.asfortranarray(rng.random((50, 60)) < 0.7, np.uint8)
    runs = [Runs(20, 10, 60, 50, bytes(coco_mask.encode(bits)["counts"]))]
    truth, predictions = drawn(of, shapes[:4], scored=False), drawn(of, [*shapes[4:], *runs], scored=True)

    def whole(outline: object) -> Any:
        if isinstance(outline, Runs):
            canvas = np.zeros((100, 200), np.uint8)
            canvas[10:60, 20:80] = bits
            return coco_mask.encode(np.asfortranarray(canvas))
        parts = [shapely.get_coordinates(part.exterior).ravel().tolist() for part in shapely.get_parts(outline)]
        return coco_mask.merge(coco_mask.frPyObjects(parts, 100, 200))

    ious = coco_mask.iou([whole(o) for o in [*shapes[4:], *runs]], [whole(o) for o in shapes[:4]], [0] * 4)
    wanted = {(t, p): ious[p, t] for p in range(5) for t in range(4) if ious[p, t] >= LEAST}
    assert len(wanted) > 5
    assert table(find_overlaps(truth, predictions, "masks")) == pytest.approx(wanted, rel=1e-12)


def test_polygons_are_compared_as_they_are_and_a_hole_is_none_of_them() -> None:
    ring = shapely.box(0, 0, 10, 10) - shapely.box(2, 2, 8, 8)
    of = images()
    pairs = find_overlaps(
        drawn(of, [ring], scored=False), drawn(of, [shapely.box(0, 0, 10, 10)], scored=True), "polygons"
    )
    assert table(pairs) == {(0, 0): pytest.approx(0.64)}
    pixels = find_overlaps(drawn(of, [ring], scored=False), drawn(of, [ring], scored=True), "masks")
    assert table(pixels) == {(0, 0): 1.0}


def test_breakdown_by_hand() -> None:
    of = images()
    truth = objects(
        of,
        [
            (0, 0, 0, 0, 10, 10, 0),  # found well
            (0, 0, 20, 0, 30, 10, 0),  # found at IoU .6
            (0, 0, 40, 0, 50, 10, 0),  # found at IoU .25
            (0, 0, 60, 0, 70, 10, 0),  # not found
            (0, 1, 80, 0, 90, 10, 0),  # a truck, taken for a car
        ],
    )
    predictions = objects(
        of,
        [
            (0, 0, 80, 0, 90, 10, 0.9),
            (0, 0, 0, 50, 10, 60, 0.8),  # nothing there
            (0, 0, 0, 0, 10, 10, 0.7),
            (0, 0, 22.5, 0, 32.5, 10, 0.6),
            (0, 0, 46, 0, 56, 10, 0.5),
        ],
        scored=True,
    )
    car, truck, bus = break_down(compared(truth, predictions)).areas

    def area(precisions: list[float]) -> float:
        """Each of four objects is a quarter of the recall: 26 of the 101 readings, then 25 each."""
        weights = [26, 25, 25, 25]
        return sum(weight * value for weight, value in zip(weights, precisions, strict=True)) / 101

    wanted = [
        area([1 / 3, 0, 0, 0]),
        area([1 / 2, 1 / 2, 0, 0]),
        area([3 / 5, 3 / 5, 3 / 5, 0]),
        area([3 / 5, 3 / 5, 3 / 5, 0]),  # no supercategories
        area([3 / 4, 3 / 4, 3 / 4, 0]),
        area([1, 1, 1, 0]),
        1.0,
    ]
    assert car == pytest.approx(wanted)
    assert truck == pytest.approx([0, 0, 0, 0, 0, 0, 1])
    assert np.isnan(bus).all()
    road = break_down(compared(truth, predictions), ["road", "road", "rail"]).areas[0]
    assert road[STEPS.index("Sim")] == pytest.approx(wanted[STEPS.index("Oth")])


def coco(truth: Annotations, predictions: Annotations, thresholds: list[float], label: int, others: str) -> np.ndarray:
    """Let pycocotools draw the curve of a class, with the objects of ``others`` in its class and ignored."""
    evaluation = COCOeval(index(truth), index(predictions), "bbox")
    evaluation.params.iouThrs, evaluation.params.maxDets = np.array(thresholds), [10_000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
    evaluation.params.catIds = [label]
    prepare = evaluation._prepare

    def ignoring() -> None:
        prepare()
        for (image, category), rows in list(evaluation._gts.items()):
            if category != label and others == "ignored":
                for row in rows:
                    evaluation._gts[image, label].append({**row, "ignore": 1})

    evaluation._prepare = ignoring
    evaluation.params.catIds = list(range(3))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    curve: np.ndarray = evaluation.eval["precision"][:, :, label, 0, 0]
    return curve


def index(rows: Annotations) -> COCO:
    result = COCO()
    sides = rows.boxes[:, 2:] - rows.boxes[:, :2]
    result.dataset = {
        "images": [{"id": int(key), "width": 200, "height": 100} for key in rows.images.ids],
        "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(rows.images.ids[rows.image[row]]),
                "category_id": int(rows.labels[row]),
                "bbox": [*rows.boxes[row, :2].tolist(), *sides[row].tolist()],
                "area": float(sides[row].prod()),
                "iscrowd": int(rows.ignored[row]),
                "score": 1.0 if rows.scores is None else float(rows.scores[row]),
            }
            for row in range(len(rows))
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        result.createIndex()
    return result


@given(st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_breakdown_is_what_pycocotools_says_of_objects_of_other_classes_set_to_ignore(seed: int) -> None:
    truth, predictions = random_set(seed)
    precision = break_down(compared(truth, predictions)).precision
    for label in range(3):
        if not (truth.labels == label).any():
            assert np.isnan(precision[label]).all()
            continue
        if not len(predictions):
            continue
        own = coco(truth, predictions, [0.75, 0.5, LEAST], label, "out")
        other = coco(truth, predictions, [LEAST], label, "ignored")
        np.testing.assert_allclose(precision[label, :3], own, atol=1e-12)
        np.testing.assert_allclose(precision[label, STEPS.index("Oth")], other[0], atol=1e-12)


@given(st.integers(0, 100_000), st.sampled_from([None, ["road", "road", "rail"], ["all"] * 3]))
@settings(max_examples=60, deadline=None)
def test_each_step_forgives(seed: int, supercategories: list[str] | None) -> None:
    precision = break_down(compared(*random_set(seed)), supercategories).precision
    known = precision[~np.isnan(precision[:, 0, 0])]
    assert (np.diff(known, axis=1) >= -1e-12).all()
    assert (known[:, -1] == 1).all()


@given(st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_crowds_absorb_as_in_pycocotools(seed: int) -> None:
    truth, predictions = random_set(seed, ignored=True)
    precision = break_down(compared(truth, predictions)).precision
    for label in range(3):
        if (truth.labels[~truth.ignored] == label).any() and len(predictions):
            own = coco(truth, predictions, [0.75, 0.5, LEAST], label, "out")
            np.testing.assert_allclose(precision[label, :3], own, atol=1e-12)
