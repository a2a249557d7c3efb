import math
import tracemalloc

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pyproj import Geod

from d2det_geo.metrics.geo import frame_for, match_objects, shares_inside
from d2det_geo.metrics.matching import candidate_pairs
from d2det_geo.metrics.scores import Matches, Scores, average_precision, summarise


def boxes(*rows):
    """Polygons of boxes (x, y, width, height)."""
    values = np.array(rows, np.float64).reshape(-1, 4)
    return shapely.box(values[:, 0], values[:, 1], values[:, 0] + values[:, 2], values[:, 1] + values[:, 3])


def score(truth, predictions, scores, **options) -> Scores:
    """One class, all truths to be found unless ``truth_ignored`` says otherwise."""
    truth_ignored = options.pop("truth_ignored", None)
    labels = np.zeros(len(truth), np.int64), np.zeros(len(predictions), np.int64)
    threshold, scores = options.pop("score", None), np.array(scores)
    return summarise(
        [match_objects(truth, labels[0], truth_ignored, predictions, labels[1], scores, **options)], threshold
    )


def test_average_precision_by_hand():
    # Right, wrong, right of 2: (recall, precision) = (1/2, 1), (1/2, 1/2), (1, 2/3).
    # The envelope is 1 at the 51 recalls 0 .. 0.50 and 2/3 at the other 50.
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-15)
    assert average_precision(np.array([True]), 4) == pytest.approx(26 / 101, abs=1e-15)  # recalls 0 .. 0.25
    assert average_precision(np.zeros(0, bool), 3) == 0
    assert math.isnan(average_precision(np.array([False]), 0))


def test_a_duplicate_is_wrong():
    truth = boxes((0, 0, 40, 40), (200, 0, 40, 40))
    result = score(truth, boxes((0, 0, 40, 40), (0, 0, 40, 40), (200, 0, 40, 40)), [0.9, 0.8, 0.7])
    assert result.ap == pytest.approx(0.834983498349835, abs=1e-12)
    assert (result.precision, result.recall, result.f1) == (2 / 3, 1.0, 0.8)
    assert result.score_threshold == 0.7
    assert result.counts == {"truths": 2, "truths_ignored": 0, "predictions": 3, "predictions_ignored": 0}


def test_ap_counts_the_thresholds_an_overlap_reaches():
    # IoU 30 / 40 = 0.75: right at 0.50, 0.55, 0.60, 0.65, 0.70, 0.75 (>=), wrong above.
    result = score(boxes((0, 0, 10, 4)), boxes((0, 0, 10, 3)), [0.5])
    assert (result.ap, result.ap50, result.ap75) == (pytest.approx(0.6), 1.0, 1.0)


def test_holes_are_respected():
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(1, 1, 9, 9))
    solid = np.array([shapely.box(0, 0, 10, 10)], object)
    assert score(np.array([ring], object), solid, [0.9]).ap50 == 0  # 36 / 100
    assert score(np.array([ring], object), solid, [0.9], boxes=True).ap == 1.0
    assert score(np.array([ring], object), np.array([ring], object), [0.9]).ap == 1.0


def test_invalid_polygons_are_repaired():
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])  # two triangles of area 4
    triangles = shapely.MultiPolygon([([(0, 0), (2, 2), (0, 4)],), ([(4, 0), (2, 2), (4, 4)],)])
    assert score(np.array([triangles], object), np.array([bow_tie], object), [0.9]).ap == 1.0
    assert score(np.array([bow_tie], object), np.array([triangles], object), [0.9]).ap == 1.0


def test_best_f1_is_at_the_end_of_equal_scores():
    truth = boxes((0, 0, 4, 4), (10, 0, 4, 4), (20, 0, 4, 4))
    predictions = boxes((0, 0, 4, 4), (50, 0, 4, 4), (10, 0, 4, 4), (60, 0, 4, 4), (70, 0, 4, 4))
    result = score(truth, predictions, [0.9, 0.9, 0.5, 0.2, 0.2])
    # F1: 2/(2+3) at 0.9 (the wrong one comes with the right one), 4/(3+3) at 0.5, 4/(5+3) at 0.2.
    assert (result.score_threshold, result.f1) == (0.5, pytest.approx(2 / 3))
    assert (result.precision, result.recall) == (2 / 3, 2 / 3)
    fixed = score(truth, predictions, [0.9, 0.9, 0.5, 0.2, 0.2], score=0.9)
    assert (fixed.precision, fixed.recall, fixed.f1, fixed.score_threshold) == (0.5, 1 / 3, 0.4, 0.9)
    assert fixed.ap == result.ap


