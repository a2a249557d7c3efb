"""VisDrone's files: regions, ignored objects, order of rows, every bad line named, round trips."""

import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import format_named
from d2det_geo.data.formats.visdrone import CLASSES, read, read_results, write, write_results
from d2det_geo.errors import InputError
from d2det_geo.pipeline.evaluate import evaluate_files


def put(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "annotations" / "a_10.txt", "684,8,273,116,0,0,0,0", "406,119,265,70,1,4,1,2,", "10,20,3,0,0,2,0,1")
    put(tmp_path / "annotations" / "a_2.txt")
    return tmp_path


def test_truth_by_hand(folder):
    truth = read(folder, Reading())
    assert truth.classes == CLASSES
    assert (CLASSES[0], CLASSES[8], CLASSES[10]) == ("pedestrian", "bus", "others")
    assert truth.images.names.tolist() == ["a_2.jpg", "a_10.jpg"]
    assert truth.image.tolist() == [1, 1, 1]
    assert truth.boxes.tolist() == [[684, 8, 957, 124], [406, 119, 671, 189], [10, 20, 13, 20]]
    assert truth.labels.tolist() == [REGION, 3, 1]
    assert truth.ignored.tolist() == [True, False, True]
    assert truth.columns["truncation"].tolist() == [0, 1, 0]
    assert truth.columns["occlusion"].tolist() == [0, 2, 1]
    assert truth.scores is None
    direct = read(folder / "annotations", Reading())
    assert direct.boxes.tolist() == truth.boxes.tolist()


def test_names_and_sizes_come_from_images(folder, tmp_path):
    for name, size in (("a_2.png", (7, 5)), ("a_10.jpg", (9, 4)), ("more.jpg", (3, 3))):
        (folder / "images").mkdir(exist_ok=True)
        Image.new("RGB", size).save(folder / "images" / name)
    for truth in (read(folder, Reading()), read(folder / "annotations", Reading(images=folder / "images"))):
        assert truth.images.names.tolist() == ["a_2.png", "a_10.jpg"]
        assert truth.images.sizes.tolist() == [[7, 5], [9, 4]]
    (folder / "images" / "a_2.png").unlink()
    with pytest.raises(InputError, match=r"annotations.a_2.txt: its image is missing in .*images; add it"):
        read(folder, Reading())
    (folder / "images" / "a_2.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"a_2.png: cannot be read as an image"):
        read(folder, Reading())
    Image.new("RGB", (4, 4)).save(folder / "images" / "a_2.jpg")
    with pytest.raises(InputError, match=r"a_2.(png|jpg): there is also a_2.(png|jpg); keep one"):
        read(folder, Reading())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3,4,1,4,0", "has 7 columns; give 8: left, top"),
        ("1,2,3,4,1,4,0,0,0", "has 9 columns; give 8"),
        ("1,2,x,4,1,4,0,0", "width is 'x'; give a finite number"),
        ("1,2,-3,4,1,4,0,0", "width is -3; give 0 or more px"),
        ("1,2,3,4,1,12,0,0", "category is 12; give a whole number from 0 to 11"),
        ("1,2,3,4,2,4,0,0", "score is 2; give a whole number from 0 to 1"),
        ("1,2,3,4,0.5,4,0,0", "score is 0.5; give a whole number from 0 to 1"),
    ],
)
def test_each_bad_line_of_truth_is_named(tmp_path, line, said):
    file = put(tmp_path / "a.txt", "1,2,3,4,1,4,0,0", "", line)
    with pytest.raises(InputError) as caught:
        read(tmp_path, Reading())
    assert str(caught.value).startswith(f"{file}:3: {said}")


