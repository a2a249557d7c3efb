"""The protocols of boxes against slow second implementations in plain Python, written from the spec's words."""

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_tools

from d2det_geo.annotations import REGION, Annotations, Images, Runs
from d2det_geo.errors import InputError, UsageError
from d2det_geo.metrics.curves import average_precision
from d2det_geo.metrics.dota import score_dota_task1, score_dota_task2
from d2det_geo.metrics.protocols import PROTOCOLS
from d2det_geo.metrics.region_share import shares_in_regions
from d2det_geo.metrics.uavdt import score_uavdt, score_uavdt_voc07
from d2det_geo.metrics.visdrone import score_visdrone
from d2det_geo.metrics.voc import score_voc

CLASSES = ("a", "b", "c")
SIDE = 60


@st.composite
def sets(draw, regions=True, difficult=True, classes=CLASSES, grid=1.0):
    """Random objects and predictions near them on a coarse grid, so that ties and equal overlaps are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = int(rng.integers(1, 5))
    images = Images(
        np.array([f"{i}.jpg" for i in range(count)], object),
        rng.permutation(count) + 1,
        np.tile(np.array([SIDE, SIDE - 7]) if rng.random() < 0.8 else np.array([0, 0]), (count, 1)),
        tags={"night": rng.random(count) < 0.5, "long-term": np.zeros(count, bool)},
    )
    truth = _objects(rng, images, classes, int(rng.integers(0, 25)), grid)
    ignored = (rng.random(len(truth)) < 0.2) & difficult
    truth = replace(truth, ignored=ignored)
    if regions:
        marked = rng.random(len(truth)) < 0.2
        truth = replace(truth, labels=np.where(marked, REGION, truth.labels), ignored=ignored | marked)
    near = rng.integers(0, max(len(truth), 1), 2 * len(truth))
    strays = _objects(rng, images, classes, int(rng.integers(0, 12)), grid)
    moved = truth.boxes[near] + rng.choice([0, 0, 0, 1, 2], (len(near), 4)) * grid
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + grid)
    boxes = np.vstack([moved, strays.boxes])
    labels = np.concatenate([np.where(truth.labels[near] == REGION, 0, truth.labels[near]), strays.labels])
    order = rng.permutation(len(boxes))
    predictions = Annotations(
        images,
        classes,
        np.concatenate([truth.image[near], strays.image])[order],
        boxes[order],
        labels[order].astype(np.int64),
        np.zeros(len(boxes), bool),
        np.round(rng.random(len(boxes)), 1),
    )
    return truth, predictions


def _objects(rng, images, classes, count, grid):
    corner = rng.integers(0, SIDE - 20, (count, 2)) * grid
    size = rng.choice([1, 3, 7, 10, 20], (count, 2)) * grid
    return Annotations(
        images,
        classes,
        rng.integers(0, len(images), count),
        np.hstack([corner, corner + size]),
        rng.integers(0, len(classes), count),
        np.zeros(count, bool),
    )


def overlap(a, b, plus=0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + plus
    height = min(a[3], b[3]) - max(a[1], b[1]) + plus
    return max(width, 0) * max(height, 0)


def area(box, plus=0):
    return (box[2] - box[0] + plus) * (box[3] - box[1] + plus)


def box_iou(a, b, plus=0):
    shared = overlap(a, b, plus)
    return shared / (area(a, plus) + area(b, plus) - shared) if shared else 0.0


def plain_ap(judged, truths, integral):
    """Average precision of [(score, right)], already in order of ties, straight from its definition."""
    if truths == 0:
        return math.nan
    judged = sorted(judged, key=lambda pair: -pair[0])
    points, right = [], 0
    for number, (_, hit) in enumerate(judged, start=1):
        right += hit
        points.append((right / truths, right / number))

    def best(recall):
        return max((precision for reached, precision in points if reached >= recall), default=0.0)

    if integral == "11-point":
        return sum(best(recall) for recall in np.arange(0.0, 1.1, 0.1)) / 11
    levels = sorted({recall for recall, _ in points})
    return sum((level - last) * best(level) for last, level in zip([0.0, *levels], levels, strict=False))


def in_order(predictions, rows):
    """Rows as every protocol walks them: images by id, then the file."""
    return sorted(rows, key=lambda row: (predictions.images.ids[predictions.image[row]], row))


def plain_uavdt(truth, predictions, images):
    kept = []
    for image in images:
        frame = np.flatnonzero(predictions.image == image)
        regions = [truth.boxes[t] for t in np.flatnonzero((truth.image == image) & truth.ignored)]
        rows = []
        for p in frame:
            x1, y1, x2, y2 = predictions.boxes[p]
            if not any(x1 > r[0] and y1 > r[1] and x2 < r[2] and y2 < r[3] for r in regions):
                rows.append(p)
        free = {t: truth.boxes[t] for t in np.flatnonzero((truth.image == image) & ~truth.ignored)}
        for p in sorted(rows, key=lambda p: -predictions.scores[p]):
            best, chosen = 0.7, None
            for t, box in free.items():
                value = box_iou(predictions.boxes[p], box)
                if value >= best:
                    best, chosen = value, t
            free.pop(chosen, None)
            kept.append((p, chosen is not None))
    right = dict(kept)
    wanted = int(np.count_nonzero(~truth.ignored & np.isin(truth.image, images)))
    judged = [(predictions.scores[p], right[p]) for p in in_order(predictions, right)]
    return plain_ap(judged, wanted, "all-point")


@settings(max_examples=60, deadline=None)
@given(sets(difficult=False))
def test_uavdt_by_its_words(case):
    truth, predictions = case
    metrics = score_uavdt(truth, predictions).metrics
    every = range(len(truth.images))
    assert metrics["ap"] == pytest.approx(plain_uavdt(truth, predictions, every), abs=1e-9, nan_ok=True)
    night = np.flatnonzero(truth.images.tags["night"])
    assert metrics["ap_tag_night"] == pytest.approx(plain_uavdt(truth, predictions, night), abs=1e-9, nan_ok=True)
    assert math.isnan(metrics["ap_tag_long-term"])
    if not math.isnan(metrics["ap"]):
        assert metrics["ap_percent"] == round(100 * metrics["ap"], 2)


def plain_arg_max(truth, predictions, enough, value, groups):
    """Right, wrong or skipped (None) for each prediction; ``groups`` says which truths a prediction is compared to."""
    taken, judged = set(), {}
    for p in sorted(in_order(predictions, range(len(predictions))), key=lambda p: -predictions.scores[p]):
        ious = [(value(p, t), -t) for t in groups(p)]
        best, t = max(ious, default=(0.0, 0))
        t = -t
        if not enough(best):
            judged[p] = False
        elif truth.ignored[t] and truth.labels[t] != REGION:
            judged[p] = None
        else:
            judged[p] = t not in taken
            taken.add(t)
    return judged


@settings(max_examples=60, deadline=None)
@given(sets(difficult=False))
def test_uavdt_voc07_by_its_words(case):
    truth, predictions = case
    objects = np.flatnonzero(~truth.ignored)
    judged = plain_arg_max(
        truth,
        predictions,
        lambda value: value > 0.7,
        lambda p, t: box_iou(predictions.boxes[p], truth.boxes[t]),
        lambda p: [t for t in objects if truth.image[t] == predictions.image[p]],
    )
    ranked = [(predictions.scores[p], judged[p]) for p in in_order(predictions, judged)]
    metrics = score_uavdt_voc07(truth, predictions).metrics
    assert metrics["ap"] == pytest.approx(plain_ap(ranked, len(objects), "all-point"), abs=1e-9, nan_ok=True)
    assert metrics["ap_11point"] == pytest.approx(plain_ap(ranked, len(objects), "11-point"), abs=1e-9, nan_ok=True)


def assert_per_class(outcome, truth, predictions, judged, integrals):
    for name, integral in integrals.items():
        values = []
        for label, of_class in enumerate(truth.classes):
            rows = [p for p in judged if predictions.labels[p] == label and judged[p] is not None]
            ranked = [(predictions.scores[p], judged[p]) for p in in_order(predictions, rows)]
            truths = int(np.count_nonzero((truth.labels == label) & ~truth.ignored))
            values.append(plain_ap(ranked, truths, integral))
            assert outcome.per_class[of_class][name] == pytest.approx(values[-1], abs=1e-9, nan_ok=True)
        defined = [value for value in values if not math.isnan(value)]
        mean = sum(defined) / len(defined) if defined else math.nan
        assert outcome.metrics[name] == pytest.approx(mean, abs=1e-9, nan_ok=True)


def of_class(truth, predictions):
    return lambda p: [
        t
        for t in range(len(truth))
        if truth.image[t] == predictions.image[p] and truth.labels[t] == predictions.labels[p]
    ]


@settings(max_examples=60, deadline=None)
@given(sets(), st.sampled_from(["1.0", "1.5"]))
def test_dota_task_2_by_its_words(case, version):
    truth, predictions = case
    outcome = score_dota_task2(truth, predictions, version=version)
    if version == "1.5":
        truth = replace(truth, ignored=truth.labels == REGION)
    judged = plain_arg_max(
        truth,
        predictions,
        lambda value: value > 0.5,
        lambda p, t: box_iou(predictions.boxes[p], truth.boxes[t], 1),
        of_class(truth, predictions),
    )
    assert_per_class(outcome, truth, predictions, judged, {"ap": "11-point", "ap_allpoint": "all-point"})


@settings(max_examples=60, deadline=None)
@given(sets())
def test_voc_by_its_words(case):
    truth, predictions = case
    judged = plain_arg_max(
        truth,
        predictions,
        lambda value: value >= 0.5,
        lambda p, t: box_iou(predictions.boxes[p], truth.boxes[t]),
        of_class(truth, predictions),
    )
    outcome = score_voc(truth, predictions)
    assert_per_class(outcome, truth, predictions, judged, {"ap": "all-point", "ap_11point": "11-point"})


def turned(annotations, angle):
    middle = (annotations.boxes[:, :2] + annotations.boxes[:, 2:]) / 2
    half = (annotations.boxes[:, 2:] - annotations.boxes[:, :2]) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half[:, None]
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    outlines = np.full(len(annotations), None, object)
    outlines[:] = list(shapely.polygons(corners @ turn + middle[:, None]))
    return replace(annotations, outlines=outlines, boxes=shapely.bounds(outlines).reshape(-1, 4))


@settings(max_examples=40, deadline=None)
@given(sets(), st.sampled_from([0.0, 0.4, math.pi / 4]))
def test_dota_task_1_by_its_words(case, angle):
    truth, predictions = turned(case[0], angle), turned(case[1], angle)

    def polygon_iou(p, t):
        a, b = predictions.outlines[p], truth.outlines[t]
        shared = a.intersection(b).area
        return shared / (a.area + b.area - shared)

    judged = plain_arg_max(truth, predictions, lambda value: value > 0.5, polygon_iou, of_class(truth, predictions))
    outcome = score_dota_task1(truth, predictions)
    if not any(abs(polygon_iou(p, t) - 0.5) < 1e-9 for p in range(len(predictions)) for t in range(len(truth))):
        assert_per_class(outcome, truth, predictions, judged, {"ap": "11-point", "ap_allpoint": "all-point"})


def plain_visdrone(truth, predictions, cap):
    """AP and AR, each ``[class][threshold]``, by rows walked one at a time; and the weights of the classes."""
    width, height = predictions.images.sizes[0] if predictions.images.sizes[0, 0] else (200, 200)
    kept_truth, kept = set(), []
    for image in range(len(truth.images)):
        mask = np.zeros((height + 300, width + 300), bool)  # 1-based
        for t in np.flatnonzero((truth.image == image) & (truth.labels == REGION)):
            x1, y1, x2, y2 = truth.boxes[t].astype(int)
            mask[max(y1, 1) : y2 + 1, max(x1, 1) : x2 + 1] = True
        mask[height + 1 :], mask[:, width + 1 :] = False, False

        def share(box, mask=mask):
            x, y, right, bottom = (int(value) for value in box)
            w, h = max(right - x, 1), max(bottom - y, 1)
            x, y = min(max(x, 1), width), min(max(y, 1), height)
            return mask[y + 1 : min(y + h, height) + 1, x + 1 : min(x + w, width) + 1].sum() / (w * h)

        for t in np.flatnonzero((truth.image == image) & (truth.labels != REGION)):
            if share(truth.boxes[t]) < 0.5:
                kept_truth.add(t)
        rows = [p for p in np.flatnonzero(predictions.image == image) if share(predictions.boxes[p]) < 0.5]
        kept += rows[:cap]
    ap, ar, weights = [], [], []
    for label in range(len(truth.classes)):
        objects = [t for t in sorted(kept_truth) if truth.labels[t] == label]
        rows = [p for p in kept if predictions.labels[p] == label]
        weights.append(len({truth.image[t] for t in objects}))
        both = [plain_visdrone_class(truth, predictions, objects, rows, 0.5 + step * 0.05) for step in range(10)]
        ap.append(np.mean([pair[0] for pair in both]))
        ar.append(np.mean([pair[1] for pair in both]))
    return np.array(ap), np.array(ar), np.array(weights)


def plain_visdrone_class(truth, predictions, objects, rows, threshold):
    threshold = np.linspace(0.5, 0.95, 10)[round((threshold - 0.5) / 0.05)]
    ranked, taken = {}, set()
    for p in sorted(rows, key=lambda p: -predictions.scores[p]):
        best, chosen = threshold, None
        here = [t for t in objects if truth.image[t] == predictions.image[p]]
        for t in sorted(here, key=lambda t: truth.ignored[t]):
            if truth.ignored[t]:
                if chosen is not None and not truth.ignored[chosen]:
                    break
                value = overlap(predictions.boxes[p], truth.boxes[t]) / area(predictions.boxes[p])
            elif t in taken:
                continue
            else:
                value = box_iou(predictions.boxes[p], truth.boxes[t])
            if value >= best:
                best, chosen = value, t
        if chosen is None or not truth.ignored[chosen]:
            ranked[p] = chosen is not None
        taken.add(chosen)
    if not objects:
        return math.nan, math.nan
    judged = [(predictions.scores[p], ranked[p]) for p in in_order(predictions, ranked)]
    return plain_ap(judged, len(objects), "all-point"), sum(ranked.values()) / len(objects)


@settings(max_examples=60, deadline=None)
@given(sets(classes=("a", "others", "c")))
def test_visdrone_by_its_words(case):
    truth, predictions = case
    outcome = score_visdrone(truth, predictions)
    assert list(outcome.per_class) == ["a", "c"]
    for metric, cap, row in (("ap", 500, 0), ("ar_1", 1, 1), ("ar_10", 10, 1), ("ar_500", 500, 1)):
        *tables, weights = plain_visdrone(truth, predictions, cap)
        weights[1] = 0  # others are not judged
        table = tables[row]
        present = weights > 0
        wanted = np.average(table[present], weights=weights[present]) if present.any() else math.nan
        assert outcome.metrics[metric] == pytest.approx(wanted, abs=1e-9, nan_ok=True)
        assert outcome.per_class["c"][metric] == pytest.approx(table[2], abs=1e-9, nan_ok=True)
    counts = outcome.counts
    assert counts["predictions"] + counts["predictions_ignored"] + counts["predictions_capped"] == len(predictions)


def test_shares_of_regions_are_counted_in_pixels_of_the_toolkit():
    regions, boxes = np.array([[101, 101, 50, 50], [120, 90, 10, 100]], float), np.array([[110, 110, 20, 20]], float)
    first, sizes = np.zeros(1, np.intp), np.array([[200, 200]])
    assert shares_in_regions(boxes, first, regions, np.zeros(2, np.intp), sizes).tolist() == [1.0]
    half = np.array([[91, 101, 20, 10.4]])  # columns 92 to 111, of which 101 to 111 are covered
    assert shares_in_regions(half, first, regions[:1], first, sizes).tolist() == [11 / 20]
    assert shares_in_regions(half, first, regions[:1], first, np.zeros((1, 2), int)).tolist() == [11 / 20]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_says_what_the_others_say(name):
    rng = np.random.default_rng(3)
    images = Images(np.array(["1.jpg"], object), np.array([5]), np.array([[80, 80]]))
    truth = _objects(rng, images, CLASSES, 12, 1.0)
    predictions = replace(truth, scores=rng.random(12))
    outcome = PROTOCOLS[name].score(*[turned(part, 0.0) for part in (truth, predictions)], iou=PROTOCOLS[name].ious[0])
    for numbers in (outcome.metrics, *outcome.per_class.values()):
        assert {"ap", "precision", "recall", "f1", "score_threshold"} <= numbers.keys()
    assert {"truths", "predictions"} <= next(iter(outcome.per_class.values())).keys()
    assert list(outcome.counts) == [
        "images", "truths", "truths_ignored", "predictions", "predictions_ignored", "predictions_capped",
        "ignore_regions",
    ]  # fmt: skip
    assert outcome.settings.keys() >= {
        "iou_thresholds", "operating_iou", "max_dets", "cap_is_per", "area_ranges", "matching", "ignore_rule",
        "integral",
    }  # fmt: skip
    assert outcome.protocol == name
    assert (outcome.metrics["recall"], outcome.metrics["f1"]) == (1.0, 1.0)
    assert ("ap_percent" in outcome.metrics) == (name in {"uavdt", "uavdt-voc07"})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_nothing_to_find_is_undefined_and_nothing_found_is_zero(name):
    images = Images(np.array(["1.jpg"], object), np.array([5]), np.array([[80, 80]]))
    some = turned(_objects(np.random.default_rng(3), images, CLASSES, 12, 1.0), 0.0)
    none = some.rows(np.zeros(12, bool))
    score, iou = PROTOCOLS[name].score, PROTOCOLS[name].ious[0]
    missed = score(some, replace(none, scores=np.zeros(0)), iou=iou).metrics
    assert (missed["ap"], missed["recall"]) == (0.0, 0.0)
    assert math.isnan(missed["precision"])
    for predictions in (some, none):
        undefined = score(none, replace(predictions, scores=np.ones(len(predictions))), iou=iou)
        assert all(math.isnan(value) for value in undefined.metrics.values()), undefined.metrics


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_score_threshold_is_kept_to(name):
    images = Images(np.array(["1.jpg"], object), np.array([5]), np.array([[800, 800]]))
    truth = _objects(np.random.default_rng(3), images, CLASSES[:1], 4, 1.0)
    truth = replace(truth, boxes=truth.boxes + np.arange(4)[:, None] * 100)
    truth = turned(truth, 0.0)
    predictions = replace(truth, scores=np.array([0.9, 0.8, 0.7, 0.1]))
    metrics = PROTOCOLS[name].score(truth, predictions, iou=PROTOCOLS[name].ious[0], score=0.75).metrics
    assert (metrics["precision"], metrics["recall"], metrics["score_threshold"]) == (1.0, 0.5, 0.75)


def test_versions_of_dota_are_named():
    images = Images(np.array(["1.jpg"], object), np.array([5]), np.array([[80, 80]]))
    truth = _objects(np.random.default_rng(3), images, CLASSES, 2, 1.0)
    with pytest.raises(UsageError, match=r"version '3' of DOTA is unknown; choose one of 1.0, 1.5"):
        score_dota_task1(truth, replace(truth, scores=np.ones(2)), version="3")


def test_masks_are_no_oriented_boxes():
    images = Images(np.array(["1.jpg"], object), np.array([5]), np.array([[80, 80]]))
    truth = _objects(np.random.default_rng(3), images, CLASSES, 1, 1.0)
    mask = Runs(0, 0, 1, 1, mask_tools.encode(np.ones((1, 1), np.uint8, order="F"))["counts"])
    predictions = replace(truth, scores=np.ones(1), outlines=np.array([mask, None], object)[:1])
    with pytest.raises(InputError, match=r"predictions: 1 outlines are masks, the first in image 1.jpg"):
        score_dota_task1(truth, predictions)


def test_ap_without_predictions_or_truth():
    assert average_precision(np.zeros(0, bool), 3, "all-point") == 0.0
    assert math.isnan(average_precision(np.zeros(0, bool), 0, "11-point"))