def test_ignored_truths_are_neither_found_nor_missed():
    truth = boxes((0, 0, 4, 4), (10, 0, 4, 4))
    ignored = np.array([False, True])
    found = score(truth, boxes((0, 0, 4, 4), (10, 0, 4, 4)), [0.5, 0.9], truth_ignored=ignored)
    assert (found.ap, found.precision, found.recall) == (1.0, 1.0, 1.0)
    assert found.counts == {"truths": 1, "truths_ignored": 1, "predictions": 1, "predictions_ignored": 1}
    # An ignored truth takes one prediction only: the second is wrong, and comes before the right one.
    twice = score(truth, boxes((0, 0, 4, 4), (10, 0, 4, 4), (10, 0, 4, 4)), [0.5, 0.9, 0.8], truth_ignored=ignored)
    assert (twice.ap, twice.counts["predictions"]) == (0.5, 2)


def test_a_truth_that_counts_is_preferred_to_a_better_ignored_one():
    truth = boxes((0, 0, 10, 10), (0, 0, 10, 8))
    result = score(truth, boxes((0, 0, 10, 8)), [0.9], truth_ignored=np.array([False, True]))
    assert result.ap50 == 1.0  # IoU 0.8 with the one that counts, 1.0 with the ignored one
    assert result.ap == pytest.approx(0.7)  # 0.50 .. 0.80; above it goes to the ignored truth, and nothing is found


def test_ignored_predictions_are_right_when_they_find_something():
    predictions = boxes((0, 0, 4, 4), (50, 0, 4, 4))
    flags = np.array([True, True])
    result = score(boxes((0, 0, 4, 4)), predictions, [0.3, 0.9], predictions_ignored=flags)
    assert (result.ap, result.precision, result.recall) == (1.0, 1.0, 1.0)
    assert result.counts["predictions_ignored"] == 1
    assert score(boxes((0, 0, 4, 4)), predictions, [0.3, 0.9]).ap == 0.5


def test_classes_never_mix_and_the_mean_is_over_those_of_the_truth():
    truth = boxes((0, 0, 4, 4), (10, 0, 4, 4), (20, 0, 4, 4))
    predictions = boxes((0, 0, 4, 4), (10, 0, 4, 4), (30, 0, 4, 4), (40, 0, 4, 4))
    names = np.array(["car", "ship", "tree", "tree"])
    scores = np.array([0.9, 0.8, 0.95, 0.6])
    result = summarise([match_objects(truth, np.array(["car", "car", "ship"]), None, predictions, names, scores)])
    car, ship, tree = (result.per_class[name] for name in ("car", "ship", "tree"))
    assert (car.ap50, car.recall, ship.ap50) == (pytest.approx(51 / 101), 0.5, 0.0)
    assert result.ap == pytest.approx(51 / 202)
    # Pooled over car and ship: at 0.9 one right of one; the trees are no part of it.
    assert (result.score_threshold, result.precision, result.recall, result.f1) == (0.9, 1.0, 1 / 3, 0.5)
    assert math.isnan(tree.ap)
    assert math.isnan(tree.precision)
    assert tree.counts["predictions"] == 2
    assert result.counts["predictions"] == 4
    numbers, scores = np.array([0, 7, 9, 9]), np.array([0.9, 0.8, 0.7, 0.6])
    numbered = summarise([match_objects(truth, np.array([0, 0, 7]), None, predictions, numbers, scores)])
    assert numbered.per_class["0"].ap50 == pytest.approx(51 / 101)


def test_without_truth_nothing_is_defined():
    result = score(boxes(), boxes((0, 0, 4, 4)), [0.9])
    assert all(math.isnan(value) for value in result.metrics().values())
    assert result.counts["predictions"] == 1
    only_ignored = score(boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4)), [0.9], truth_ignored=np.array([True]))
    assert math.isnan(only_ignored.ap)
    assert math.isnan(score(boxes(), boxes(), []).recall)


def test_without_predictions_recall_is_zero_and_precision_undefined():
    result = score(boxes((0, 0, 4, 4), (9, 9, 3, 3)), boxes(), [])
    assert (result.ap, result.ap50, result.recall, result.f1) == (0, 0, 0, 0)
    assert math.isnan(result.precision)
    assert math.isnan(result.score_threshold)


def test_degenerate_shapes_never_match():
    line = np.array([shapely.Polygon([(0, 0), (4, 0), (2, 0)]), shapely.Polygon()], object)
    result = score(line, line, [0.9, 0.8], boxes=True)
    assert (result.ap, result.counts["predictions"]) == (0, 2)
    assert score(line, line, [0.9, 0.8]).ap == 0


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="scores has 2 rows for 1 objects"):
        score(boxes((0, 0, 1, 1)), boxes((0, 0, 1, 1)), [0.9, 0.8])


