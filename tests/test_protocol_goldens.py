"""The hand-worked cases of tests/golden/protocols, each expected value read by a test here (09 by that of iSAID)."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.metrics.coco import ISAID_RANGES, score_coco, score_isaid
from d2det_geo.metrics.curves import average_precision, ranking
from d2det_geo.metrics.dota import score_dota_task2
from d2det_geo.metrics.uavdt import released_object_ap, score_uavdt, score_uavdt_voc07
from d2det_geo.metrics.visdrone import score_visdrone
from tests.coco_sets import COCO_RANGES, reference, reference_metrics, sets_of

FOLDER = Path(__file__).parent / "golden" / "protocols"


def golden(number):
    (path,) = FOLDER.glob(f"{number}_*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def near(value):
    return pytest.approx(value, abs=1e-6)


def scored(case, results=None, caps=None, protocol=None):
    truth, predictions = sets_of(case, case["detections"] if results is None else results)
    chosen = protocol or (score_isaid if case["protocol"]["max_dets"][-1] == 1000 else score_coco)
    return chosen(truth, predictions, iou="bbox", max_dets=caps)


def test_01_size_ranges_of_isaid():
    case = golden("01")
    expected = case["expected"]
    assert {name: list(ends) for name, ends in ISAID_RANGES.items()} == {
        name: ends for name, ends in case["protocol"]["area_ranges"].items() if name != "all"
    }
    metrics = scored(case).metrics
    for name, value in expected["AP"].items():
        assert metrics["ap" if name == "all" else f"ap_{name}"] == near(value)
    for name, value in expected["AR"].items():
        assert metrics[f"ar_{name.removeprefix('all@')}"] == near(value)
    in_coco = scored(case, protocol=score_coco).metrics
    for name, value in expected["AP_with_coco_ranges"].items():
        assert in_coco[f"ap_{name}"] == near(value)


@pytest.mark.parametrize("number", ["02", "03"])
def test_02_03_the_cap_is_per_image_and_class(number):
    case = golden(number)
    assert case["protocol"]["area_ranges"] == COCO_RANGES
    for cap, value in case["expected"]["AP_by_maxdets"].items():
        assert scored(case, caps=[int(cap)]).metrics["ap"] == near(value)
    for cap, value in case["expected"]["AR_by_maxdets"].items():
        assert scored(case, caps=[int(cap)]).metrics[f"ar_{cap}"] == near(value)


def test_04_three_integrals():
    case = golden("04")
    expected = case["expected"]
    outcome = scored(case)
    assert outcome.metrics["ap"] == near(expected["AP"]["all"])
    truth, predictions = sets_of(case, case["detections"])
    hits = outcome.verdicts.hits()[ranking(predictions)]
    assert average_precision(hits, len(truth), "all-point") == near(expected["voc_allpoint"])
    assert average_precision(hits, len(truth), "11-point") == near(expected["voc_11point"])


@pytest.mark.parametrize("number", ["05a", "05b", "05c"])
def test_05_equal_scores(number):
    case = golden(number)
    assert scored(case).metrics["ap"] == near(case["expected"]["AP"]["all"])
    if "AP_if_list_reversed" in case["expected"]:
        reversed_ap = scored(case, case["detections"][::-1]).metrics["ap"]
        assert reversed_ap == near(case["expected"]["AP_if_list_reversed"]["all"])


def test_06a_crowds():
    case = golden("06a")
    _, predictions = sets_of(case, case["detections"])
    outcome = scored(case)
    assert outcome.metrics["ap"] == near(case["expected"]["AP"]["all"])
    for threshold, value in case["expected"]["AP_by_iou"].items():
        row = round((float(threshold) - 0.5) / 0.05)
        order = ranking(predictions)
        order = order[~outcome.verdicts.ignored[row][order]]
        assert average_precision(outcome.verdicts.hits(row)[order], 1, "101-point") == near(value)


def test_06b_the_ignore_key_is_not_crowd():
    case = golden("06b")
    assert scored(case).metrics["ap"] == near(case["expected"]["AP"]["all"])
    fewer = scored(case, case["detections"][:1]).metrics["ap"]
    assert fewer == near(case["expected"]["AP_if_second_detection_dropped"]["all"])


def test_06c_annotation_id_zero():
    case = golden("06c")
    assert case["annotations"][0]["id"] == 0
    assert scored(case).metrics["ap"] == near(case["expected"]["AP"]["all"])
    quirk = reference_metrics(reference(case, case["detections"], renumber=False))["ap"]
    assert quirk == near(case["expected"]["AP_pycocotools_quirk"]["all"])


def frames_of(case):
    frames = range(1, case["num_frames"] + 1)
    return Images(
        names=np.array([f"{case['sequence']}/img{frame:06}.jpg" for frame in frames], object),
        ids=np.array(frames, np.int64),
        sizes=np.zeros((len(frames), 2), np.int64),
    )


def comma_rows(lines):
    return np.array([[float(value) for value in line.split(",")] for line in lines]).reshape(
        -1, 9 if not lines else lines[0].count(",") + 1
    )


def uavdt_sets(case):
    images = frames_of(case)
    objects, regions, found = (comma_rows(case[key]) for key in ("gt_whole", "gt_ignore", "detections"))
    rows = np.vstack([objects, regions]) if len(regions) else objects
    labels = np.concatenate([objects[:, 8] - 1, np.full(len(regions), REGION)]).astype(np.int64)
    truth = Annotations(
        images, ("car", "truck", "bus"), rows[:, 0].astype(int) - 1, edges(rows[:, 2:6]), labels, labels == REGION
    )
    predictions = Annotations(
        images,
        truth.classes,
        found[:, 0].astype(int) - 1,
        edges(found[:, 2:6]),
        found[:, 8].astype(int) - 1,
        np.zeros(len(found), bool),
        found[:, 6],
    )
    return truth, predictions


def edges(rows):
    return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])


def test_07a_ignore_regions_of_uavdt():
    case = golden("07a")
    expected = case["expected"]
    truth, predictions = uavdt_sets(case)
    outcome = score_uavdt(truth, predictions)
    assert outcome.metrics["ap_percent"] == expected["AP_percent"]
    assert predictions.scores[~outcome.verdicts.ignored[0]].tolist() == pytest.approx(expected["kept_scores"])
    assert outcome.counts["truths"] == expected["n_gt"]
    bare = score_uavdt(truth.rows(~truth.ignored), predictions)
    assert bare.metrics["ap_percent"] == expected["AP_percent_without_ignore"]


def test_07b_free_best_and_arg_max():
    case = golden("07b")
    truth, predictions = uavdt_sets(case)
    assert score_uavdt(truth, predictions).metrics["ap_percent"] == case["expected"]["AP_percent"]
    voc = score_uavdt_voc07(truth, predictions).metrics["ap_percent"]
    assert voc == case["expected"]["voc_matching_AP_percent_iou_gt_0.7"]


def test_07c_the_released_object_script():
    case = golden("07c")
    expected = case["expected"]
    truth, predictions = uavdt_sets(case)
    assert score_uavdt(truth, predictions).metrics["ap_percent"] == expected["AP_percent"]
    released = released_object_ap(truth, predictions)
    assert {name: round(100 * value, 2) for name, value in released.items()} == expected["AP_obj_percent"]
    for label, name in enumerate(truth.classes):
        by_class = score_uavdt(truth.rows(truth.labels == label), predictions.rows(predictions.labels == label))
        if name in expected["AP_class_aware_percent"]:
            assert by_class.metrics["ap_percent"] == expected["AP_class_aware_percent"][name]


def test_08_difficult_objects_of_dota():
    case = golden("08")
    expected = case["expected"]
    lines = [(place, line.split()) for place, name in enumerate(case["images"]) for line in case["gt"][name]]
    corners = np.array([line[:8] for _, line in lines], float).reshape(-1, 4, 2)
    difficult = np.array([int(line[9]) for _, line in lines])
    images = Images(np.array(case["images"], object), np.array([1, 2]), np.zeros((2, 2), np.int64))
    truth = Annotations(
        images,
        (case["classname"],),
        np.array([place for place, _ in lines]),
        np.hstack([corners.min(axis=1), corners.max(axis=1)]),
        np.zeros(len(lines), np.int64),
        difficult > 0,
        outlines=shapely.polygons(corners),
        columns={"difficult": difficult},
    )
    found = [line.split() for line in case["detections"]]
    predictions = Annotations(
        images,
        truth.classes,
        np.array([case["images"].index(row[0]) for row in found]),
        np.array([row[2:] for row in found], float),
        np.zeros(len(found), np.int64),
        np.zeros(len(found), bool),
        np.array([row[1] for row in found], float),
    )
    for version, prefix in (("1.0", ""), ("1.5", "v1.5_")):
        outcome = score_dota_task2(truth, predictions, version=version)
        assert outcome.metrics["ap"] == near(expected[f"{prefix}AP_11point"])
        assert outcome.metrics["ap_allpoint"] == near(expected[f"{prefix}AP_allpoint"])
        assert outcome.counts["truths"] == expected[f"{prefix}n_pos"]


def test_10_ignored_regions_and_caps_of_visdrone():
    case = golden("10")
    expected = case["expected"]
    classes = tuple(f"c{number}" for number in range(1, 11))
    rows, found = comma_rows(case["gt"]), comma_rows(case["detections"])
    images = Images(np.array(["1.jpg"], object), np.array([1]), np.array([[case["width"], case["height"]]]))
    labels = rows[:, 5].astype(np.int64) - 1  # category 0 is a region
    truth = Annotations(
        images, classes, np.zeros(len(rows), np.int64), edges(rows), labels, (rows[:, 4] == 0) | (labels == REGION)
    )
    predictions = Annotations(
        images,
        classes,
        np.zeros(len(found), np.int64),
        edges(found),
        found[:, 5].astype(np.int64) - 1,
        np.zeros(len(found), bool),
        found[:, 4],
    )
    outcome = score_visdrone(truth, predictions)
    assert outcome.settings["max_dets"] == case["protocol"]["max_dets"]
    assert outcome.counts["truths"] == expected["kept_gt"]
    kept = predictions.scores[~outcome.verdicts.ignored[0]].tolist()
    assert kept == pytest.approx(expected["kept_det_scores"])
    for category, value in expected["AP_per_class"].items():
        assert outcome.per_class[f"c{category}"]["ap"] == near(value)
    for category, value in expected["AR_1_per_class"].items():
        assert outcome.per_class[f"c{category}"]["ar_1"] == near(value)
