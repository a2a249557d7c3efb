import copy
import math

import numpy as np
import pytest
from pycocotools import mask as mask_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2det_geo.errors import InputError
from d2det_geo.metrics.classes import ClassRules
from d2det_geo.metrics.coco_documents import score_documents
from d2det_geo.metrics.coco_input import decoded_runs, parse_results, parse_truth


def truth_of(*rows, names=("ship",), images=1):
    """Annotations (image, category, box[, extra fields]) numbered from 0, as the iSAID devkit does."""
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3], **extra}
        for number, (image, category, box, extra) in enumerate((*row, {})[:4] for row in rows)
    ]
    return {
        "images": [{"id": image, "height": 300, "width": 2000} for image in range(1, images + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": annotations,
    }


def results_of(*rows):
    """Results (image, category, box, score)."""
    return [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
        for image, category, box, score in rows
    ]


def evaluate(truth, results, iou="bbox", rules=None, score=None):
    parsed = parse_truth(truth, iou, rules or ClassRules(), "truth.json")
    return score_documents(parsed, parse_results(results, parsed, iou, "pred.json"), iou, score=score)


FIRST, SECOND, FAR = (0, 0, 40, 40), (200, 0, 40, 40), (500, 200, 40, 40)


def test_duplicates_by_hand():
    truth = truth_of((1, 1, FIRST), (1, 1, SECOND))
    result = evaluate(truth, results_of((1, 1, FIRST, 0.9), (1, 1, FIRST, 0.8), (1, 1, SECOND, 0.7)))
    assert result.ap == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)  # right, wrong, right of two
    assert (result.precision, result.recall, result.f1, result.score_threshold) == (2 / 3, 1.0, 0.8, 0.7)


def test_annotation_id_zero_is_found_like_any_other():
    truth = truth_of((1, 1, FIRST), (1, 1, SECOND))
    assert truth["annotations"][0]["id"] == 0
    result = evaluate(truth, results_of((1, 1, FIRST, 0.9), (1, 1, SECOND, 0.8)))
    assert result.ap == 1.0  # the bare library says 51 / 202


def test_crowds_absorb_by_intersection_over_result():
    truth = truth_of((1, 1, FIRST), (1, 1, (200, 0, 100, 100), {"iscrowd": 1}))
    results = results_of(
        (1, 1, FIRST, 0.5),
        (1, 1, (210, 10, 20, 20), 0.9),  # inside: ignored at every threshold
        (1, 1, (250, 50, 20, 20), 0.8),
        (1, 1, (290, 50, 20, 20), 0.7),  # half inside: ignored at IoU 0.50, wrong above
    )
    result = evaluate(truth, results)
    assert (result.ap50, result.ap75, result.ap) == (1.0, 0.5, pytest.approx(0.55))
    assert result.counts == {"truths": 1, "truths_ignored": 1, "predictions": 1, "predictions_ignored": 3}


def test_the_ignore_key_is_honoured():
    truth = truth_of((1, 1, FIRST), (1, 1, SECOND, {"iscrowd": 0, "ignore": 1}))
    assert evaluate(truth, results_of((1, 1, FIRST, 0.5))).ap == 1.0  # the bare library asks for the second too
    assert evaluate(truth, results_of((1, 1, FIRST, 0.5), (1, 1, SECOND, 0.9))).ap == 1.0


@pytest.mark.parametrize(("order", "expected"), [((FAR, FIRST), 0.5), ((FIRST, FAR), 1.0)])
def test_ties_keep_the_order_of_the_results(order, expected):
    assert evaluate(truth_of((1, 1, FIRST)), results_of(*((1, 1, box, 0.5) for box in order))).ap == expected


def test_ties_across_images_follow_the_image_ids():
    results = results_of((2, 1, FIRST, 0.5), (1, 1, FAR, 0.5))
    assert evaluate(truth_of((2, 1, FIRST), images=2), results).ap == 0.5
    assert evaluate(truth_of((1, 1, FAR), images=2), results).ap == 1.0


def test_no_result_is_dropped_by_a_cap():
    grid = [(10 * (index % 40), 10 * (index // 40), 8, 8) for index in range(120)]
    truth = truth_of(*((1, 1, box) for box in grid))
    result = evaluate(truth, results_of(*((1, 1, box, 1 - index / 1000) for index, box in enumerate(grid))))
    assert (result.ap, result.recall) == (1.0, 1.0)  # the library's default of 100 results says 0.83


def test_classes_are_merged_and_dropped_by_name():
    truth = truth_of((1, 1, FIRST), (1, 2, SECOND), (1, 3, FAR), names=("car", "truck", "building"))
    results = results_of((1, 2, FIRST, 0.9), (1, 1, SECOND, 0.8), (1, 3, (0, 200, 9, 9), 0.7))
    rules = ClassRules({"car": "vehicle", "truck": "vehicle", "building": ""})
    assert evaluate(truth, results).ap == 0.0
    merged = evaluate(truth, results, rules=rules)
    assert (merged.ap, list(merged.per_class), merged.counts["predictions"]) == (1.0, ["vehicle"], 2)
    del truth["annotations"][2]["bbox"]  # a dropped object needs no outline
    assert evaluate(truth, results, rules=rules).ap == 1.0


def test_an_ignore_class_absorbs_results_of_every_class():
    truth = truth_of((1, 1, FIRST), (1, 2, SECOND), (1, 3, (400, 100, 300, 200)), names=("car", "bus", "unknown"))
    results = results_of((1, 1, FIRST, 0.5), (1, 2, SECOND, 0.5), (1, 1, FAR, 0.9), (1, 2, FAR, 0.9), (1, 3, FAR, 0.9))
    result = evaluate(truth, results, rules=ClassRules(ignore=("unknown",)))
    assert (result.ap, result.precision) == (1.0, 1.0)
    assert result.counts == {"truths": 2, "truths_ignored": 0, "predictions": 2, "predictions_ignored": 2}
    assert list(result.per_class) == ["bus", "car"]


def test_images_without_annotations_count():
    result = evaluate(truth_of((2, 1, FIRST), images=2), results_of((2, 1, FIRST, 0.5), (1, 1, FIRST, 0.9)))
    assert result.ap == 0.5


def test_empty_truth_and_empty_results():
    assert math.isnan(evaluate(truth_of(), results_of((1, 1, FIRST, 0.9))).ap)
    assert math.isnan(evaluate(truth_of(), []).recall)
    nothing = evaluate(truth_of((1, 1, FIRST)), [])
    assert (nothing.ap, nothing.recall, nothing.f1) == (0, 0, 0)
    assert math.isnan(nothing.precision)


def test_standard_output_stays_clean(capfd):
    evaluate(truth_of((1, 1, FIRST)), results_of((1, 1, FIRST, 0.9)))
    assert capfd.readouterr().out == ""


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def runs(x, y, side, *, compressed):
    mask = np.zeros((300, 2000), np.uint8, order="F")
    mask[y : y + side, x : x + side] = 1
    encoded = mask_tools.encode(mask)
    if compressed:
        return {"size": [300, 2000], "counts": encoded["counts"].decode()}
    return {"size": [300, 2000], "counts": decoded_runs(encoded["counts"].decode())}


@pytest.mark.parametrize("kind", ["polygon", "compressed", "runs"])
def test_masks_of_every_encoding(kind):
    truth = truth_of(*((1, 1, FIRST, {"segmentation": square(x, 20, 40)}) for x in (10, 100)))
    shape = square(10, 20, 40) if kind == "polygon" else runs(10, 20, 40, compressed=kind == "compressed")
    result = evaluate(truth, [{"image_id": 1, "category_id": 1, "segmentation": shape, "score": 0.9}], "segm")
    assert result.ap == pytest.approx(51 / 101, abs=1e-12)  # one of two, exactly
    assert evaluate(truth, results_of((1, 1, (10, 20, 40, 40), 0.9))).ap == 0  # boxes say something else


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_decode_as_pycocotools_does(seed):
    dense = np.random.default_rng(seed).random((31, 77)) < 0.1 + 0.2 * seed
    mask = np.asfortranarray(dense, np.uint8)
    counts = decoded_runs(mask_tools.encode(mask)["counts"].decode())
    filled = np.repeat(np.arange(len(counts)) % 2, counts).reshape(77, 31).T
    np.testing.assert_array_equal(filled, mask)


def random_documents(seed, iou):
    random = np.random.default_rng(seed)

    def rows(count, **columns):
        for index in range(count):
            x, y, width, height = (int(value) for value in random.integers([0, 0, 8, 8], [14, 14, 14, 14]))
            outline = [[x, y, x + width, y, x + width, y + height, x, y + height]]
            shape = {"bbox": [x, y, width, height]} if iou == "bbox" else {"segmentation": outline}
            place = {"image_id": int(random.integers(1, 4)), "category_id": int(random.integers(1, 4))}
            yield {**place, **shape, **{name: make(index) for name, make in columns.items()}}

    fields = {"id": lambda index: index + 1, "area": lambda _: 100, "iscrowd": lambda _: int(random.random() < 0.15)}
    truth = {
        "images": [{"id": image, "height": 70, "width": 90} for image in (1, 2, 3)],
        "categories": [{"id": number, "name": f"class{number}"} for number in (1, 2, 3)],
        "annotations": list(rows(40, **fields)),
    }
    return truth, list(rows(70, score=lambda _: float(random.choice([0.1, 0.3, 0.3, 0.7, 0.9]))))


@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_library_used_by_hand(seed, iou, capsys):
    truth, results = random_documents(seed, iou)
    index = COCO()
    index.dataset = copy.deepcopy(truth)
    index.createIndex()
    encoded = copy.deepcopy(results)
    for row in encoded if iou == "segm" else []:
        row["segmentation"] = mask_tools.frPyObjects(row["segmentation"], 70, 90)[0]  # the library takes no polygons
    evaluation = COCOeval(index, index.loadRes(encoded), iou)
    evaluation.params.maxDets = [1, 10, 100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    capsys.readouterr()
    scores = evaluate(truth, results, iou)
    expected = [precision.mean(), precision[0].mean(), precision[5].mean()]
    assert 0.02 < scores.ap < 0.9
    np.testing.assert_allclose([scores.ap, scores.ap50, scores.ap75], expected, rtol=0, atol=1e-12)
    for number in (1, 2, 3):
        assert scores.per_class[f"class{number}"].ap == pytest.approx(precision[:, :, number - 1].mean(), abs=1e-12)


def test_documents_are_left_as_they_were():
    truth, results = random_documents(1, "segm")
    before = copy.deepcopy((truth, results))
    evaluate(truth, results, "segm")
    assert (truth, results) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, r"pred.json: \[1\].image_id is 9, which the truth does not list"),
        ({"image_id": "1"}, r"\[1\].image_id must be an integer, got '1'"),
        ({"image_id": True}, r"\[1\].image_id must be an integer, got True"),
        ({"category_id": 4}, r"\[1\].category_id is 4, which the truth does not list"),
        ({"category_id": None}, r"\[1\].category_id must be an integer, got None"),
        ({"score": float("nan")}, r"\[1\].score must be a number .*, got nan"),
        ({"score": "0.5"}, r"\[1\].score must be a number .*, got '0.5'"),
        ({"score": None}, r"\[1\].score must be a number .*, got None"),
        ({"score": 10**400}, r"\[1\].score must be a number"),
        ({"bbox": [0, 0, 5]}, r"\[1\].bbox must be \[x, y, width, height\]"),
        ({"bbox": [0, 0, -5, 5]}, r"\[1\].bbox must be \[x, y, width, height\]"),
        ({"bbox": [0, 0, float("inf"), 5]}, r"\[1\].bbox must be a number .*, got inf"),
        ({"bbox": "0 0 5 5"}, r"\[1\].bbox must be a list of numbers"),
        ({"bbox": None}, r"\[1\].bbox is missing; add it, or compare by the other IoU \(segm\)"),
    ],
)
def test_a_bad_result_is_named(change, message):
    results = results_of((1, 1, FIRST, 0.9), (1, 1, SECOND, 0.8))
    results[1] |= change
    with pytest.raises(InputError, match=message):
        evaluate(truth_of((1, 1, FIRST)), results)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "is missing; add it, or compare by the other IoU"),
        ([[0, 0, 5, 5]], r"segmentation\[0\] must be \[x1, y1, x2, y2, x3, y3"),
        ([[0, 0, 5, 0, 5, 5, 0]], r"segmentation\[0\] must be \[x1, y1, x2, y2, x3, y3"),
        ([[0, 0, 5, 0, 5, 1e9]], r"segmentation\[0\] must be a number of at most 1e\+06"),
        ("polygon", "must be a list of numbers"),
        ([0, 0, 5, 0, 5, 5], r"segmentation\[0\] must be a list of numbers, got 0"),
        ({"size": [2000, 300], "counts": "0"}, r"size must be \[300, 2000\] like the image, got \[2000, 300\]"),
        ({"size": [300, 2000], "counts": [5, 5]}, "do not add up to an image of 300 x 2000 px; is it cut short"),
        ({"size": [300, 2000], "counts": [700_000, -100_000]}, "do not add up"),
        ({"size": [300, 2000], "counts": []}, "do not add up"),
        ({"size": [300, 2000], "counts": [600_000.0]}, "must be a string or a list of integers"),
        ({"size": [300, 2000], "counts": ""}, "do not add up"),
        ({"size": [300, 2000], "counts": "été"}, "do not add up"),
        ({"size": [300, 2000], "counts": runs(10, 20, 40, compressed=True)["counts"][:-3]}, "is it cut short"),
        ({"size": [300, 2000]}, "must be a string or a list of integers, got None"),
    ],
)
def test_a_bad_mask_is_named(shape, message):
    truth = truth_of((1, 1, FIRST, {"segmentation": square(10, 20, 40)}))
    with pytest.raises(InputError, match=message):
        evaluate(truth, [{"image_id": 1, "category_id": 1, "segmentation": shape, "score": 0.9}], "segm")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), [], "truth.json: a COCO truth is an object with images, annotations and categories"),
        (("images",), None, "truth.json: images must be a list, got NoneType; is this a COCO file"),
        (("annotations",), {}, "truth.json: annotations must be a list, got dict"),
        (("annotations", 0), 7, r"annotations\[0\] must be an object, got 7"),
        (("annotations", 0, "image_id"), 5, r"annotations\[0\].image_id is 5"),
        (("annotations", 0, "bbox"), [0, 0, float("nan"), 1], r"annotations\[0\].bbox must be a number"),
        (("annotations", 0, "iscrowd"), "no", r"annotations\[0\].iscrowd must be 0 or 1, got 'no'"),
        (("categories", 0, "name"), "", r"categories\[0\].name must be a name"),
        (("categories", 0, "id"), 1.0, r"categories\[0\].id must be an integer, got 1.0"),
        (("images", 0, "id"), 2**70, r"images\[0\].id must be an integer"),
    ],
)
def test_a_bad_truth_is_named(path, value, message):
    holder = {"document": truth_of((1, 1, FIRST))}
    place = holder
    for key in ("document", *path)[:-1]:
        place = place[key]
    place[("document", *path)[-1]] = value
    with pytest.raises(InputError, match=message):
        evaluate(holder["document"], [])


@pytest.mark.parametrize("size", [{"height": 0}, {"width": None}])
def test_masks_need_the_size_of_the_image(size):
    truth = truth_of((1, 1, FIRST, {"segmentation": square(10, 20, 40)}))
    truth["images"][0] |= size
    with pytest.raises(InputError, match=r"truth.json: images\[0\]"):
        evaluate(truth, [], "segm")
    assert evaluate(truth, []).recall == 0  # boxes do without


def test_results_are_a_list():
    with pytest.raises(
        InputError, match=r"pred.json: COCO results are a list of \{image_id, category_id, bbox, score\}"
    ):
        evaluate(truth_of((1, 1, FIRST)), {"annotations": []})