box_rows = st.lists(st.tuples(*[st.integers(0, 2)] * 2, *[st.integers(4, 7)] * 2), max_size=7)


@st.composite
def images(draw):
    """One image: integer boxes that often overlap, few distinct scores, three classes, ignored ones."""
    truth, predictions = draw(box_rows), draw(box_rows)
    classes = st.sampled_from([0, 0, 1, 2])
    flags = st.booleans() if draw(st.booleans()) else st.just(False)

    def column(values, rows, dtype):
        return np.array(draw(st.lists(values, min_size=len(rows), max_size=len(rows))), dtype)

    scores = column(st.sampled_from([0.2, 0.5, 0.5, 0.9]), predictions, np.float64)
    return (
        (boxes(*truth), column(classes, truth, np.int64), column(flags, truth, bool)),
        (boxes(*predictions), column(classes, predictions, np.int64), scores, column(flags, predictions, bool)),
    )


def coco_index(groups):
    """Build pycocotools' structure. An area of 9 stands for ignored: the range under test ends at 5."""
    rows = []
    for image, (shapes, labels, ignored, scores) in enumerate(groups):
        for shape, label, flag, value in zip(shapes, labels, ignored, scores, strict=True):
            x1, y1, x2, y2 = shape.bounds
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": 9.0 if flag else 1.0,
                    "iscrowd": 0,
                    "score": value,
                }
            )
    index = COCO()
    index.dataset = {
        "images": [{"id": image} for image in range(len(groups))],
        "categories": [{"id": label} for label in range(3)],
        "annotations": rows,
    }
    index.createIndex()
    return index


def pycocotools_ap(scenes):
    truth = coco_index([(*scene[0], np.ones(len(scene[0][0]))) for scene in scenes])
    found = coco_index([(shapes, labels, flags, values) for _, (shapes, labels, values, flags) in scenes])
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.params.maxDets = [1000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 5]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # [T, R, K]
    known = precision[:, :, (precision > -1).all(axis=(0, 1))]
    if known.size == 0:
        return [math.nan] * 3
    return [known.mean(), known[0].mean(), known[5].mean()]


