"""YOLO text: boxes, outlines, confidences, where names and images come from, and every wrong row."""

import shutil

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from PIL import Image

from d2det_geo.data.formats import yolo, yolo_write
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError
from tests.annotation_sets import annotations, assert_same, images, sets

CLASSES = ("car", "boat")


@pytest.fixture
def data(tmp_path):
    """Lay out three images of 60 x 40 px, and files of rows for them."""
    for name in ("b.png", "train/a10.png", "train/a2.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (60, 40)).save(tmp_path / "images" / name)

    def make(**files):
        for stem, text in files.items():
            path = tmp_path / "labels" / f"{stem.replace('__', '/')}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_truth_by_hand(data):
    root = data(train__a10="1 0.5 0.5 0.25 0.5\n\n0 0 0 0.5 0 0.5 0.25\n", b="0 0.1 0.25 0.1 0.5\r\n")
    found = yolo.read(root / "labels", Reading(class_names=CLASSES))
    assert found.images.names.tolist() == ["b.png", "train/a2.jpg", "train/a10.png"]
    assert found.images.ids.tolist() == [1, 2, 3]
    assert found.images.sizes.tolist() == [[60, 40]] * 3
    assert found.classes == CLASSES
    assert found.image.tolist() == [0, 2, 2]
    assert np.allclose(found.boxes, [[3, 0, 9, 20], [22.5, 10, 37.5, 30], [0, 0, 30, 10]], atol=1e-12)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores is None
    assert [None if shape is None else shape.area for shape in found.outlines] == [None, None, 150]
    assert not found.ignored.any()
    assert_same(yolo.read(root, Reading(class_names=CLASSES)), found)  # the root of the data set does, too
    elsewhere = root.parent / f"{root.name}-images"
    shutil.copytree(root / "images", elsewhere)
    assert_same(yolo.read(root / "labels", Reading(images=elsewhere, class_names=CLASSES)), found)


def test_results_by_hand(data):
    root = data(b="1 0.5 0.5 0 0.5 0.75\n0 0 0 0.5 0 0.5 0.25 0.5\n")
    truth = annotations([], images("b.png", "c.png"), CLASSES)
    found = yolo.read_results(root, truth, Reading())
    assert found.images is truth.images
    assert found.boxes.tolist() == [[30, 10, 30, 30], [0, 0, 30, 10]]
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize("place", ["labels", ".", "labels/train"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "car\nboat\n\n"),
        ("data.yaml", "names: [car, boat]\nnc: 2\n"),
        ("data.yaml", "train: x\nnames:\n  0: car\n  1: boat\n"),
    ],
)
def test_names_are_found_beside(data, place, name, text):
    root = data(train__a2="1 0.5 0.5 0.25 0.5")
    (root / place / name).write_text(text)
    assert yolo.read(root / "labels" / "train", Reading()).classes == CLASSES
    assert yolo.read(root / "labels" / "train", Reading(class_names=("x", "y"))).classes == ("x", "y")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "car\ncar\n", r"classes\.txt: class 'car' is there twice"),
        ("classes.txt", "", r"classes\.txt: must list names"),
        ("data.yaml", "names: {0: a, 2: b}", r"data\.yaml: names must be numbered 0 to 1"),
        ("data.yaml", "names: 3", r"data\.yaml: must list names of classes, got 3"),
        ("data.yaml", "a: [", r"data\.yaml: is not YAML"),
        ("data.yaml", "!!python/object/apply:os.system ['true']", r"data\.yaml: is not YAML"),
    ],
)
def test_wrong_lists_of_names(data, name, text, message):
    root = data(b="0 0.5 0.5 0.25 0.5")
    (root / "labels" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        yolo.read(root, Reading())


ROWS = [
    ("0 0.5 0.5 0.2", r"has 4 numbers; give class, x, y, width, height"),
    ("0 0.5 0.5 0.2 0.2 0.9", r"has 6 numbers; .*a number more is a confidence: read it as detections"),
    ("0 0.5 0.5 0.2 0.2 0.9 0.3 0.2", r"has 8 numbers"),
    ("2 0.5 0.5 0.2 0.2", r"class is 2; there are 2, numbered from 0"),
    ("-1 0.5 0.5 0.2 0.2", r"class is -1"),
    ("0.5 0.5 0.5 0.2 0.2", r"class is 0\.5"),
    ("nan 0.5 0.5 0.2 0.2", r"class is nan"),
    ("0 0.5 nan 0.2 0.2", r"coordinates must be shares of the image, about 0 to 1, got 0\.5 nan"),
    ("0 0.5 inf 0.2 0.2", r"coordinates must be shares"),
    ("0 320 240 20 20", r"coordinates must be shares of the image, about 0 to 1, got 320 240"),
    ("0 0.5 0.5 -0.2 0.2", r"width and height must be more than 0, got -0\.2 0\.2"),
    ("0 0.5 0.5 0 0.2", r"width and height must be more than 0"),
    ("car 0.5 0.5 0.2 0.2", r"holds what is no number: 'car 0\.5"),
    ("0,0.5,0.5,0.2,0.2", r"holds what is no number"),
]


@pytest.mark.parametrize(("row", "message"), ROWS)
def test_wrong_rows_are_named(data, row, message):
    root = data(train__a2=f"0 0.5 0.5 0.1 0.1\n\n{row}\n")
    with pytest.raises(InputError, match=rf"labels/train/a2\.txt:3: {message}") as caught:
        yolo.read(root, Reading(class_names=CLASSES))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", r"has 5 numbers; give class, x, y, width, height, confidence"),
        ("0 0.5 0.5 0.2 0.2 nan", r"confidence must be a finite number, got nan"),
        ("0 0.5 0.5 -0.2 0.2 0.5", r"width and height must be at least 0"),
    ],
)
def test_wrong_results_are_named(data, row, message):
    root = data(b=f"{row}\n")
    with pytest.raises(InputError, match=rf"b\.txt:1: {message}"):
        yolo.read_results(root, annotations([], images("b.png"), CLASSES), Reading())


