"""DOTA's files: headers, versions, difficulty, results of both tasks, merging against a second implementation."""

import json
import zipfile

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.annotations import REGION, Annotations, Images, Runs
from d2det_geo.data.formats import zip_file
from d2det_geo.data.formats.dota import V1_0, V1_5, V2_0, read, write
from d2det_geo.data.formats.dota_corners import corners, polygons
from d2det_geo.data.formats.dota_merge import merged
from d2det_geo.data.formats.dota_patches import Patch, patch_of
from d2det_geo.data.formats.dota_results import (
    read_task1,
    read_task2,
    write_task1,
    write_task2,
)
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import format_named
from d2det_geo.errors import InputError


def put(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def images_of(*names):
    return Images(
        np.array(names, dtype=object), np.arange(1, len(names) + 1), np.zeros((len(names), 2), dtype=np.int64)
    )


def detections(images, boxes, labels=None, scores=None, **more):
    count = len(boxes)
    return Annotations(
        images,
        more.pop("classes", ("ship", "plane")),
        np.asarray(more.pop("image", [0] * count), dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.asarray([0] * count if labels is None else labels, dtype=np.int64),
        np.zeros(count, dtype=bool),
        scores=np.linspace(0.9, 0.1, count) if scores is None else np.array(scores),
        **more,
    )


@pytest.fixture
def folder(tmp_path):
    put(
        tmp_path / "labelTxt" / "P0002.txt",
        "imagesource:GoogleEarth",
        "gsd:0.146343590398",
        "10 20 30.5 20 30.5 44 10 44 ship 0",
        "5.0 0.0 10.0 5.0 5.0 10.0 0.0 5.0 small-vehicle 1",
        "1 2 3 2 3 9 1 9 plane",
        "1 2 3 2 3 9 1 9 plane 2",
    )
    put(tmp_path / "labelTxt" / "P0010.txt", "imagesource:GF-2", "gsd:null")
    put(tmp_path / "labelTxt" / "P0001.txt", "0 0 99 0 99 49 0 49 ship 0")
    return tmp_path


def test_labels_by_hand(folder):
    truth = read(folder, Reading())
    assert truth.classes == V1_0
    assert truth.images.names.tolist() == ["P0001.png", "P0002.png", "P0010.png"]
    assert truth.images.gsd_m.tolist() == pytest.approx([np.nan, 0.146343590398, np.nan], nan_ok=True)
    assert truth.image.tolist() == [0, 1, 1, 1, 1]
    assert truth.boxes[1:3].tolist() == [[10, 20, 30.5, 44], [0, 0, 10, 10]]
    assert shapely.get_coordinates(truth.outlines[2]).tolist() == [[5, 0], [10, 5], [5, 10], [0, 5], [5, 0]]
    assert [V1_0[label] for label in truth.labels] == ["ship", "ship", "small-vehicle", "plane", "plane"]
    assert truth.columns["difficult"].tolist() == [0, 0, 1, 0, 2]
    assert truth.ignored.tolist() == [False, False, True, False, True]
    assert read(folder / "labelTxt", Reading()).boxes.tolist() == truth.boxes.tolist()


@pytest.mark.parametrize(("name", "classes"), [("container-crane", V1_5), ("helipad", V2_0), ("airport", V2_0)])
def test_the_version_is_told_by_the_names(folder, name, classes):
    put(folder / "labelTxt" / "P0003.txt", f"0 0 9 0 9 4 0 4 {name} 0")
    assert read(folder, Reading()).classes == classes
    assert (len(V1_0), len(V1_5), len(V2_0)) == (15, 16, 18)
    own = (name, "ship", "plane", "small-vehicle")
    truth = read(folder, Reading(class_names=own))
    assert truth.classes == own
    assert [own[label] for label in truth.labels] == ["ship", "ship", "small-vehicle", "plane", "plane", name]


def test_names_and_sizes_come_from_images(folder):
    (folder / "images").mkdir()
    for name, size in (("P0001.tif", (7, 5)), ("P0002.png", (9, 4)), ("P0010.jpg", (3, 2))):
        Image.new("RGB", size).save(folder / "images" / name)
    images = read(folder, Reading()).images
    assert images.names.tolist() == ["P0001.tif", "P0002.png", "P0010.jpg"]
    assert images.sizes.tolist() == [[7, 5], [9, 4], [3, 2]]
    (folder / "images" / "P0010.jpg").unlink()
    with pytest.raises(InputError, match=r"labelTxt.P0010.txt: its image is missing"):
        read(folder / "labelTxt", Reading(images=folder / "images"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 2 3 4 5 6 7 8", "has 8 columns; give 9 to 10: x1, y1"),
        ("1 2 3 4 5 6 7 8 ship 0 0", "has 11 columns; give 9 to 10"),
        ("gsd:0.5", "has 1 columns; give 9 to 10"),
        ("1 2 3 4 5 6 7 eight ship 0", "y4 is 'eight'; give a finite number"),
        ("1 2 3 4 nan 6 7 8 ship 0", "x3 is 'nan'; give a finite number"),
        ("1 2 3 4 5 6 7 8 ship 3", "difficult is 3; give 0, 1 or 2"),
        ("1 2 3 4 5 6 7 8 ship 0.5", "difficult is 0.5; give 0, 1 or 2"),
        ("1 2 3 4 5 6 7 8 Ship 0", "class 'Ship' is not one of plane, baseball-diamond"),
        ("1 2 3 4 5 6 7 8 0 ship", "difficult is 'ship'; give a finite number"),
    ],
)
@pytest.mark.parametrize("before", [("imagesource:x", "gsd:1", ""), ("", "", "1 2 3 4 5 6 7 8 plane 0")])
def test_each_bad_line_is_named(tmp_path, line, said, before):
    put(tmp_path / "P1.txt", "1 2 3 4 5 6 7 8 plane 0")
    file = put(tmp_path / "P2.txt", *before, line)
    with pytest.raises(InputError) as caught:
        read(tmp_path, Reading())
    assert str(caught.value).startswith(f"{file}:4: {said}")


@pytest.mark.parametrize("value", ["coarse", "-1", "0", "inf"])
def test_a_bad_gsd_is_named(tmp_path, value):
    put(tmp_path / "P1.txt", "imagesource:x", f"gsd:{value}")
    with pytest.raises(InputError, match=rf"P1.txt:2: gsd is '{value}'; give m/px above 0, or null"):
        read(tmp_path, Reading())


def test_detections_are_no_labels(folder):
    put(folder / "labelTxt" / "Task1_ship.txt")
    with pytest.raises(InputError, match=r"Task1_ship.txt: holds detections; read it as dota-task1"):
        read(folder, Reading())
    with pytest.raises(InputError, match=r"none: is not a folder; give the folder of DOTA labels"):
        read(folder / "none", Reading())


def test_spacing_is_free(tmp_path):
    (tmp_path / "P1.txt").write_bytes(b"ImageSource:x\r\nGSD: 0.5 \r\n 1\t2  3 4 5 6 7 8   ship  1 \r\n\r\n   \r\n")
    truth = read(tmp_path, Reading())
    assert truth.boxes.tolist() == [[1, 2, 7, 8]]
    assert truth.images.gsd_m.tolist() == [0.5]


def test_results_by_hand(folder, tmp_path):
    truth = read(folder, Reading())
    put(tmp_path / "res" / "Task1_ship.txt", "P0002 0.25 1 2 3 2.5 3 9 1 9", "P0001.png 0.5 5 0 10 5 5 10 0 5")
    put(tmp_path / "res" / "Task1_plane.txt", "P0010 1e-3 0 0 4 0 4 2 0 2")
    put(tmp_path / "res" / "Task2_ship.txt", "P0001 0.8 0 0 99 49", "P0002 0.6 0 0 0 4")
    put(tmp_path / "res" / "Task2_plane.txt")
    reading = Reading()
    first = read_task1(tmp_path / "res", truth, reading)
    assert first.images is truth.images
    assert first.classes == truth.classes
    assert first.image.tolist() == [2, 1, 0]
    assert [V1_0[label] for label in first.labels] == ["plane", "ship", "ship"]
    assert first.scores.tolist() == [0.001, 0.25, 0.5]
    assert first.boxes.tolist() == [[0, 0, 4, 2], [1, 2, 3, 9], [0, 0, 10, 10]]
    assert shapely.get_coordinates(first.outlines[1])[:4].tolist() == [[1, 2], [3, 2.5], [3, 9], [1, 9]]
    second = read_task2(tmp_path / "res", truth, Reading())
    assert second.boxes.tolist() == [[0, 0, 99, 49], [0, 0, 0, 4]]  # one px wide: corners are pixels there
    assert second.outlines is None
    without = "baseball-diamond, bridge, ground-track-field, small-vehicle, large-vehicle, tennis-court and 7 more"
    assert reading.notices == [f"{tmp_path / 'res'}: has no file of {without}; nothing was found of it"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("P0001 0.5 1 2 3", "has 5 columns; give 6: image, score, xmin"),
        ("P0001 0.5 1 2 3 4 5 6 7 8", "has 10 columns; give 6"),
        ("P0001 nan 1 2 3 4", "score is 'nan'; give a finite number"),
        ("P0001 0.5 4 2 3 4", "xmax is less than xmin"),
        ("P0001 0.5 1 5 3 4", "ymax is less than ymin"),
        ("P0009 0.5 1 2 3 4", "the truth has no image 'P0009'"),
        ("P0001__1__0___0 0.5 1 2 3 4", "image 'P0001__1__0___0' is a patch of 'P0001'; merge"),
    ],
)
def test_each_bad_detection_is_named(folder, tmp_path, line, said):
    file = put(tmp_path / "res" / "Task2_ship.txt", "P0002 0.5 1 2 3 4", line)
    with pytest.raises(InputError) as caught:
        read_task2(tmp_path / "res", read(folder, Reading()), Reading())
    assert str(caught.value).startswith(f"{file}:2: {said}")


def test_what_follows_a_dot_is_part_of_the_name(folder, tmp_path):
    truth = read(folder, Reading())
    put(tmp_path / "res" / "Task2_ship.txt", "P0001 0.5 1 2 3 4", "x/P0001.PNG 0.5 1 2 3 4", "P0001.7 0.5 1 2 3 4")
    with pytest.raises(InputError, match=r"Task2_ship.txt:3: the truth has no image 'P0001.7'"):
        read_task2(tmp_path / "res", truth, Reading())


def test_results_that_are_not_there(folder, tmp_path):
    truth = read(folder, Reading())
    put(tmp_path / "res" / "Task2_ship.txt")
    with pytest.raises(InputError, match=r"res: holds no Task1_<class>.txt"):
        read_task1(tmp_path / "res", truth, Reading())
    put(tmp_path / "res" / "Task2_car.txt")
    with pytest.raises(InputError, match=r"Task2_car.txt:1: the truth has no class 'car'; its classes are plane"):
        read_task2(tmp_path / "res", truth, Reading())
    (tmp_path / "r.zip").write_bytes(b"none")
    with pytest.raises(InputError, match=r"r.zip: cannot be unpacked"):
        read_task2(tmp_path / "r.zip", truth, Reading())
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("a/Task2_ship.txt", "P0001 0.5 1 2 3 4\n")
        archive.writestr("a/Task2_plane.txt", "P0001 0.5 1 2 3\n")
        archive.writestr("b/readme.txt", "none")
    with pytest.raises(InputError, match=r"s.zip/a/Task2_plane.txt:1: has 5 columns"):
        read_task2(tmp_path / "s.zip", truth, Reading())
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a/Task2_ship.txt", "P0001 0.5 1 2 3 4\n")
        archive.writestr("b/Task2_ship.txt", "P0001 0.5 1 2 3 4\n")
    with pytest.raises(InputError, match=r"b/Task2_ship.txt: there is also .*a/Task2_ship.txt; keep one"):
        read_task2(tmp_path / "t.zip", truth, Reading())


def test_zips_that_mean_harm(folder, tmp_path, monkeypatch):
    truth = read(folder, Reading())
    line = "P0001 0.5 1 2 3 4\n"
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Task2_ship.txt", line * 2_000_000)
    with pytest.raises(InputError, match=r"bomb.zip: Task2_ship.txt would unpack to 36 MB, \d+ times what is there"):
        read_task2(tmp_path / "bomb.zip", truth, Reading())
    monkeypatch.setattr(zip_file, "LARGEST", 70)
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        archive.writestr("Task2_ship.txt", line * 2)
        archive.writestr("Task2_plane.txt", line * 2)
        archive.writestr("Task1_ship.txt", line * 9)
    with pytest.raises(InputError, match=r"large.zip: 2 files would unpack to"):
        read_task2(tmp_path / "large.zip", truth, Reading())
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Task2_ship.txt", "".join(f"P0001 0.{n} 1 2 3 4\n" for n in range(100, 200)))
    damaged = bytearray((tmp_path / "whole.zip").read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.zip").write_bytes(bytes(damaged))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"damaged.zip: cannot be unpacked"):
        read_task2(tmp_path / "damaged.zip", truth, Reading())
    with zipfile.ZipFile(tmp_path / "latin.zip", "w") as archive:
        archive.writestr("Task2_ship.txt", "P\xe9".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.zip/Task2_ship.txt: is not text in UTF-8 \(byte 1\)"):
        read_task2(tmp_path / "latin.zip", truth, Reading())


def test_nothing_found_is_read(folder, tmp_path):
    truth = read(folder, Reading())
    put(tmp_path / "Task1_ship.txt")
    put(tmp_path / "Task2_ship.txt")
    for reader in (read_task1, read_task2):
        found = reader(tmp_path, truth, Reading())
        assert (len(found), found.boxes.shape) == (0, (0, 4))


COORDINATES = st.floats(-50, 5000)


@st.composite
def annotations(draw, scored):
    images = Images(
        np.array(["t/P1.png", "P2.png", "P3.png"], dtype=object),
        np.array([1, 2, 3]),
        np.zeros((3, 2), dtype=np.int64),
        gsd_m=np.array([0.1, np.nan, 1 / 3]),
    )
    count = draw(st.integers(0, 8))
    quads = np.array(draw(st.lists(COORDINATES, min_size=8 * count, max_size=8 * count))).reshape(count, 4, 2)
    outlines = polygons(quads)

    def whole(low, high):
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), dtype=int)

    difficult = np.zeros(count, dtype=int) if scored else whole(0, 2)
    return Annotations(
        images,
        V1_0,
        np.sort(whole(0, 2)),
        np.hstack((quads.min(axis=1), quads.max(axis=1))).reshape(count, 4),
        whole(0, 14),
        difficult > 0,
        scores=whole(0, 10**9) / 10**9 if scored else None,
        outlines=outlines,
        columns={} if scored else {"difficult": difficult},
    )


def rows_of(annotations):
    outlines = [None] * len(annotations) if annotations.outlines is None else annotations.outlines
    corner = [() if shape is None else tuple(shapely.get_coordinates(shape).ravel()) for shape in outlines]
    scores = annotations.ignored if annotations.scores is None else annotations.scores
    return list(zip(annotations.image, annotations.labels, scores, map(tuple, annotations.boxes), corner, strict=True))


@settings(max_examples=40, deadline=None)
@given(annotations(scored=False))
def test_labels_are_read_as_they_were_written(tmp_path_factory, truth):
    path = tmp_path_factory.mktemp("dota") / "out"
    write(truth, path)
    assert sorted(file.name for file in (path / "labelTxt").iterdir()) == ["P1.txt", "P2.txt", "P3.txt"]
    again = read(path, Reading())
    assert rows_of(again) == rows_of(truth)
    assert again.columns["difficult"].tolist() == truth.columns["difficult"].tolist()
    assert again.images.gsd_m.tolist() == pytest.approx(truth.images.gsd_m.tolist(), abs=0, rel=0, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(annotations(scored=True), st.sampled_from(["out", "out.zip"]))
def test_detections_are_read_as_they_were_written(tmp_path_factory, found, name):
    path = tmp_path_factory.mktemp("dota")
    order = np.argsort(found.labels, kind="stable")  # a file a class
    for task, reader, writer in ((1, read_task1, write_task1), (2, read_task2, write_task2)):
        writer(found, path / f"{task}{name}")
        again = reader(path / f"{task}{name}", found, Reading())
        want = rows_of(found.rows(order))
        assert rows_of(again) == (want if task == 1 else [(*row[:4], ()) for row in want])


def test_zips_are_the_same_each_time(tmp_path):
    found = detections(images_of("P1.png"), [[1, 2, 3, 4]])
    for name in ("a.zip", "b.zip"):
        write_task2(found, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["Task2_ship.txt", "Task2_plane.txt"]
        assert archive.read("Task2_ship.txt") == b"P1 0.9 1 2 3 4\n"


def test_corners_of_what_has_not_four():
    mask = np.zeros((6, 9), dtype=np.uint8, order="F")
    mask[1:4, 2:8] = 1
    runs = Runs(100, 200, 9, 6, coco_mask.encode(mask)["counts"])
    tilted = shapely.affinity.rotate(shapely.box(0, 0, 8, 4), 30)
    five = shapely.Polygon([*tilted.exterior.coords[:4], tilted.exterior.interpolate(0.99, normalized=True)])
    outlines = np.array([None, runs, five, shapely.MultiPolygon([tilted]), shapely.Polygon(), tilted], dtype=object)
    found = corners(detections(images_of("P1.png"), [[1, 2, 5, 9]] * 6, outlines=outlines))
    assert found[0].tolist() == [[1, 2], [5, 2], [5, 9], [1, 9]]
    assert sorted(map(tuple, found[1])) == [(102, 201), (102, 204), (108, 201), (108, 204)]
    for row in (2, 3):
        assert shapely.Polygon(found[row]).symmetric_difference(tilted).area < 1e-9
    assert found[4].tolist() == found[0].tolist()
    assert found[5].tolist() == shapely.get_coordinates(tilted)[:4].tolist()
    for quad in found[:4]:  # clockwise as seen, y down
        assert shapely.is_ccw(shapely.LinearRing(quad))


def test_what_it_cannot_hold(tmp_path):
    images = images_of("a.png")
    spaced = detections(images, [[1, 2, 3, 4]], classes=("traffic light",))
    with pytest.raises(InputError, match="class 'traffic light' cannot be written for DOTA"):
        write(spaced, tmp_path / "out")
    with pytest.raises(InputError, match="class 'a/b' cannot be written for DOTA"):
        write_task1(detections(images, [], classes=("a/b",)), tmp_path / "out")
    with pytest.raises(InputError, match="image 'a b' cannot be written for DOTA"):
        write_task1(detections(images_of("a b.png"), []), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    region = Annotations(images, ("ship",), np.array([0]), np.ones((1, 4)), np.array([REGION]), np.array([True]))
    write(region, tmp_path / "out")
    assert (tmp_path / "out" / "labelTxt" / "a.txt").read_text() == ""


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("P0004__1__0___824", Patch("P0004", 1, 0, 824)),
        ("a__b__0.5__1200___0", Patch("a__b", 0.5, 1200, 0)),
        ("P0004__0__0___0", None),
        ("P0004", None),
        ("P0004__1__0__0", None),
    ],
)
def test_names_of_patches(name, patch):
    assert patch_of(name) == patch


def test_merging_by_hand():
    patches = images_of("P1__1__0___0.png", "P1__1__800___0.png", "d/P1__0.5__0___100", "P2.png")
    boxes = [[810, 10, 820, 30], [10, 10, 20, 30], [405, -95, 410, -85], [810, 10, 820, 30], [812, 10, 822, 30]]
    found = detections(patches, boxes, image=[0, 1, 2, 3, 0], labels=[0, 0, 0, 0, 1], scores=[0.5, 0.9, 0.4, 0.3, 0.2])
    whole = images_of("P2.jpg", "P1.tif")
    kept = merged(found, whole, 0.3)
    # 0 and 2 are 1 again, at [810, 10, 820, 30] of P1; P2 and planes are apart.
    assert kept.images is whole
    assert kept.image.tolist() == [1, 0, 1]
    assert kept.boxes.tolist() == [[810, 10, 820, 30], [810, 10, 820, 30], [812, 10, 822, 30]]
    assert kept.scores.tolist() == [0.9, 0.3, 0.2]
    assert kept.labels.tolist() == [0, 0, 1]
    with pytest.raises(InputError, match=r"P2.png: is neither one of the whole images nor a patch of one"):
        merged(found, images_of("P1.png"), 0.3)


def test_a_detection_survives_while_overlap_is_at_most_the_threshold():
    # Widths count plus one: [0, 9] and [5, 14] are 10 px wide and share 5 of 15.
    found = detections(images_of("P1.png"), [[0, 0, 9, 9], [5, 0, 14, 9]])
    assert len(merged(found, images_of("P1.png"), 1 / 3)) == 2
    assert len(merged(found, images_of("P1.png"), {"ship": 0.333, "plane": 0.9})) == 1
    corner = np.array([shapely.box(0, 0, 9, 9), shapely.box(5, 0, 14, 9)], dtype=object)  # 4 of 14
    turned = detections(images_of("P1.png"), [[0, 0, 9, 9], [5, 0, 14, 9]], outlines=corner)
    assert len(merged(turned, images_of("P1.png"), 0.29)) == 2
    assert len(merged(turned, images_of("P1.png"), 0.28)) == 1
    assert len(merged(turned, images_of("P1.png"), 0.333, task=2)) == 1


def test_nothing_is_merged_to_nothing():
    none = merged(detections(images_of("P1__1__0___0.png"), []), images_of("P1.png"), 0.3)
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)


def test_an_outline_without_area_shares_nothing():
    square, line = np.array([[0, 0], [9, 0], [9, 9], [0, 9]]), np.array([[0, 0], [0, 0], [9, 9], [9, 9]])
    for pair in ((square, line), (line, square), (line, line)):
        both = detections(images_of("P1.png"), [[0, 0, 9, 9]] * 2, outlines=polygons(np.array(pair, dtype=float)))
        assert len(merged(both, images_of("P1.png"), 0.0)) == 2


@st.composite
def scenes(draw):
    """Boxes of any turn, as detectors give them, and now and then four points that are no convex outline."""
    count = draw(st.integers(1, 14))
    quads = []
    for _ in range(count):
        x, y = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        if draw(st.integers(0, 4)) == 0:
            points = st.tuples(st.integers(0, 30), st.integers(0, 30))
            quads.append(np.array(draw(st.lists(points, min_size=4, max_size=4)), dtype=float))
            continue
        box = shapely.box(x, y, x + draw(st.integers(4, 20)), y + draw(st.integers(4, 20)))
        ring = shapely.get_coordinates(shapely.affinity.rotate(box, draw(st.floats(0, 180))))[:4]
        quads.append(ring[::-1] if draw(st.booleans()) else ring)
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    image = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    scores = draw(st.permutations(range(count)))
    return np.array(quads), labels, image, np.array(scores) / count


def naive(polygons, boxes, image, labels, scores, threshold):
    """Greedy suppression object by object; a flag each whether an overlap was too near the threshold to tell."""
    kept, near = [], False
    for one in np.argsort(-scores, kind="stable"):
        survives = True
        for other in kept:
            if image[one] != image[other] or labels[one] != labels[other]:
                continue
            if polygons is None:
                sides = np.minimum(boxes[one, 2:], boxes[other, 2:]) - np.maximum(boxes[one, :2], boxes[other, :2]) + 1
                shared = np.prod(np.maximum(sides, 0))
                total = np.prod(boxes[one, 2:] - boxes[one, :2] + 1) + np.prod(boxes[other, 2:] - boxes[other, :2] + 1)
            else:
                shared = polygons[one].intersection(polygons[other]).area
                total = polygons[one].area + polygons[other].area
            overlap = shared / (total - shared) if total > shared else 0.0
            near |= abs(overlap - threshold) < 1e-9
            survives &= overlap <= threshold
        if survives:
            kept.append(one)
    return sorted(kept), near


@settings(max_examples=120, deadline=None)
@given(scenes(), st.sampled_from([0.05, 0.3, 0.5]))
def test_merging_is_greedy_suppression(scene, threshold):
    quads, labels, image, scores = scene
    shift = np.array([[0, 0], [20, 0], [7, 30]])[image]
    patches = images_of("P1__1__0___0.png", "P1__1__20___0.png", "P2__1__7___30.png")
    boxes = np.hstack((quads.min(axis=1), quads.max(axis=1)))
    outlines = polygons(quads)
    found = detections(patches, boxes, labels, scores, image=image, outlines=outlines)
    whole, where = images_of("P1.png", "P2.png"), np.array([0, 0, 1])[image]
    hulls = [shapely.Polygon(quad + move).convex_hull for quad, move in zip(quads, shift, strict=True)]
    for task, shapes in ((1, hulls), (2, None)):
        expected, near = naive(shapes, boxes + np.tile(shift, 2), where, labels, scores, threshold)
        if near:
            continue
        kept = merged(found, whole, threshold, task=task)
        assert kept.scores.tolist() == [scores[row] for row in expected]
        assert kept.image.tolist() == where[expected].tolist()
        assert kept.boxes == pytest.approx((boxes + np.tile(shift, 2))[expected])


def test_the_registry_knows_them():
    assert format_named("dota", "read").columns == {"difficult"}
    assert format_named("dota", "write").holds == {"corners", "ignored"}
    for name in ("dota-task1", "dota-task2"):
        assert format_named(name, "read_results").write_results is not None


@pytest.fixture
def patches(tmp_path):
    """Truth of one whole image, and detections of its patches, which see an object twice."""
    put(tmp_path / "labelTxt" / "P1.txt", "810 10 820 10 820 30 810 30 ship 0")
    first = put(tmp_path / "res" / "Task1_ship.txt", "P1__1__0___0 0.5 810 10 820 10 820 30 810 30")
    lines = ["P1__1__800___0.png 0.9 10 10 20 10 20 30 10 30", "P1 0.2 100 100 110 100 110 120 100 120"]
    put(first, first.read_text().strip(), *lines)
    return tmp_path


def test_patches_are_merged_where_that_is_asked_for(patches):
    truth = read(patches, Reading(class_names=("ship",)))
    reading = Reading(merge_patches=True)
    found = read_task1(patches / "res", truth, reading)
    assert found.images is truth.images
    assert found.boxes.tolist() == [[810, 10, 820, 30], [100, 100, 110, 120]]
    assert found.scores.tolist() == [0.9, 0.2]
    assert reading.notices == [
        f"{patches / 'res'}: 3 detections of patches merged into 2 of whole images, "
        "of those that overlap by more than 0.3 the surest"
    ]
    put(patches / "res" / "Task1_ship.txt", "P1 0.5 1 1 2 1 2 2 1 2", "P2__1__0___0 0.5 1 1 2 1 2 2 1 2")
    with pytest.raises(InputError, match=r"Task1_ship.txt:2: the truth has no image 'P2__1__0___0'"):
        read_task1(patches / "res", truth, reading)
    put(patches / "res" / "Task2_ship.txt")
    assert len(read_task2(patches / "res", truth, reading)) == 0


def test_patches_are_merged_by_both_commands(patches):
    sides = ("--truth", patches / "labelTxt", "--pred", patches / "res", "--protocol", "dota-task1", "--json")
    refused = CliRunner().invoke(app, ["evaluate", *map(str, sides)])
    assert refused.exit_code == 4
    assert "Task1_ship.txt:1: image 'P1__1__0___0' is a patch of 'P1'; merge detections of patches with --merge-p" in (
        refused.stderr
    )
    scored = CliRunner().invoke(app, ["evaluate", *map(str, sides), "--merge-patches"])
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["counts"]["predictions"] == 2
    given = ("--from", "dota-task1", "--to", "dota-task2", "--results", "--truth", patches / "labelTxt")
    given += ("--truth-format", "dota", "--merge-patches")
    made = CliRunner().invoke(app, ["convert", *map(str, (patches / "res", patches / "whole", *given))])
    assert made.exit_code == 0, made.output
    lines = (patches / "whole" / "Task2_ship.txt").read_text().splitlines()
    assert lines == ["P1 0.9 810 10 820 30", "P1 0.2 100 100 110 120"]


def test_only_detections_of_dota_have_patches(patches):
    sides = ("--truth", patches / "a.json", "--pred", patches / "b.json", "--merge-patches")
    for command in (
        ("evaluate", *sides, "--protocol", "coco"),
        ("evaluate", *sides),
        ("convert", patches / "labelTxt", patches / "a.json", "--from", "dota", "--to", "coco", "--merge-patches"),
    ):
        refused = CliRunner().invoke(app, [str(word) for word in command])
        assert refused.exit_code == 2
        assert "--merge-patches goes with detections as dota-task1 or dota-task2" in refused.stderr