@settings(deadline=None, max_examples=60)
@given(scenes=st.lists(images(), min_size=1, max_size=3), as_boxes=st.booleans())
def test_equals_pycocotools(scenes, as_boxes):
    parts = [match_objects(*truth, *predictions, boxes=as_boxes) for truth, predictions in scenes]
    result = summarise(parts)
    expected = pycocotools_ap(scenes)
    np.testing.assert_allclose([result.ap, result.ap50, result.ap75], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_equals_pycocotools_in_crowds(seed):
    random = np.random.default_rng(seed)

    def image():
        places = random.integers(0, 12, (50, 2)), random.integers(0, 12, (70, 2))
        rows = [np.column_stack([place, random.integers(4, 8, place.shape)]) for place in places]
        labels = [random.integers(0, 3, len(place)) for place in places]
        flags = [random.random(len(place)) < 0.2 for place in places]
        scores = random.choice([0.1, 0.3, 0.35, 0.6, 0.8], 70)
        return (boxes(*rows[0]), labels[0], flags[0]), (boxes(*rows[1]), labels[1], scores, flags[1])

    scenes = [image() for _ in range(3)]
    result = summarise([match_objects(*truth, *predictions) for truth, predictions in scenes])
    assert 0.02 < result.ap < result.ap50 < 0.98
    expected = pycocotools_ap(scenes)
    np.testing.assert_allclose([result.ap, result.ap50, result.ap75], expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(scene=images(), angle=st.floats(0, 360), dx=st.integers(-9, 9))
def test_moving_everything_changes_nothing(scene, angle, dx):
    truth, predictions = scene

    def moved(shapes):
        turn = np.radians(angle)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return shapely.transform(shapes, lambda points: points @ matrix + [dx, 2.5])

    # Turned corners are rounded: an IoU on a threshold may fall off it, equal ones may change places.
    pairs = candidate_pairs(truth[0], truth[1], predictions[0], predictions[1])
    assume(not np.isclose(pairs.ious[:, None], np.linspace(0.5, 0.95, 10)).any())
    assume(len(np.unique(np.round(pairs.ious, 9))) == len(pairs.ious))
    before = match_objects(*truth, *predictions)
    after = match_objects(moved(truth[0]), *truth[1:], moved(predictions[0]), *predictions[1:])
    np.testing.assert_array_equal(before.hits, after.hits)
    np.testing.assert_array_equal(before.ignored, after.ignored)


def test_candidates_are_all_pairs_above_a_half():
    random = np.random.default_rng(3)
    truth = boxes(*np.column_stack([random.uniform(0, 20, (130, 2)), random.uniform(2, 9, (130, 2))]))
    predictions = boxes(*np.column_stack([random.uniform(0, 20, (1100, 2)), random.uniform(2, 9, (1100, 2))]))
    labels = random.integers(0, 3, 130), random.integers(0, 3, 1100)
    overlap = shapely.area(shapely.intersection(truth[:, None], predictions[None]))
    ious = overlap / (shapely.area(truth)[:, None] + shapely.area(predictions)[None] - overlap)
    expected = np.argwhere((ious >= 0.5) & (labels[0][:, None] == labels[1][None]))
    assert len(expected) > 200
    for as_boxes in (False, True):
        pairs = candidate_pairs(truth, labels[0], predictions, labels[1], boxes=as_boxes)
        order = np.lexsort((pairs.predictions, pairs.truths))
        np.testing.assert_array_equal(np.column_stack([pairs.truths, pairs.predictions])[order], expected)
        np.testing.assert_allclose(pairs.ious, ious[pairs.truths, pairs.predictions], rtol=1e-12)


def test_many_objects_need_no_matrix():
    random = np.random.default_rng(5)
    rows = np.column_stack([random.uniform(0, 4000, (20_000, 2)), random.uniform(5, 20, (20_000, 2))])
    truth, predictions = boxes(*rows), boxes(*(rows + np.array([0.1, -0.1, 0, 0])))
    tracemalloc.start()
    result = score(truth, predictions, random.uniform(size=len(rows)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.ap50 == 1.0
    assert peak < 100e6  # a matrix of 20,000 x 20,000 booleans alone has 400 MB


def test_frames_keep_their_order_in_ties():
    def part(hit):
        return Matches(
            np.zeros(1, np.int64),
            np.zeros(1, bool),
            np.zeros(1, np.int64),
            np.full(1, 0.5),
            np.full((10, 1), hit),
            np.zeros((10, 1), bool),
        )

    # Two truths, one found: first place gives precision 1 up to recall 1/2, second place 1/2.
    assert summarise([part(True), part(False)]).ap == pytest.approx(51 / 101)
    assert summarise([part(False), part(True)]).ap == pytest.approx(51 / 202)


def test_shares_inside_by_hand():
    area = shapely.box(0, 0, 10, 10).difference(shapely.box(4, 4, 6, 6))
    objects = boxes((1, 1, 2, 2), (9, 0, 4, 3), (8, 5, 4, 1), (20, 0, 1, 1), (4, 4, 2, 2), (3, 3, 4, 4))
    np.testing.assert_allclose(shares_inside(objects, area), [1, 0.25, 0.5, 0, 0, 0.75])
    assert shares_inside(boxes(), area).shape == (0,)
    assert shares_inside(np.array([shapely.Polygon()], object), area).tolist() == [0]


@pytest.mark.parametrize(("longitude", "latitude"), [(24.7, 59.4), (179.99995, -17.0), (-43.2, 0.0), (10.0, 89.0)])
def test_the_frame_is_equal_area_and_centred(longitude, latitude):
    half = 0.0002
    ring = [(longitude + x, latitude + y) for x, y in ((-half, -half), (half, -half), (half, half), (-half, half))]
    frame = gpd.GeoDataFrame(geometry=[shapely.Polygon(ring)], crs="EPSG:4326")
    crs = frame_for(frame, frame.iloc[:0])
    moved = frame.to_crs(crs).geometry.iloc[0]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*ring, strict=True))
    assert moved.area == pytest.approx(area, rel=1e-6)
    assert np.hypot(*moved.centroid.coords[0]) < 150  # the centre is rounded to 0.001 degrees
    assert crs.axis_info[0].unit_name == "metre"


def test_the_frame_does_not_depend_on_the_files_crs_or_the_antimeridian():
    fiji = gpd.GeoDataFrame(geometry=[shapely.box(179.8, -17.1, 179.9, -17.0)], crs="EPSG:4326")
    beyond = gpd.GeoDataFrame(geometry=[shapely.box(-179.9, -17.1, -179.8, -17.0)], crs="EPSG:4326")
    both = pd.concat([fiji, beyond]).to_crs(frame_for(fiji, beyond))
    x_min, _, x_max, _ = both.total_bounds
    assert x_max - x_min == pytest.approx(42_600, rel=0.01)  # 0.4 degrees of longitude at 17 S, not the way round
    assert x_max == pytest.approx(-x_min, rel=0.01)
    assert frame_for(fiji) == frame_for(fiji.to_crs("EPSG:32760")) == frame_for(fiji.to_crs("EPSG:3832"))