def test_detections_keep_the_order_of_their_file(folder):
    truth = read(folder, Reading())
    put(folder / "res" / "a_10.txt", "1.5,2,3,4,0.2,4,-1,-1", "1,2,3,4,0.9,11", "1,2,3,4,0.5,1,-1,-1,")
    reading = Reading()
    found = read_results(folder / "res", truth, reading)
    assert found.images is truth.images
    assert found.classes == truth.classes
    assert found.image.tolist() == [1, 1, 1]
    assert found.scores.tolist() == [0.2, 0.9, 0.5]
    assert found.labels.tolist() == [3, 10, 0]
    assert found.boxes[0].tolist() == [1.5, 2, 4.5, 6]
    assert not found.ignored.any()
    assert reading.notices == [f"{folder / 'res'}: has no file of a_2; nothing was found there"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3,4,0.5,0,-1,-1", "category is 0; give a whole number from 1 to 11"),
        ("1,2,3,4,0.5,5,-1,-1", "category 5 is van, which the truth does not have; its classes are car, bus"),
        ("1,2,-1,4,0.5,4,-1,-1", "width is -1; give 0 or more px"),
        ("1,2,3,4,nan,4,-1,-1", "score is 'nan'; give a finite number"),
        ("1,2,3,4,0.5", "has 5 columns; give 6 to 8: left"),
    ],
)
def test_each_bad_detection_is_named(folder, line, said):
    truth = read(folder, Reading())
    two = Annotations(truth.images, ("car", "bus"), truth.image, truth.boxes, truth.labels * 0, truth.ignored)
    file = put(folder / "res" / "a_2.txt", "1,2,3,4,0.5,9,-1,-1", line)
    with pytest.raises(InputError) as caught:
        read_results(folder / "res", two, Reading())
    assert str(caught.value).startswith(f"{file}:2: {said}")


def test_detections_may_be_of_no_size(folder):
    put(folder / "res" / "a_10.txt", "406,119,0,70,0.9,4,-1,-1", "690,10,0,0,0.8,4,-1,-1", "406,119,265,70,0.5,4,-1,-1")
    outcome = evaluate_files(folder, folder / "res", protocol="visdrone")
    assert outcome.metrics["ap"] < 1
    assert (outcome.counts["predictions"], outcome.counts["predictions_ignored"]) == (2, 1)


def test_many_images_without_detections_take_no_time(folder):
    names = np.array([f"{number}.jpg" for number in range(20_000)], dtype=object)
    images = Images(names, np.arange(1, 20_001), np.zeros((20_000, 2), dtype=np.int64))
    none = np.zeros(0, dtype=np.int64)
    truth = Annotations(images, CLASSES, none, np.zeros((0, 4)), none, none.astype(bool))
    for number in range(300):
        put(folder / "res" / f"{number}.txt")
    reading, begin = Reading(), perf_counter()
    read_results(folder / "res", truth, reading)
    assert perf_counter() - begin < 1
    assert "19694 more" in reading.notices[0]


def test_detections_of_what_is_not_there(folder):
    truth = read(folder, Reading())
    put(folder / "res" / "b.txt", "1,2,3,4,0.5,9,-1,-1")
    with pytest.raises(InputError, match=r"b.txt:1: the truth has no image 'b'"):
        read_results(folder / "res", truth, Reading())
    (folder / "none").mkdir()
    with pytest.raises(InputError, match=r"none: holds no .txt file; give the folder of VisDrone"):
        read_results(folder / "none", truth, Reading())


def test_an_empty_truth_and_no_detections(tmp_path):
    truth = read(put(tmp_path / "a.txt").parent, Reading())
    assert (len(truth), len(truth.images)) == (0, 1)
    found = read_results(put(tmp_path / "res" / "a.txt").parent, truth, Reading())
    assert len(found) == 0


def test_the_golden_case_is_read(tmp_path):
    case = json.loads((Path(__file__).parent / "golden/protocols/10_visdrone_ignored_and_maxdets.json").read_text())
    truth = read(put(tmp_path / "gt" / "a.txt", *case["gt"]).parent, Reading())
    assert truth.labels.tolist() == [REGION, 3, 3, 8]
    found = read_results(put(tmp_path / "res" / "a.txt", *case["detections"]).parent, truth, Reading())
    assert found.labels.tolist() == [3, 3, 8, 3]


