"""COCO JSON: every key it may have, every way it can be wrong, and back again unchanged."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from d2det_geo.annotations import REGION, Runs
from d2det_geo.data.formats import coco, coco_write
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError
from tests.annotation_sets import annotations, assert_same, images, masks, polygons, sets

IMAGES = [
    {"id": 7, "file_name": "d/a.png", "width": 60, "height": 40},
    {"id": 3, "file_name": "b.png", "width": 20, "height": 10},
]
CLASSES = [{"id": 9, "name": "car"}, {"id": 2, "name": "boat"}]
RING = [1, 2, 4.5, 2, 4.5, 6]
ROUND_TRIP = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def box(*bbox, image=7, category=9, **more):
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}


def document(*rows, **keys):
    return {"images": IMAGES, "categories": CLASSES, "annotations": list(rows), **keys}


@pytest.fixture
def truth(tmp_path):
    """Read a document as truth."""

    def read(content, **reading):
        path = tmp_path / "gt.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return coco.read(path, Reading(**reading))

    return read


@pytest.fixture
def results(tmp_path, truth):
    """Read a document as results of two images and two classes."""
    known = truth(document())

    def read(content):
        path = tmp_path / "dt.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return coco.read_results(path, known, Reading())

    return read


def test_truth_by_hand(truth):
    found = truth(
        document(
            box(1, 2, 3.5, 4, id=0, area=9, iscrowd=0, segmentation=[RING]),
            box(
                0,
                0,
                5,
                5,
                id=12,
                image=3,
                category=2,
                iscrowd=1,
                segmentation={"size": [10, 20], "counts": [3, 2, 195]},
            ),
            box(2, 2, 1, 1, id=4, image=3, ignore=1, segmentation=[]),
        )
    )
    assert found.images.names.tolist() == ["d/a.png", "b.png"]
    assert found.images.ids.tolist() == [7, 3]
    assert found.images.sizes.tolist() == [[60, 40], [20, 10]]
    assert (found.images.groups, found.images.windows, found.images.gsd_m, found.images.tags) == (None, None, None, {})
    assert (found.classes, found.class_ids) == (("car", "boat"), (9, 2))
    assert found.image.tolist() == [0, 1, 1]
    assert found.boxes.tolist() == [[1, 2, 4.5, 6], [0, 0, 5, 5], [2, 2, 3, 3]]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.ignored.tolist() == [False, True, False]
    assert found.columns["ignore"].tolist() == [False, False, True]
    assert found.scores is None
    assert found.areas.tolist() == [9, 2, 1]  # stated, of the mask, of the box
    assert found.columns["id"].tolist() == [0, 12, 4]
    ring, runs, nothing = found.outlines
    assert shapely.get_coordinates(ring).tolist() == [[1, 2], [4.5, 2], [4.5, 6], [1, 2]]
    assert (runs.x, runs.y, runs.width, runs.height, nothing) == (0, 0, 20, 10, None)


def test_a_box_may_be_left_to_the_outline(truth):
    found = truth(
        document(
            {"image_id": 7, "category_id": 9, "segmentation": [RING, [10, 10, 12, 10, 12, 13]]},
            {"image_id": 3, "category_id": 9, "bbox": None, "segmentation": {"size": [10, 20], "counts": [13, 2, 185]}},
        )
    )
    assert found.boxes.tolist() == [[1, 2, 12, 13], [1, 3, 2, 5]]
    assert found.areas is None
    assert found.columns == {}


def test_rings_stay_as_they_are(truth):
    crossing, flat, closed = [0, 0, 4, 4, 4, 0, 0, 4], [3, 4, 8, 10, 3, 4], [0, 0, 0, 5, 5, 5, 0, 0]
    found = truth(document(*(box(0, 0, 9, 9, segmentation=[ring]) for ring in (crossing, flat, closed))))
    points = [shapely.get_coordinates(outline).ravel().tolist() for outline in found.outlines]
    assert points[0] == [*crossing, 0, 0]
    assert points[1][:6] == flat
    assert points[2] == closed
    assert [outline.is_valid for outline in found.outlines] == [False, False, True]


def test_objects_may_be_flat_as_one_of_coco_is(truth):
    found = truth(document(box(296.5, 10, 1, 0), box(3, 4, 0, 5)))
    assert found.boxes.tolist() == [[296.5, 10, 297.5, 10], [3, 4, 3, 9]]
    assert not found.ignored.any()


def test_regions_are_crowds_of_their_own_class(truth):
    classes = [{"id": 1, "name": "car"}, {"id": 4, "name": "ignore"}, {"id": 6, "name": "boat"}]
    rows = [box(1, 1, 2, 2, category=6), box(0, 0, 9, 9, category=4, iscrowd=1), box(1, 1, 3, 3, category=1)]
    found = truth(document(*rows, categories=classes))
    assert (found.classes, found.class_ids) == (("car", "boat"), (1, 6))
    assert found.labels.tolist() == [1, REGION, 0]
    assert found.ignored.tolist() == [False, True, False]
    real = truth(document(*rows, box(5, 5, 1, 1, category=4), categories=classes))
    assert real.classes == ("car", "ignore", "boat")
    assert real.labels.tolist() == [2, 1, 0, 1]


def test_what_is_ours_of_images(truth):
    rows = [{**row, "gsd_m": 0.5, "window": [0, 10 * i, 60, 40], "scene": "s.tif"} for i, row in enumerate(IMAGES)]
    found = truth(document(images=[{**rows[0], "tags": ["night", "fog"]}, {**rows[1], "tags": ["fog"]}])).images
    assert found.gsd_m.tolist() == [0.5, 0.5]
    assert found.windows.tolist() == [[0, 0, 60, 40], [0, 10, 60, 40]]
    assert found.groups.tolist() == ["s.tif", "s.tif"]
    assert {name: flags.tolist() for name, flags in found.tags.items()} == {"night": [True, False], "fog": [True, True]}
    partly = truth(document(images=[rows[0], IMAGES[1]])).images
    assert np.array_equal(partly.gsd_m, [0.5, np.nan], equal_nan=True)
    assert (partly.windows, partly.groups) == (None, None)


def test_sizes_that_are_not_said_are_measured(truth, tmp_path):
    content = document(box(1, 1, 2, 2), images=[{"id": 7, "file_name": "d/a.png"}, IMAGES[1]])
    assert truth(content).images.sizes.tolist() == [[0, 0], [20, 10]]
    (tmp_path / "d").mkdir()
    Image.new("L", (31, 17)).save(tmp_path / "d" / "a.png")
    assert truth(content, images=tmp_path).images.sizes.tolist() == [[31, 17], [20, 10]]
    content["images"][0]["file_name"] = "../a.png"
    with pytest.raises(InputError, match=r"gt\.json: images\[0\]\.file_name: '\.\./a\.png' leads out of"):
        truth(content, images=tmp_path)


def test_results_by_hand(results):
    mask = coco_mask.encode(np.asfortranarray(np.eye(10, 20, dtype=np.uint8)))["counts"].decode()
    found = results(
        [
            box(1, 2, 0, 4, score=0.5),
            box(1, 2, 50, 40, category=2, score=1, segmentation=[RING]),
            {"image_id": 3, "category_id": 2, "score": -3.5, "segmentation": {"size": [10, 20], "counts": mask}},
        ]
    )
    assert found.boxes.tolist() == [[1, 2, 1, 6], [1, 2, 51, 42], [0, 0, 10, 10]]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.scores.tolist() == [0.5, 1, -3.5]
    assert not found.ignored.any()
    assert found.areas is None  # what the outline covers counts, not the box beside it
    assert found.outlines[0] is None
    assert found.outlines[1].area == 7
    assert found.outlines[2].counts == mask.encode()


def test_nothing_is_legal(truth, results):
    found = truth(document())
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    nothing = results([])
    assert (len(nothing), nothing.scores.tolist(), nothing.outlines) == (0, [], None)
    assert len(truth(document(categories=[]))) == 0


def test_results_have_the_very_images_of_their_truth(tmp_path, truth):
    known = truth(document())
    (tmp_path / "dt.json").write_text("[]")
    found = coco.read_results(tmp_path / "dt.json", known, Reading())
    assert found.images is known.images
    assert (found.classes, found.class_ids) == (known.classes, known.class_ids)


def test_a_set_needs_no_annotations(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"images": IMAGES, "categories": CLASSES}))
    found = coco.read_set(path, Reading())
    assert (len(found.images), found.classes, found.class_ids) == (2, ("car", "boat"), (9, 2))
    with pytest.raises(InputError, match=r"test\.json: annotations is missing"):
        coco.read(path, Reading())


NAN, INF = float("nan"), float("inf")
ROWS = [  # of truth and of results
    (box(1, 2, -3, 4), r"\.bbox must be \[x, y, width, height\] .*, got \[1, 2, -3, 4\]"),
    (box(NAN, 2, 3, 4), r"\.bbox must be .*got \[nan, 2"),
    (box(1, -INF, 3, 4), r"\.bbox must be .*-inf"),
    (box(1, 2, 3, 1e7), r"\.bbox must be .*up to 1e\+06"),
    (box(1, 2, 3, 10**400), r"\.bbox must be "),
    (box(1, 2, 3), r"\.bbox must be "),
    (box(1, 2, 3, "4"), r"\.bbox must be .*'4'"),
    (box(1, 2, 3, True), r"\.bbox must be .*True"),
    (box(1, 2, 3, None), r"\.bbox must be .*None"),
    ({**box(), "bbox": "1 2 3 4"}, r"\.bbox must be .*'1 2 3 4'"),
    ({"image_id": 7, "category_id": 9}, r"\.bbox is missing; it must be \[x, y, width, height\]"),
    (box(1, 2, 3, 4, image=4), r"\.image_id: .* no image with id 4"),
    (box(1, 2, 3, 4, image=10**30), r"\.image_id must be an integer, got 1000"),
    (box(1, 2, 3, 4, image="7"), r"\.image_id must be an integer, got '7'"),
    (box(1, 2, 3, 4, image=7.0), r"\.image_id must be an integer, got 7\.0"),
    (box(1, 2, 3, 4, image=None), r"\.image_id is missing; it must be an integer"),
    (box(1, 2, 3, 4, category=1), r"\.category_id: .* no category with id 1"),
    (box(1, 2, 3, 4, category=True), r"\.category_id must be an integer, got True"),
    ([1, 2], r" must be an object, got \[1, 2\]"),
    (box(1, 2, 3, 4, segmentation=[[1, 2, 3, 4]]), r"\.segmentation\[0\] must be .* at least 6 numbers, got 4"),
    (box(1, 2, 3, 4, segmentation=[RING, [*RING, 1]]), r"\.segmentation\[1\] must be .*even count"),
    (box(1, 2, 3, 4, segmentation=[[*RING, NAN, 0]]), r"\.segmentation\[0\] must be .*up to 1e\+06"),
    (box(1, 2, 3, 4, segmentation=[[*RING, "x", 0]]), r"\.segmentation\[0\] must be "),
    (box(1, 2, 3, 4, segmentation=RING), r"\.segmentation\[0\] must be .*, got 1"),
    (box(1, 2, 3, 4, segmentation=[[]]), r"\.segmentation\[0\] must be .*got 0"),
    (box(1, 2, 3, 4, segmentation="abc"), r"\.segmentation must be a list of rings .*, got 'abc'"),
    (box(1, 2, 3, 4, segmentation={"counts": "a"}), r"\.segmentation\.size must be \[40, 60\].*got None"),
    (box(1, 2, 3, 4, segmentation={"size": [60, 40], "counts": [2400]}), r"\.segmentation\.size must be \[40, 60\]"),
    (box(1, 2, 3, 4, segmentation={"size": [40, 60], "counts": None}), r"\.segmentation\.counts must be a string or"),
    (box(1, 2, 3, 4, segmentation={"size": [40, 60], "counts": [1.5, 2]}), r"\.segmentation\.counts must be a string"),
    *(
        (box(1, 2, 3, 4, segmentation={"size": [40, 60], "counts": counts}), r"\.segmentation\.counts do not add up")
        for counts in ("", "0", "~~~~", "abc", "é", [1, 2], [-4, 2404], [], [2**70], "o" * 30 + "0")
    ),
]
TRUTH_ROWS = [
    *ROWS,
    (box(1, 2, -1, 4), r"\.bbox must be .*at least 0, got \[1, 2, -1, 4\]"),
    (box(1, 2, 3, 4, iscrowd=2), r"\.iscrowd must be 0 or 1, got 2"),
    (box(1, 2, 3, 4, iscrowd="no"), r"\.iscrowd must be 0 or 1, got 'no'"),
    (box(1, 2, 3, 4, ignore=[1]), r"\.ignore must be 0 or 1, got \[1\]"),
    (box(1, 2, 3, 4, area=-1), r"\.area must be a number of 0 to 1e\+12, got -1"),
    (box(1, 2, 3, 4, area=NAN), r"\.area must be a number"),
]
RESULT_ROWS = [
    *((row, message) if isinstance(row, list) else ({**row, "score": 0.5}, message) for row, message in ROWS),
    (box(1, 2, 3, 4), r"\.score is missing; it must be a number"),
    (box(1, 2, 3, 4, score=NAN), r"\.score must be a number .*, got nan"),
    (box(1, 2, 3, 4, score="0.5"), r"\.score must be a number .*, got '0\.5'"),
    (box(1, 2, 3, 4, score=True), r"\.score must be a number .*, got True"),
]


@pytest.mark.parametrize(("row", "message"), TRUTH_ROWS)
def test_wrong_annotations_are_named(truth, tmp_path, row, message):
    good = box(1, 2, 3, 4, area=3, segmentation=[RING])
    with pytest.raises(InputError, match=r"gt\.json: annotations\[2\]" + message) as caught:
        truth(document(good, {**good, "segmentation": {"size": [40, 60], "counts": [2400]}}, row))
    assert str(caught.value).startswith(f"{tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("row", "message"), RESULT_ROWS)
def test_wrong_results_are_named(results, row, message):
    with pytest.raises(InputError, match=r"dt\.json: results\[1\]" + message) as caught:
        results([box(1, 2, 3, 4, score=1), row])
    assert "\n" not in str(caught.value)


def test_ids_are_unique(truth):
    with pytest.raises(InputError, match=r"annotations: id 0 appears 2 times, at \[0\] and \[3\]; make ids unique"):
        truth(document(box(1, 2, 3, 4, id=0), box(1, 2, 3, 4), box(1, 2, 3, 4, id=1), box(1, 2, 3, 4, id=0)))
    with pytest.raises(InputError, match=r"annotations\[1\]\.id must be an integer, got '4'"):
        truth(document(box(1, 2, 3, 4), box(1, 2, 3, 4, id="4")))
    assert truth(document(box(1, 2, 3, 4, id=0), box(1, 2, 3, 4))).columns == {}  # nobody needs them


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 7}, r"images: id 7 appears 2 times, at \[0\] and \[1\]"),
        ({"id": None}, r"images\[1\]\.id is missing; it must be an integer"),
        ({"file_name": "d/a.png"}, r"images\[1\]\.file_name is 'd/a\.png' like that of \[0\]; make names unique"),
        ({"file_name": ""}, r"images\[1\]\.file_name must be a name, got ''"),
        ({"file_name": 3}, r"images\[1\]\.file_name must be a name, got 3"),
        ({"width": 0}, r"images\[1\]\.width must be an integer of at least 1, got 0"),
        ({"height": -3}, r"images\[1\]\.height must be an integer of at least 1, got -3"),
        ({"height": None}, r"images\[1\]\.height is missing"),
        ({"width": 20.0}, r"images\[1\]\.width must be an integer .*20\.0"),
        ({"gsd_m": -1.0}, r"images\[1\]\.gsd_m must be a number"),
    ],
)
def test_wrong_images_are_named(truth, image, message):
    with pytest.raises(InputError, match=rf"gt\.json: {message}"):
        truth(document(images=[IMAGES[0], {**IMAGES[1], **image}]))


def test_wrong_windows_and_tags_are_named(truth):
    for key, value in (("window", [1, 2, 3]), ("window", [1, 2, 3, 4.5]), ("tags", "night"), ("scene", 4)):
        rows = [{**IMAGES[0], key: value}, {**IMAGES[1], key: value}]
        with pytest.raises(InputError, match=rf"gt\.json: images\[0\]\.{key} must be "):
            truth(document(images=rows))


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({"id": 9, "name": "x"}, r"categories: id 9 appears 2 times"),
        ({"id": 1, "name": "car"}, r"categories\[1\]\.name is 'car' like that of \[0\]"),
        ({"id": 1}, r"categories\[1\]\.name is missing"),
        ({"name": "x"}, r"categories\[1\]\.id is missing"),
    ],
)
def test_wrong_categories_are_named(truth, category, message):
    with pytest.raises(InputError, match=message):
        truth(document(categories=[CLASSES[0], category]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"Invalid JSON"),
        ('{"images": [{"id"', r"Invalid JSON \(.*\); is it cut short\?"),
        ('{"images": [', r"Invalid JSON \(it ends too soon\); is it cut short\?"),
        ('{"images": "a', r"Invalid JSON"),
        ("{'images': []}", r"Invalid JSON \(Expecting property name .*, line 1, column 2\)"),
        ("[" * 100_000, r"Invalid JSON \(nested too deep\)"),
        ('{"images": [], "annotations": [], "categories": []}', r"images is empty; a set needs at least 1 image"),
        ('{"annotations": [], "categories": []}', r"images is missing; is this a COCO file\?"),
        ('{"images": {}, "annotations": [], "categories": []}', r"images must be a list, got dict"),
        ("[]", r"COCO truth is an object with images, .*; this is a list of 0"),
        (
            '[{"image_id": 1, "score": 2}]',
            r"COCO truth is .*; this is a list of 1, the first with image_id, score \(results, not truth\?\)",
        ),
        ("3", r"COCO truth is .*; this is 3"),
        ('{"type": "FeatureCollection", "features": []}', r"images is missing"),
    ],
)
def test_files_that_are_not_coco(truth, text, message):
    with pytest.raises(InputError, match=rf"gt\.json: {message}"):
        truth(text)


def test_files_that_are_not_results(results):
    with pytest.raises(
        InputError, match=r"dt\.json: COCO results are a list .* this is an object with images.*truth, not"
    ):
        results(document())
    with pytest.raises(InputError, match=r"dt\.json: Invalid JSON \(it ends too soon\)"):
        results('[{"image_id": 7, ')


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"images": "\x80"}')
    for path, message in (
        (tmp_path / "x.json", "Invalid JSON"),
        (tmp_path, "cannot be read"),
        (tmp_path / "n", "cannot"),
    ):
        with pytest.raises(InputError, match=message):
            coco.read(path, Reading())


def test_a_file_too_large_for_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4_000_000_000))
    started = time.perf_counter()
    with pytest.raises(
        InputError, match=r"huge\.json: reading its 2\.0 GB of JSON takes up to 16 GB .* 4\.0 GB are free"
    ):
        coco.read(path, Reading())
    assert time.perf_counter() - started < 1


def test_masks_cover_what_pycocotools_says(tmp_path, capsys):
    rng = np.random.default_rng(4)
    rows, drawn = [], []
    for index in range(40):
        cells = np.asfortranarray((rng.random((40, 60)) < rng.random()).astype(np.uint8))
        packed = coco_mask.encode(cells)["counts"].decode()
        drawn.append(packed)
        plain = np.diff(np.flatnonzero(np.diff(cells.T.ravel(), prepend=0, append=2)), prepend=0).tolist()
        rows.append(
            box(0, 0, 60, 40, id=index + 1, segmentation={"size": [40, 60], "counts": (packed, plain)[index % 2]})
        )
        x, y, width, height = (int(v) for v in rng.integers(1, 20, 4))
        ring = [x, y, x + width, y, x + width, y + height, x, y + height]
        rows.append(box(x, y, width, height, id=index + 101, segmentation=[ring]))
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document(*rows)))
    found = coco.read(path, Reading())
    coco_write.write(found, tmp_path / "back.json")
    for file in (path, tmp_path / "back.json"):
        oracle = COCO(str(file))
        capsys.readouterr()
        theirs = [oracle.annToRLE(oracle.anns[number]) for number in found.columns["id"].tolist()]
        back = json.loads((tmp_path / "back.json").read_text())["annotations"]
        assert [row["area"] for row in back] == coco_mask.area(theirs).tolist()
    ours = [outline.counts.decode() for outline in found.outlines if isinstance(outline, Runs)]
    assert ours == drawn


@ROUND_TRIP
@given(truth=sets(regions=True, outlines=polygons() | masks()))
def test_truth_comes_back_as_it_was(truth, tmp_path):
    path = tmp_path / "gt.json"
    coco_write.write(truth, path)
    assert_same(coco.read(path, Reading()), truth)


@ROUND_TRIP
@given(found=sets(scored=True, outlines=polygons() | masks()))
def test_results_come_back_as_they_were(found, tmp_path):
    path = tmp_path / "dt.json"
    coco_write.write_results(found, path)
    assert_same(coco.read_results(path, found, Reading()), found)


def test_ids_and_what_is_ours_come_back(truth, tmp_path):
    rows = [{**row, "gsd_m": 0.5, "window": [0, 9 * i, 60, 40], "scene": f"s{i}"} for i, row in enumerate(IMAGES)]
    rows = [{**rows[0], "tags": ["night"]}, {**rows[1], "tags": []}]
    known = truth(document(box(1, 2, 3, 4, id=0, area=5), box(1, 2, 3, 4, id=8, area=7), images=rows))
    coco_write.write(known, tmp_path / "back.json")
    back = coco.read(tmp_path / "back.json", Reading())
    assert json.loads((tmp_path / "back.json").read_text())["images"] == rows
    assert back.class_ids == known.class_ids
    assert back.areas.tolist() == [5, 7]
    assert back.columns["id"].tolist() == [0, 8]


def test_crops_are_written_over_the_whole_image(tmp_path):
    cells = np.zeros((40, 60), np.uint8)
    cells[5:9, 50:60] = cells[7, 55] = 1
    crop = coco_mask.encode(np.asfortranarray(cells[4:12, 50:60]))["counts"]
    found = annotations(
        [{"image": 0, "box": (50, 5, 60, 9), "label": 0, "score": 0.5, "outline": Runs(50, 4, 10, 8, crop)}],
        images("a.png"),
        ("car",),
    )
    coco_write.write_results(found, tmp_path / "dt.json")
    (row,) = json.loads((tmp_path / "dt.json").read_text())
    whole = coco_mask.encode(np.asfortranarray(cells))
    assert row["segmentation"] == {"size": [40, 60], "counts": whole["counts"].decode()}
    outside = annotations(
        [{"image": 0, "box": (0, 0, 1, 1), "label": 0, "outline": Runs(55, 4, 10, 8, crop)}], found.images, ("car",)
    )
    with pytest.raises(InputError, match=r"image a\.png: .*leaves the image of 60 x 40 px"):
        coco_write.write(outside, tmp_path / "gt.json")


def test_holes_are_cut_open(tmp_path):
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 10, 10))
    known = annotations([{"image": 0, "box": (0, 0, 20, 20), "label": 0, "outline": ring}], images("a.png"), ("car",))
    coco_write.write(known, tmp_path / "gt.json")
    (outline,) = coco.read(tmp_path / "gt.json", Reading()).outlines
    assert outline.area == 375
    assert shapely.equals(shapely.union_all(shapely.get_parts(outline)), ring)


def test_supercategories_are_read_and_come_back(truth, tmp_path):
    def kinds(*said):
        classes = [{"id": place, "name": f"c{place}", **item} for place, item in enumerate(said)]
        row = box(1, 2, 3, 4, category=0, iscrowd=1)
        return truth(document(row, categories=classes))

    assert kinds({}, {"supercategory": ""}, {"supercategory": None}).supercategories is None
    known = kinds({"supercategory": "vehicle"}, {"supercategory": ""}, {})
    assert known.supercategories == ("vehicle", "c1", "c2")
    coco_write.write(known, tmp_path / "back.json")
    assert coco.read(tmp_path / "back.json", Reading()).supercategories == known.supercategories
    region = kinds({"name": "ignore", "supercategory": "vehicle"}, {"supercategory": "ship"})
    assert (region.classes, region.supercategories) == (("c1",), ("ship",))
    with pytest.raises(InputError, match=r"gt\.json: categories\[1\]\.supercategory must be a text, got 3"):
        kinds({}, {"supercategory": 3})


def test_regions_get_a_category_of_their_own(tmp_path):
    rows = [{"image": 0, "box": (0, 0, 9, 9), "label": REGION, "ignored": True}]
    known = annotations(rows, images("a.png"), ("car", "boat"), class_ids=(4, 11))
    coco_write.write(known, tmp_path / "gt.json")
    content = json.loads((tmp_path / "gt.json").read_text())
    assert content["categories"] == [{"id": 4, "name": "car"}, {"id": 11, "name": "boat"}, {"id": 12, "name": "ignore"}]
    assert content["annotations"][0]["category_id"] == 12
    assert content["annotations"][0]["iscrowd"] == 1


@settings(deadline=None, max_examples=20)
@given(st.binary(max_size=60))
def test_no_bytes_are_a_traceback(data):
    path = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")  # noqa: S108
    path = path / "d2det_test_format_coco.json"
    path.write_bytes(data)
    try:
        with pytest.raises(InputError):
            coco.read(path, Reading())
    finally:
        path.unlink()


def test_rings_that_close_themselves_twice_come_back(truth, tmp_path):
    rings = ([0, 0, 5, 0, 5, 5, 0, 0, 0, 0], [3, 4, 8, 10, 3, 4], [1, 1, 1, 1, 1, 1, 1, 1])
    known = truth(document(*(box(0, 0, 9, 9, segmentation=[ring]) for ring in rings)))
    coco_write.write(known, tmp_path / "back.json")
    assert_same(coco.read(tmp_path / "back.json", Reading()), known)


@pytest.mark.parametrize("side", [10**12, 10**18, 1_000_001])
def test_sides_of_images_are_bounded(truth, side):
    content = document(box(1, 2, 3, 4))
    content["images"] = [IMAGES[0], IMAGES[1] | {"width": side}]
    with pytest.raises(InputError, match=rf"images\[1\]\.width must be an integer of 1 to 1e\+06, px, got {side}"):
        truth(content)
    content = document(box(1, 2, 3, 4, segmentation={"size": [side, side], "counts": [side * side]}))
    content["images"] = [{"id": row["id"], "file_name": row["file_name"]} for row in IMAGES]
    with pytest.raises(InputError, match=r"annotations\[0\]\.segmentation\.size must be"):
        truth(content)