def test_files_and_images_that_do_not_match(data, tmp_path):
    root = data(c="0 0.5 0.5 0.2 0.2")
    with pytest.raises(InputError, match=r"labels/c\.txt: no image goes with it"):
        yolo.read(root, Reading(class_names=CLASSES))
    (root / "images" / "b.jpg").write_bytes((root / "images" / "b.png").read_bytes())
    with pytest.raises(InputError, match=r"b\.txt would belong to b\.jpg and b\.png"):
        yolo.read(root, Reading(class_names=CLASSES))
    with pytest.raises(InputError, match=r"its image is not known"):
        yolo.read_results(root, annotations([], images("c.png", size=(0, 0)), CLASSES), Reading())


def test_missing_folders(data, tmp_path):
    with pytest.raises(InputError, match=r"none: is not a folder"):
        yolo.read(tmp_path / "none", Reading())
    root = data(b="")
    with pytest.raises(InputError, match=r"there is no classes\.txt or data\.yaml with the names"):
        yolo.read(root, Reading())
    with pytest.raises(InputError, match=r"nowhere is not a folder; give the folder of the images"):
        yolo.read(root, Reading(images=tmp_path / "nowhere", class_names=CLASSES))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_text("")
    with pytest.raises(InputError, match=r"give the folder of the images"):
        yolo.read(tmp_path / "other", Reading(class_names=CLASSES))
    with pytest.raises(InputError, match=r"holds no images"):
        yolo.read(tmp_path / "other", Reading(images=tmp_path / "other", class_names=CLASSES))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no \.txt file"):
        yolo.read(tmp_path / "empty", Reading(images=root / "images", class_names=CLASSES))


def _without_ignored(found):
    return found.rows(~found.ignored)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(truth=sets())
def test_truth_comes_back(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolo")
    truth = _without_ignored(truth)
    for name in truth.images.names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (60, 40)).save(folder / "images" / name)
    yolo_write.write(truth, folder / "out")
    back = yolo.read(folder / "out", Reading(images=folder / "images"))
    order = [back.images.names.tolist().index(name) for name in truth.images.names]
    assert [back.image.tolist().count(index) for index in order] == [
        truth.image.tolist().count(index) for index in range(len(order))
    ]
    assert back.classes == truth.classes
    assert np.allclose(np.sort(back.boxes, axis=0), np.sort(truth.boxes, axis=0), atol=1e-6)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=sets(scored=True))
def test_results_come_back(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolo") / "out"
    yolo_write.write(found, folder)
    assert_same(yolo.read_results(folder, found, Reading()), found, 1e-6)
    assert list(yaml.safe_load((folder / "data.yaml").read_text())["names"].values()) == list(found.classes)


def test_names_that_lead_out_are_refused(tmp_path):
    for name in ("../../x.png", "/etc/x.png"):
        with pytest.raises(InputError, match="leads out of"):
            yolo_write.write(annotations([], images(name), CLASSES), tmp_path / name.replace("/", "_"))
    assert not (tmp_path / "x.txt").exists()


def test_images_that_share_a_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"image a\.jpg: a\.txt is another image's already"):
        yolo_write.write(annotations([], images("a.png", "a.jpg"), CLASSES), tmp_path / "out")
