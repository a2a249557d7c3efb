import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_tools

from d2det_geo.annotations import REGION, Annotations, Runs
from d2det_geo.errors import InputError, UsageError
from d2det_geo.metrics.coco import (
    ISAID_CAPS,
    ISAID_RANGES,
    score_coco,
    score_isaid,
    score_uavdt_coco1,
    score_uavdt_coco3,
)
from d2det_geo.metrics.curves import average_precision, ranking
from d2det_geo.metrics.masks import polygon_mask
from d2det_geo.runs import measured
from tests.coco_sets import COCO_RANGES, images_of, reference, reference_metrics, sets_of

SIDE = 60
ONE = pytest.approx(1, abs=1e-12)  # pycocotools adds the least number to each count


@st.composite
def documents(draw, masks=False):
    """Small sets with everything that is rare: ties, crowds, empty images and classes, stated areas, equal overlaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    images = [{"id": int(n), "width": SIDE, "height": SIDE} for n in rng.permutation(9)[: rng.integers(1, 5)]]
    categories = [{"id": n, "name": f"c{n}"} for n in range(2, 2 + rng.integers(1, 4))]

    def row(**more):
        width, height = rng.integers(1, 30, 2)
        x, y = rng.integers(0, SIDE - width), rng.integers(0, SIDE - height)
        box = [int(v) for v in (x, y, width, height)]
        if rng.random() < 0.3:
            box = [value + 0.25 for value in box]
        chosen = {"image_id": images[rng.integers(len(images))]["id"]}
        chosen["category_id"] = categories[rng.integers(len(categories))]["id"]
        return {**chosen, "bbox": box, **more}

    truth = [row(iscrowd=int(rng.random() < 0.15)) for _ in range(rng.integers(0, 25))]
    results = [row(score=round(float(rng.random()), 1)) for _ in range(rng.integers(0, 10))]
    for target in truth:
        if rng.random() < 0.8:
            box = (np.array(target["bbox"]) + rng.integers(-2, 3, 4)).clip(1).tolist()
            results.append({**target, "bbox": box, "score": round(float(rng.random()), 1)})
            del results[-1]["iscrowd"]
    rng.shuffle(results)
    for target in truth:
        area = target["bbox"][2] * target["bbox"][3]
        target["area"] = float(rng.choice([area, area * 4, 100, 1024, 9216, 20736, 262144, 5]))
    if masks:
        for target in truth:
            target["segmentation"] = random_rings(rng, target["bbox"])
            if target["iscrowd"] or rng.random() < 0.3:
                target["segmentation"] = random_mask(rng, target["bbox"])
        for result in results:
            result["segmentation"] = random_mask(rng, result["bbox"])
    return {"images": images, "categories": categories, "annotations": truth}, results


def random_rings(rng, box):
    x, y, width, height = box
    unit = rng.random((rng.integers(3, 8), 2)) if rng.random() < 0.4 else np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    ring = (np.array([x, y]) + unit * [width, height]).ravel().tolist()
    return [ring] if rng.random() < 0.7 else [ring, [x, y, x + width / 2, y, x, y + height]]


def random_mask(rng, box):
    x, y, width, height = (int(value) for value in box)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    part = mask[y : y + height, x : x + width]
    part[:] = rng.random(part.shape) < rng.choice([0.9, 1.0])
    return mask_tools.encode(mask)


def assert_same(outcome, evaluation):
    wanted = reference_metrics(evaluation)
    assert {name: outcome.metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    for label, numbers in enumerate(outcome.per_class.values()):
        wanted = reference_metrics(evaluation, label)
        assert {name: numbers[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(documents())
def test_boxes_score_as_pycocotools_says(case):
    document, results = case
    outcome = score_coco(*sets_of(document, results), iou="bbox")
    if results:  # pycocotools reads no empty list
        assert_same(outcome, reference(document, results))
    check_verdicts(outcome, *sets_of(document, results))


@settings(max_examples=60, deadline=None)
@given(documents(masks=True))
def test_masks_score_as_pycocotools_says(case):
    document, results = case
    ranges = {"all": [0, 1e10], **ISAID_RANGES}
    outcome = score_isaid(*sets_of(document, results), iou="segm")
    if results:
        assert_same(outcome, reference(document, results, "segm", ISAID_CAPS, ranges))
    check_verdicts(outcome, *sets_of(document, results))


@settings(max_examples=30, deadline=None)
@given(documents(), st.integers(1, 4))
def test_the_cap_is_per_image_and_class(case, cap):
    document, results = case
    truth, predictions = sets_of(document, results)
    outcome = score_coco(truth, predictions, iou="bbox", max_dets=[cap])
    if results:
        assert_same(outcome, reference(document, results, caps=(cap,)))
    _, counts = np.unique(predictions.image * 100 + predictions.labels, return_counts=True)
    assert outcome.counts["predictions_capped"] == np.maximum(counts - cap, 0).sum()
    check_verdicts(outcome, truth, predictions)


def check_verdicts(outcome, truth, predictions):
    """The judgements must add up to the numbers."""
    verdicts, aps = outcome.verdicts, []
    order = ranking(predictions)
    for label in range(len(truth.classes)):
        truths = np.count_nonzero((truth.labels == label) & ~verdicts.truth_ignored)
        for row in range(10):
            rows = order[(predictions.labels[order] == label) & ~verdicts.ignored[row][order]]
            aps.append(average_precision(verdicts.hits(row)[rows], truths, "101-point"))
    defined = [ap for ap in aps if not math.isnan(ap)]
    assert outcome.metrics["ap"] == pytest.approx(np.mean(defined) if defined else math.nan, abs=1e-12, nan_ok=True)
    for row in range(10):
        hits = verdicts.found[row][verdicts.hits(row)]
        assert len(set(hits.tolist())) == len(hits)
    taken = verdicts.found[0] >= 0
    assert (truth.image[verdicts.found[0][taken]] == predictions.image[taken]).all()
    counts = outcome.counts
    parts = counts["predictions"] + counts["predictions_ignored"] + counts["predictions_capped"]
    assert parts == len(predictions)
    assert counts["truths"] + counts["truths_ignored"] + counts["ignore_regions"] == len(truth)


def one(boxes, labels=None, scores=None, outlines=None, classes=("ship",), **more):
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels, np.int64)
    images = more.pop("images", None) or images_of([{"id": 1, "width": 100, "height": 80}])
    shapes = None
    if outlines is not None:
        shapes = np.full(len(boxes), None, object)
        shapes[:] = outlines
    return Annotations(
        images=images,
        classes=classes,
        image=np.zeros(len(boxes), np.int64),
        boxes=boxes,
        labels=labels,
        ignored=labels == REGION,
        scores=None if scores is None else np.array(scores, float),
        outlines=shapes,
        **more,
    )


A, B = (0, 0, 20, 20), (40, 0, 60, 20)


def test_a_region_absorbs_predictions_of_every_class():
    truth = one([A, (30, 0, 80, 50)], [0, REGION], classes=("ship", "plane"))
    predictions = one([A, B, B], [0, 0, 1], [0.5, 0.9, 0.9], classes=truth.classes, images=truth.images)
    outcome = score_coco(truth, predictions, iou="bbox")
    assert (outcome.metrics["ap"], outcome.metrics["precision"]) == (ONE, 1.0)
    assert outcome.counts["predictions_ignored"] == 2
    assert outcome.counts["ignore_regions"] == 1
    assert outcome.verdicts.found[0].tolist() == [0, 1, 1]
    assert math.isnan(outcome.per_class["plane"]["ap"])


@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_nothing_to_find_is_undefined_and_nothing_found_is_zero(iou):
    box, none = shapely.box(*A), np.zeros((0, 4))
    truth, empty = one([A], outlines=[box]), one(none, outlines=[])
    predicted = {"scores": [0.5], "outlines": [box]}
    images = truth.images
    nothing = score_coco(truth, one(none, scores=[], outlines=[], images=images), iou=iou)
    assert (nothing.metrics["ap"], nothing.metrics["ar_100"], nothing.metrics["recall"]) == (0.0, 0.0, 0.0)
    assert math.isnan(nothing.metrics["precision"])
    for predictions in (one([A], **predicted, images=empty.images), one(none, scores=[], images=empty.images)):
        undefined = score_coco(empty, predictions, iou=iou).metrics
        assert all(math.isnan(value) for value in undefined.values()), undefined


def test_no_class_and_no_image():
    images = images_of([])
    nothing = np.zeros((0, 4))
    truth = one(nothing, classes=(), images=images)
    outcome = score_coco(truth, one(nothing, scores=[], classes=(), images=images), iou="bbox")
    assert math.isnan(outcome.metrics["ap"])
    assert outcome.per_class == {}


def test_holes_are_taken_out():
    ring = shapely.Polygon([(2, 2), (30, 2), (30, 30), (2, 30)], [[(10, 10), (20, 10), (20, 20), (10, 20)]])
    island = shapely.MultiPolygon([ring, shapely.box(12, 12, 18, 18)])
    assert measured([polygon_mask(ring, (40, 35))]).areas == 28 * 28 - 10 * 10
    assert measured([polygon_mask(island, (40, 35))]).areas == 28 * 28 - 10 * 10 + 6 * 6
    truth = one([(2, 2, 30, 30)], outlines=[ring])
    assert (
        score_coco(truth, one([(2, 2, 30, 30)], scores=[1], outlines=[ring], images=truth.images)).metrics["ap"] == ONE
    )


def test_the_area_of_a_truth_is_the_stated_one_else_what_its_outline_covers():
    thin = shapely.Polygon([(0, 0), (40, 0), (40, 30)])  # box 1200 px, mask about 600
    predictions = {"scores": [1.0], "outlines": [thin]}
    for iou in ("bbox", "segm"):
        truth = one([(0, 0, 40, 30)], outlines=[thin])
        metrics = score_coco(truth, one([(0, 0, 40, 30)], **predictions, images=truth.images), iou=iou).metrics
        assert metrics["ap_small"] == ONE
        assert math.isnan(metrics["ap_medium"])
        stated = one([(0, 0, 40, 30)], outlines=[thin], areas=np.array([2000.0]), images=truth.images)
        metrics = score_coco(stated, one([(0, 0, 40, 30)], **predictions, images=truth.images), iou=iou).metrics
        assert metrics["ap_medium"] == ONE
        assert math.isnan(metrics["ap_small"])


def test_widths_survive_the_way_through_edges():
    truth, predictions = one([(0.1, 0.1, 0.1 + 32, 0.1 + 32)]), one([(0.3, 0.3, 0.3 + 32, 0.3 + 32)], scores=[1])
    assert 0.3 + 32 - 0.3 != 32
    metrics = score_coco(truth, one(predictions.boxes, scores=[1], images=truth.images), iou="bbox").metrics
    assert (metrics["ap_small"], metrics["ap_medium"]) == (metrics["ap"], metrics["ap"])  # both ends belong to a range


def test_images_of_unknown_size_are_compared_on_a_canvas_of_all_boxes():
    images = images_of([{"id": 1, "width": 0, "height": 0}])
    truth = one([A], outlines=[shapely.box(*A)], images=images)
    crop = Runs(0, 0, 20, 20, mask_tools.encode(np.ones((20, 20), np.uint8, order="F"))["counts"])
    assert score_coco(truth, one([A], scores=[1], outlines=[crop], images=images)).metrics["ap"] == ONE


def test_masks_are_not_made_up():
    truth = one([A], outlines=[shapely.box(*A)])
    with pytest.raises(InputError, match=r"predictions: 1 objects have a box but no outline .* image 1; .*--iou bbox"):
        score_coco(truth, one([A], scores=[1], images=truth.images))
    outlined = one([A], scores=[1], outlines=[shapely.box(*A)], images=truth.images)
    with pytest.raises(InputError, match="truth: 1 objects"):
        score_coco(one([A], images=truth.images), outlined)


@pytest.mark.parametrize("caps", [(), (0, 10), (10, 10), (100, 10)])
def test_caps_ascend(caps):
    truth = one([A])
    with pytest.raises(UsageError, match="max_dets must ascend from 1 or more"):
        score_coco(truth, one([A], scores=[1], images=truth.images), iou="bbox", max_dets=caps)


def test_the_settings_say_what_makes_the_number_comparable():
    truth = one([A])
    predictions = one([A], scores=[1], images=truth.images)
    official = score_coco(truth, predictions, iou="bbox")
    assert official.settings["max_dets"] == [1, 10, 100]
    assert official.settings["area_ranges"] == {name: list(map(float, ends)) for name, ends in COCO_RANGES.items()}
    assert official.notices == ()
    raised = score_coco(truth, predictions, iou="bbox", max_dets=[1, 10, 500])
    assert raised.notices == ("ap is at 500 results per image and class; the number known as coco AP is at 100",)


def test_the_papers_of_uavdt_leave_out_regions_and_frames_without_truth():
    box, far = (0, 0, 20, 20), (50, 50, 70, 70)
    images = images_of([{"id": number, "width": 100, "height": 100} for number in (4, 7)])
    truth = replace(one([box, far, box], [0, 1, REGION], classes=("car", "truck")), images=images)
    predictions = one([box, box, far, box], [0, 1, 1, 0], [0.9, 0.8, 0.7, 0.6], classes=("car", "truck"))
    predictions = replace(predictions, images=images, image=np.array([0, 0, 0, 1]))
    three = score_uavdt_coco3(truth, predictions)
    # truck: wrong, right. The region absorbs nothing; the frame without truth and what is on it are left out.
    assert three.metrics["ap"] == pytest.approx((1 + 0.5) / 2, abs=1e-12)
    assert (three.counts["images"], three.counts["predictions"], three.counts["predictions_ignored"]) == (1, 3, 1)
    assert three.counts["predictions_capped"] == 0
    assert three.notices == ("1 frames without truth are left out, as in the papers, with 1 predictions on them",)
    one_class = score_uavdt_coco1(truth, predictions)
    assert one_class.metrics["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)  # right, wrong, right
    assert one_class.verdicts.pooled
    assert math.isnan(one_class.per_class["car"]["ap"])
    assert one_class.per_class["truck"]["recall"] == 1.0


@settings(max_examples=40, deadline=None)
@given(documents())
def test_uavdt_as_coco_is_coco_without_the_crowds(case):
    document, results = case
    truth, predictions = sets_of(document, results)
    three, one_class = score_uavdt_coco3(truth, predictions), score_uavdt_coco1(truth, predictions)
    kept = [row for row in document["annotations"] if not row["iscrowd"]]
    frames = {row["image_id"] for row in kept}
    found = [row for row in results if row["image_id"] in frames]
    if found and kept:
        document = {**document, "annotations": kept}
        assert_same(three, reference(document, found))
        for row in (*kept, *found, *document["categories"][:1]):
            row["category_id" if "score" in row or "area" in row else "id"] = 2
        wanted = reference_metrics(reference({**document, "categories": document["categories"][:1]}, found))
        assert {name: one_class.metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    check_verdicts(three, truth, predictions)
