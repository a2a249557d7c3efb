"""What is made from verdicts and pairs: breakdown, confusion, errors, calibration and parts."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.metrics.breakdown import STEPS, break_down
from d2det_geo.metrics.calibration import calibrate
from d2det_geo.metrics.coco import score_coco
from d2det_geo.metrics.compared import compare
from d2det_geo.metrics.confusion import confuse
from d2det_geo.metrics.errors import MISSED, WRONG, at_borders, by_place, errors_of
from d2det_geo.metrics.overlaps import LEAST, find_overlaps
from d2det_geo.metrics.protocols import PROTOCOLS
from d2det_geo.metrics.subsets import areas_of, by_gsd, by_size, by_tag, score_part
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
        if truth.image[t] == predictions.image[p] and (iou := box_iou(truth.boxes[t], predictions.boxes[p])) >= LEAST
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
    box = shapely.box(0, 0, 10, 10)
    pixels = find_overlaps(drawn(of, [ring], scored=False), drawn(of, [box], scored=True), "masks")
    assert table(pixels) == {(0, 0): 0.64}


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


def errors_case() -> Any:
    """A truth found, doubled, taken for a bus, badly placed, found with too low a score, and one with nothing."""
    of = images()
    truth = objects(
        of,
        [
            (0, 0, 0, 0, 10, 10, 0),
            (0, 0, 20, 0, 30, 10, 0),
            (0, 0, 40, 0, 50, 10, 0),
            (0, 1, 60, 0, 70, 10, 0),
            (0, 1, 80, 0, 90, 10, 0),
            (0, 0, 199, 50, 220, 60, 1),
        ],
    )
    predictions = objects(
        of,
        [
            (0, 0, 0, 0, 10, 10, 0.9),
            (0, 0, 1, 0, 11, 10, 0.8),  # a duplicate
            (0, 2, 20, 0, 30, 10, 0.8),  # a bus on a car
            (0, 0, 46, 0, 56, 10, 0.7),  # IoU .25
            (0, 1, 60, 0, 70, 10, 0.2),  # below the score
            (0, 1, 0, 90, 10, 100, 0.6),  # nothing there, at the edge of the image
        ],
        scored=True,
    )
    return compared(truth, predictions, score=0.5)


def test_each_error_has_one_cause() -> None:
    errors = errors_of(errors_case())
    assert errors.right.tolist() == [True] + [False] * 5
    assert errors.found.tolist() == [True] + [False] * 5
    assert [WRONG[why] if why >= 0 else None for why in errors.why_wrong] == [
        None,
        "duplicate",
        "class not in the truth",
        "badly placed",
        None,
        "background",
    ]
    assert [MISSED[why] if why >= 0 else None for why in errors.why_missed] == [
        None,
        "other class",
        "badly placed",
        "score too low",
        "nothing there",
        None,
    ]
    assert errors.per_image(errors_case().truth, errors_case().predictions).tolist() == [8]


def test_an_object_that_only_a_detection_beyond_the_cap_finds_is_blamed_on_the_cap() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0)])
    predictions = objects(of, [(0, 0, 0, 0, 10, 10, 0.9)], scored=True)
    outcome = judged(truth, predictions)
    outcome.verdicts.found[:] = -1
    outcome.verdicts.ignored[:] = True
    capped = replace(outcome, verdicts=replace(outcome.verdicts, capped=np.ones(1, bool)))
    for judgement, cause in ((capped, "beyond the cap"), (outcome, "in an ignore region")):
        errors = errors_of(compare(truth, predictions, judgement, "bbox"))
        assert MISSED[errors.why_missed[0]] == cause
        assert not errors.wrong.any()


def test_protocols_say_what_their_cap_cut() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 0, 50, 0, 60, 10, 0)])
    predictions = objects(of, [(0, 0, 0, 0, 10, 10, 0.9), (0, 0, 50, 0, 60, 10, 0.8)], scored=True)
    outcome = score_coco(truth, predictions, iou="bbox", max_dets=(1,))
    errors = errors_of(compare(truth, predictions, outcome, "bbox"))
    assert MISSED[errors.why_missed[1]] == "beyond the cap"
    many = objects(of, [(0, 0, 100, 50, 101, 51, 0.9)] * 500 + [(0, 0, 0, 0, 10, 10, 0.8)], scored=True)
    errors = errors_of(compare(truth, many, PROTOCOLS["visdrone"].score(truth, many), "bbox"))
    assert [MISSED[why] for why in errors.why_missed] == ["beyond the cap", "nothing there"]


def test_what_an_ignore_box_drops_is_not_blamed_on_a_cap() -> None:
    of = images()
    truth = objects(of, [(0, REGION, 0, 0, 100, 100, 1), (0, 0, 10, 10, 30, 30, 0)])
    predictions = objects(of, [(0, 0, 10, 10, 30, 30, 0.9)], scored=True)
    errors = errors_of(compare(truth, predictions, PROTOCOLS["uavdt"].score(truth, predictions), "bbox"))
    assert MISSED[errors.why_missed[1]] == "in an ignore region"


def test_without_a_threshold_every_detection_is_looked_at() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0)])
    predictions = objects(of, [(0, 1, 0, 0, 10, 10, 0.9)], scored=True)
    for name in ("coco", "voc", "visdrone"):
        outcome = PROTOCOLS[name].score(truth, predictions, iou="bbox")
        assert np.isnan(outcome.metrics["score_threshold"])
        judgement = compare(truth, predictions, outcome, "bbox")
        errors = errors_of(judgement)
        assert [WRONG[why] for why in errors.why_wrong] == ["class not in the truth"]
        assert [MISSED[why] for why in errors.why_missed] == ["other class"]
        assert confuse(judgement).counts[0, 1] == 1


@pytest.mark.parametrize("name", ["coco", "isaid", "visdrone", "voc", "uavdt-coco3"])
def test_precision_leaves_out_classes_that_are_not_in_the_truth_and_their_errors_say_so(name: str) -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 0, 50, 0, 60, 10, 0)])
    others = [(0, 2, 20 * x, 50, 20 * x + 10, 60, 0.95) for x in range(10)]
    predictions = objects(of, [*others, (0, 0, 0, 0, 10, 10, 0.9)], scored=True)
    outcome = PROTOCOLS[name].score(truth, predictions, iou="bbox")
    errors = errors_of(compare(truth, predictions, outcome, "bbox"))
    strange = np.count_nonzero(errors.why_wrong == WRONG.index("class not in the truth"))
    right, wrong = np.count_nonzero(errors.right), np.count_nonzero(errors.wrong)
    assert (right, wrong, strange) == (1, 10, 10)
    assert right / (right + wrong - strange) == outcome.metrics["precision"] == 1.0


def test_detections_below_the_threshold_are_no_causes() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 1, 50, 0, 60, 10, 0), (0, 0, 80, 0, 90, 10, 0)])
    predictions = objects(
        of,
        [(0, 1, 0, 0, 10, 10, 0.2), (0, 1, 56, 0, 66, 10, 0.2), (0, 0, 80, 0, 90, 10, 0.9)],
        scored=True,
    )
    errors = errors_of(compared(truth, predictions, score=0.5))
    assert [MISSED[why] if why >= 0 else "" for why in errors.why_missed] == ["nothing there", "nothing there", ""]


def test_the_operating_point_is_that_of_the_outcome() -> None:
    for seed in range(10):
        judgement = compared(*random_set(seed, ignored=True), score=0.4)
        errors, metrics = errors_of(judgement), judgement.outcome.metrics
        right, wrong = np.count_nonzero(errors.right), np.count_nonzero(errors.wrong)
        found, missed = np.count_nonzero(errors.found), np.count_nonzero(errors.missed)
        if right:
            assert right / (right + wrong) == metrics["precision"]
            assert found / (found + missed) == metrics["recall"]


def test_confusion_by_hand() -> None:
    confusion = confuse(errors_case())
    assert confusion.classes == (*CLASSES, "background")
    assert confusion.counts.tolist() == [[1, 0, 1, 1], [0, 0, 0, 2], [0, 0, 0, 0], [2, 1, 0, 0]]


@given(st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_confusion_counts_every_object_once(seed: int) -> None:
    judgement = compared(*random_set(seed), score=0.3)
    counts = confuse(judgement).counts
    kept = judgement.scores >= 0.3
    for label in range(3):
        assert counts[label].sum() == np.count_nonzero(judgement.truth_labels == label)
        assert counts[:, label].sum() == np.count_nonzero(kept & (judgement.labels == label))


def test_calibration_by_hand() -> None:
    scores = np.array([0.05, 0.1, 0.1, 0.95, 1.0])
    found = calibrate(scores, np.array([False, True, False, True, True]))
    assert found is not None
    assert found.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.precision[[0, 1, 9]].tolist() == [0, 0.5, 1]
    assert np.isnan(found.precision[2])
    assert found.error == pytest.approx((0.05 + 2 * 0.4 + 2 * 0.025) / 5)
    assert calibrate(np.array([1.5]), np.array([True])) is None
    empty = calibrate(np.zeros(0), np.zeros(0, bool))
    assert empty is not None
    assert np.isnan(empty.error)


@given(st.integers(0, 100_000), st.sampled_from([0.0, 300.0, 500.0]))
@settings(max_examples=40, deadline=None)
def test_a_size_is_judged_as_pycocotools_judges_it_where_no_detection_meets_two_objects(seed: int, low: float) -> None:
    truth, predictions = random_set(seed)
    judgement = compared(truth, predictions)
    pairs = judgement.overlaps.where(judgement.overlaps.ious >= 0.5)
    if not len(predictions) or len(np.unique(pairs.predictions)) < len(pairs.predictions):
        return
    evaluation = COCOeval(index(truth), index(predictions), "bbox")
    evaluation.params.iouThrs, evaluation.params.maxDets = np.array([0.5, 0.75]), [10_000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[low, 600.0]], ["part"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    wanted = precision[precision > -1].mean() if (precision > -1).any() else np.nan
    areas = (areas_of(side, "boxes", side.images.sizes) for side in (truth, predictions))
    part = score_part(judgement, "part", *((area >= low) & (area <= 600) for area in areas))
    assert part.ap == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_parts_of_images_are_judged_as_if_they_were_all() -> None:
    night = np.array([True, False, True, False])
    of = images(
        4, tags={"night": night, "day": ~night, "never": np.zeros(4, bool)}, gsd_m=np.array([0.1, 0.3, np.nan, 7])
    )
    truth, predictions = random_set(8)
    truth, predictions = replace(truth, images=of), replace(predictions, images=of)
    tags = {part.name: part for part in by_tag(compared(truth, predictions))}
    assert list(tags) == ["night", "day"]
    for name, chosen in (("night", night), ("day", ~night)):
        alone = compared(truth.rows(chosen[truth.image]), predictions.rows(chosen[predictions.image]))
        whole = score_part(alone, "", np.ones(len(alone.truth), bool), np.ones(len(alone.labels), bool))
        assert tags[name].ap == pytest.approx(whole.ap)
        assert tags[name].truths == np.count_nonzero(chosen[truth.image])
    assert [part.name for part in by_gsd(compared(truth, predictions))] == [
        "0.1 to 0.2 m",
        "0.3 to 0.5 m",
        "from 5 m",
        "unknown",
    ]
    assert [part.name for part in by_size(compared(truth, predictions))] == [
        "small (0 to 1,024)",
        "medium (1,024 to 9,216)",
        "large (from 9,216)",
    ]


@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_sizes_of_a_protocol_are_its_own_numbers(iou: str) -> None:
    of, rng = images(6, (400, 400)), np.random.default_rng(5)
    sides = [], []
    for image in range(6):
        for _ in range(12):
            points = rng.uniform(10, 300, 2) + rng.uniform(0, rng.choice([45, 90, 160]), (6, 2))
            label = int(rng.integers(3))
            for side, shift in zip(sides, (0, rng.normal(0, 4, 2)), strict=True):
                side.append((image, label, shapely.MultiPoint(points + shift).convex_hull))
    truth, predictions = (
        objects(
            of,
            [(image, label, *shape.bounds, round(rng.random(), 2) if scored else 0) for image, label, shape in side],
            scored=scored,
            outlines=np.array([shape for *_, shape in side], object),
        )
        for side, scored in zip(sides, (False, True), strict=True)
    )
    outcome = score_coco(truth, predictions, iou=iou)  # type: ignore[arg-type]
    parts = list(by_size(compare(truth, predictions, outcome, iou)))  # type: ignore[arg-type]
    assert [part.ap for part in parts] == [outcome.metrics[f"ap_{name}"] for name in ("small", "medium", "large")]
    areas = [coco_mask.area(coco_mask.frPyObjects([shapely.get_coordinates(shape).ravel().tolist()], 400, 400)[0])
             for *_, shape in sides[0]]  # fmt: skip
    edges = [0, 32**2, 96**2, 1e10]
    assert [part.truths for part in parts] == [sum(a <= area <= b for area in areas) for a, b in pairwise(edges)]
    # Of ranges the protocol does not have, the parts are by what it compares; a number of that name means another.
    other = replace(
        outcome, settings={**outcome.settings, "area_ranges": {}}, metrics={**outcome.metrics, "ap_small": 9}
    )
    if iou == "bbox":
        areas = np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1).tolist()
    parts = list(by_size(compare(truth, predictions, other, iou)))  # type: ignore[arg-type]
    assert [part.truths for part in parts] == [sum(a <= area <= b for area in areas) for a, b in pairwise(edges)]
    assert 0 < parts[0].ap < 1


def test_borders_of_chips_are_told_from_the_edges_of_scenes() -> None:
    windows = np.array([(0, 0, 200, 100), (150, 0, 200, 100)])
    of = images(2, windows=windows, groups=np.array(["scene", "scene"], dtype=object))
    rows = [
        (0, 0, 0, 10, 20, 20, 0),
        (0, 0, 180, 10, 200, 20, 0),
        (1, 0, 0, 10, 5, 20, 0),
        (1, 0, 190, 10, 199.5, 20, 0),
    ]
    places = at_borders(objects(of, [*rows, (1, 0, 50, 50, 60, 60, 0)]))
    assert places["chip border"].tolist() == [False, True, True, False, False]
    assert places["image edge"].tolist() == [True, False, False, True, False]
    judgement = errors_case()
    flags = at_borders(judgement.truth)["image edge"], at_borders(judgement.predictions)["image edge"]
    share = by_place(judgement, errors_of(judgement), {"edge": flags})["edge"]
    assert (share.found, share.missed, share.right, share.wrong) == (1, 4, 1, 4)


def test_a_protocol_that_pools_classes_has_one_class() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0)])
    predictions = objects(of, [(0, 1, 0, 0, 10, 10, 0.9)], scored=True)
    outcome = judged(truth, predictions)
    outcome.verdicts.found[:] = 0
    pooled = compare(truth, predictions, replace(outcome, verdicts=replace(outcome.verdicts, pooled=True)), "bbox")
    assert pooled.classes == ("all classes",)
    assert break_down(pooled).areas.tolist() == [[1.0] * 7]
    assert confuse(pooled).counts.tolist() == [[1, 0], [0, 0]]


@given(st.integers(0, 100_000), st.sampled_from([None, (1,), (2, 100)]))
@settings(max_examples=30, deadline=None)
def test_areas_of_the_coco_protocol_are_its_own_numbers(seed: int, caps: tuple[int, ...] | None) -> None:
    truth, predictions = random_set(seed, ignored=True)
    if not len(predictions) or truth.ignored.all():
        return
    options = {} if caps is None else {"max_dets": caps}
    outcome = score_coco(truth, predictions, iou="bbox", **options)
    judgement = compare(truth, predictions, outcome, "bbox")
    areas = break_down(judgement).mean().mean(axis=1)
    assert areas[:2] == pytest.approx([outcome.metrics["ap75"], outcome.metrics["ap50"]], abs=1e-12)
    everything = np.ones(len(truth), bool), np.ones(len(predictions), bool)
    assert score_part(judgement, "", *everything).ap == pytest.approx(outcome.metrics["ap"], abs=1e-12)
    errors = errors_of(judgement)
    right, wrong = np.count_nonzero(errors.right), np.count_nonzero(errors.wrong)
    classes = np.unique(truth.labels[~truth.ignored])
    if np.isin(predictions.labels, classes).all() and right + wrong:
        assert right / (right + wrong) == pytest.approx(outcome.metrics["precision"])


@pytest.mark.parametrize(
    "name", ["uavdt", "uavdt-voc07", "uavdt-coco1", "uavdt-coco3", "visdrone", "voc", "dota-task2"]
)
def test_every_protocol_of_boxes_can_be_explained(name: str) -> None:
    for seed in range(4):
        truth, predictions = random_set(seed, ignored=True)
        region = objects(truth.images, [(0, 0, 0, 0, 100, 100, 1)])
        labels = np.append(truth.labels, REGION)
        boxes = np.concatenate([truth.boxes, region.boxes])
        image, ignored = np.append(truth.image, 0), np.append(truth.ignored, True)
        truth = replace(truth, labels=labels, boxes=boxes, image=image, ignored=ignored)
        outcome = PROTOCOLS[name].score(truth, predictions, iou="bbox")
        judgement = compare(truth, predictions, outcome, "bbox")
        everything = np.ones(len(truth), bool), np.ones(len(predictions), bool)
        part = score_part(judgement, "", *everything)
        aps = [values["ap"] for values in outcome.per_class.values() if "ap" in values]
        wanted = float(np.nanmean(aps)) if name == "visdrone" else outcome.metrics["ap"]  # it weighs classes
        assert part.ap == pytest.approx(wanted, abs=1e-12, nan_ok=True)
        errors = errors_of(judgement)
        found, missed = np.count_nonzero(errors.found), np.count_nonzero(errors.missed)
        assert found / (found + missed) == pytest.approx(outcome.metrics["recall"])
        assert (break_down(judgement).areas[:, -1] >= 1 - 1e-12).any()


def test_pairs_stay_in_their_image_where_numbers_are_too_large_to_move_boxes_exactly() -> None:
    of = images(2)
    truth = objects(of, [(0, 0, 0, 0, 1e17, 10, 0)])
    predictions = objects(of, [(1, 0, 0, 0, 1e17, 10, 0.5)], scored=True)
    assert table(find_overlaps(truth, predictions, "boxes")) == {}


def test_a_region_means_what_the_protocol_made_of_it() -> None:
    """UAVDT drops only what is strictly inside, so that a detection on a region is as wrong as the protocol says."""
    of = images()
    truth = objects(of, [(0, REGION, 0, 0, 100, 100, 1), (0, 0, 150, 0, 160, 10, 0)])
    predictions = objects(of, [(0, 0, 0, 0, 110, 100, 0.9), (0, 0, 150, 0, 160, 10, 0.8)], scored=True)
    judgement = compare(truth, predictions, PROTOCOLS["uavdt"].score(truth, predictions), "bbox")
    assert break_down(judgement).areas[0].tolist() == [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    assert [WRONG[why] for why in errors_of(judgement).why_wrong if why >= 0] == ["background"]


def test_a_detection_counts_where_the_object_it_found_counts_whatever_its_own_size() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 0, 50, 0, 70, 20, 0)])
    predictions = objects(of, [(0, 0, 0, 0, 11, 11, 0.9), (0, 0, 50, 0, 70, 20, 0.95)], scored=True)
    small = score_part(compared(truth, predictions), "small", np.array([True, False]), np.array([False, False]))
    assert (small.ap, small.truths) == (1.0, 1)


def test_confusion_takes_the_object_that_fits_best_and_leaves_out_what_is_ignored() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 1, 0, 0, 10, 12, 0), (0, 0, 50, 0, 60, 10, 1)])
    predictions = objects(of, [(0, 1, 0, 0, 10, 12, 0.9), (0, 0, 50, 0, 60, 10, 0.8)], scored=True)
    counts = confuse(compared(truth, predictions)).counts
    assert counts.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