@st.composite
def annotations(draw, scored):
    names = np.array(["x/a.jpg", "b.jpg", "c.jpg"], dtype=object)
    images = Images(names, np.array([1, 2, 3]), np.zeros((3, 2), dtype=np.int64))
    count = draw(st.integers(0, 10))

    def many(strategy, kind):
        return np.array(draw(st.lists(strategy, min_size=count, max_size=count)), dtype=kind)

    place = st.floats(0, 3000, width=32)
    corner = np.column_stack([many(place, float), many(place, float)])
    size = np.column_stack([many(st.floats(0.25, 900), float) for _ in range(2)])
    labels = many(st.integers(0 if scored else -1, 10), np.int64)
    flags = many(st.booleans(), bool)
    said = {name: many(st.integers(0, 2), np.int64) for name in ("truncation", "occlusion")}
    return Annotations(
        images,
        CLASSES,
        np.sort(many(st.integers(0, 2), np.int64)),
        np.hstack((corner, corner + size)),
        labels,
        np.zeros(count, dtype=bool) if scored else flags | (labels == REGION),
        scores=-np.sort(-many(st.floats(0, 1), float)) if scored else None,
        columns={} if scored else said,
    )


def same(first, second):
    assert [Path(name).stem for name in first.images.names] == [Path(name).stem for name in second.images.names]
    for name in ("image", "boxes", "labels", "ignored"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist(), name
    assert {name: column.tolist() for name, column in first.columns.items()} == {
        name: column.tolist() for name, column in second.columns.items()
    }


@settings(max_examples=40, deadline=None)
@given(annotations(scored=False))
def test_truth_is_read_as_it_was_written(tmp_path_factory, truth):
    path = tmp_path_factory.mktemp("visdrone") / "out"
    write(truth, path)
    same(read(path, Reading()), truth)


@settings(max_examples=40, deadline=None)
@given(annotations(scored=True))
def test_detections_are_read_as_they_were_written(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("visdrone") / "out"
    write_results(found, path)
    assert sorted(file.name for file in path.iterdir()) == ["a.txt", "b.txt", "c.txt"]
    again = read_results(path, found, Reading())
    order = np.lexsort((-found.scores, found.image))
    same(again, found.rows(order))
    assert again.scores.tolist() == found.scores[order].tolist()


def test_detections_are_written_surest_first_since_the_cap_goes_by_rows(tmp_path):
    images = Images(np.array(["a.jpg"], dtype=object), np.array([1]), np.zeros((1, 2), dtype=np.int64))
    boxes = np.array([[1.0, 2, 4, 6]] * 3) + np.arange(3)[:, None]
    labels, none = np.array([3, 8, 3]), np.zeros(3, dtype=bool)
    found = Annotations(images, CLASSES, np.zeros(3, dtype=int), boxes, labels, none, scores=np.array([0.5, 0.9, 0.5]))
    write_results(found, tmp_path / "res")
    lines = (tmp_path / "res" / "a.txt").read_text().split()
    assert lines == ["2,3,3,4,0.9,9,-1,-1", "1,2,3,4,0.5,4,-1,-1", "3,4,3,4,0.5,4,-1,-1"]


def test_what_it_cannot_hold(tmp_path):
    images = Images(np.array(["x/a.jpg", "y/a.jpg"], dtype=object), np.array([1, 2]), np.zeros((2, 2), dtype=np.int64))
    one = (np.array([0]), np.array([[1.0, 2, 3, 4]]), np.array([0]), np.array([False]))
    with pytest.raises(InputError, match=r"y/a.jpg: there is also x/a.jpg"):
        write(Annotations(images, CLASSES, *one), tmp_path / "out")
    with pytest.raises(InputError, match="class 'ship' has no category in VisDrone"):
        write(Annotations(images, ("ship",), *one), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_registry_knows_it():
    for ability in ("read", "read_results", "write", "write_results"):
        assert format_named("visdrone", ability).holds == {"ignored", "regions", "flat"}
