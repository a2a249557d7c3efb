"""The bridge from annotations to labelled images: rows of every kind, sequences, sources in a configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.config import Config
from d2det_geo.data import image_files
from d2det_geo.data.annotated import chosen_images, labelled_images
from d2det_geo.data.truth import ClassMap
from d2det_geo.errors import InputError
from d2det_geo.pipeline.sources import training_chips
from d2det_geo.runs import runs_of

CLASSES = ClassMap(("car", "boat"), {"van": "car", "tree": ""}, ("blur",))
NAMES = ("car", "boat", "van", "tree", "blur")


def picture(path: Path, width: int = 60, height: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)).save(path)


def annotations(rows: list[tuple[int, int, bool, Any]], *, outlines: bool = True, **images: Any) -> Annotations:
    """Make truth of two images, a.png and b.png; rows are image, label, ignored, outline or box."""
    shapes = np.array([*(row[3] for row in rows), None], dtype=object)[:-1]
    boxes = [shape.bounds if isinstance(shape, shapely.Geometry) else (shape.x, shape.y, 9, 9) for shape in shapes]
    about = {"names": np.array(["a.png", "b.png"], dtype=object), "ids": np.arange(2), "sizes": np.zeros((2, 2), int)}
    return Annotations(
        Images(**about | images),
        NAMES,
        np.array([row[0] for row in rows], np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.bool_),
        outlines=shapes if outlines else None,
    )


def load(truth: Annotations, folder: Path, **options: Any) -> Any:
    return labelled_images(truth, folder, **{"class_map": CLASSES, "source": folder / "labels", **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", 30, 50)
    return tmp_path


MASK = np.zeros((5, 4), np.bool_)
MASK[1:4, 1:3] = True
ROWS = [
    (1, 1, False, shapely.box(2, 3, 12, 9)),
    (0, 0, False, shapely.Polygon([(10, 10), (22, 10), (10, 20)])),
    (0, 2, False, runs_of(MASK, 30, 20)),
    (0, 3, False, shapely.box(1, 1, 3, 3)),  # a tree: dropped
    (0, 3, True, shapely.box(1, 1, 3, 3)),  # a crowd of trees, too
    (0, 0, True, shapely.box(40, 0, 50, 10)),  # a crowd of cars
    (0, 4, False, shapely.box(0, 30, 8, 36)),  # a class to ignore
    (1, REGION, True, shapely.box(20, 40, 30, 50)),
    (1, 0, False, shapely.Polygon([(5, 5), (9, 9), (5, 5)])),  # a line
]


def test_rows_of_every_kind(folder: Path) -> None:
    first, second = load(annotations(ROWS), folder)
    assert (first.name, first.width, first.height) == ("a.png", 60, 40)
    assert (second.width, second.height) == (30, 50)
    assert first.truth.labels.tolist() == [0, 0]
    assert first.truth.boxes.tolist() == [[10, 10, 22, 20], [31, 21, 33, 24]]
    assert shapely.area(first.truth.polygons).tolist() == [60, 6]
    assert shapely.bounds(first.truth.ignored).tolist() == [[40, 0, 50, 10], [0, 30, 8, 36]]
    assert second.truth.labels.tolist() == [1]
    assert shapely.bounds(second.truth.ignored).tolist() == [[20, 40, 30, 50], [5, 5, 9, 9]]


def test_boxes_where_an_object_has_no_outline(folder: Path) -> None:
    truth = annotations(ROWS)
    truth.outlines[0] = None  # type: ignore[index]
    for some in (truth, replace(truth, outlines=None)):
        first, second = load(some, folder)
        assert first.truth.polygons is None
        assert first.truth.boxes.tolist() == [[10, 10, 22, 20]]  # the other box is none
        assert second.truth.boxes[0].tolist() == [2, 3, 12, 9]
        assert shapely.bounds(second.truth.ignored)[0].tolist() == [20, 40, 30, 50]


def test_an_outline_missing_on_a_region_does_not_matter(folder: Path) -> None:
    truth = annotations(ROWS)
    truth.outlines[7] = None  # type: ignore[index]
    assert load(truth, folder)[0].truth.polygons is not None


def test_images_of_their_own_gsd(folder: Path) -> None:
    truth = annotations(ROWS, gsd_m=np.array([0.5, np.nan]))
    first, second = load(truth, folder, gsd_m=0.25, image_gsd_m=0.125)
    assert (first.width, first.height, second.width, second.height) == (120, 80, 15, 25)
    assert first.truth.boxes[0].tolist() == [20, 20, 44, 40]
    assert second.truth.boxes.tolist() == [[1, 1.5, 6, 4.5]]
    assert second.truth.ignored[0].bounds == (10, 20, 15, 25)
    with pytest.raises(InputError, match=r"labels: images\[1\]: its GSD is unknown"):
        load(truth, folder, gsd_m=0.25)


def test_some_images(folder: Path) -> None:
    truth = annotations(ROWS, gsd_m=np.array([0.5, 0.25]), tags={"night": np.array([True, False])})
    some = chosen_images(truth, np.array([False, True]))
    assert (some.images.names.tolist(), some.images.tags["night"].tolist()) == (["b.png"], [False])
    assert some.image.tolist() == [0, 0, 0]
    (only,) = load(some, folder)
    assert only.truth.labels.tolist() == [1]


def test_a_set_without_objects(folder: Path) -> None:
    assert [len(image.truth) for image in load(annotations([]), folder)] == [0, 0]


def test_an_unknown_class_names_its_first_row(folder: Path) -> None:
    with pytest.raises(InputError, match=r"labels: image a.png: class 'car' is not one"):
        load(annotations(ROWS), folder, class_map=ClassMap(("boat",)))


# Sequences


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for name in ("S1", "S2/img1"):
        for frame in (1, 2, 3):
            picture(tmp_path / name / f"img{frame:06d}.jpg", 64, 48)
    return tmp_path


def sequences(**images: Any) -> Annotations:
    names = np.array([f"{name}/img{frame:06d}.jpg" for name in ("S1", "S2") for frame in (1, 2, 3)], dtype=object)
    groups = np.array(["S1"] * 3 + ["S2"] * 3, dtype=object)
    about = {"names": names, "ids": np.arange(6), "sizes": np.zeros((6, 2), int), "groups": groups}
    return annotations(
        [(0, 0, False, shapely.box(1, 1, 9, 9)), (5, 1, False, shapely.box(2, 2, 9, 9))], **about | images
    )


def test_of_a_sequence_only_the_first_frame_is_opened(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    decoder = image_files.image_decoder
    monkeypatch.setattr(
        image_files, "image_decoder", lambda path, *rest: opened.append(path.name) or decoder(path, *rest)
    )
    (frames / "S2/img1/img000003.jpg").write_bytes(b"")
    images = load(sequences(), frames)
    assert opened == ["img000001.jpg"] * 2
    assert {(image.width, image.height) for image in images} == {(64, 48)}
    assert images[4].read(0, 0, 64, 48).shape == (3, 48, 64)
    with pytest.raises(InputError, match=r"images\[5\]: .*img1.img000003\.jpg is not a readable image"):
        images[5].read(0, 0, 64, 48)


def test_a_frame_of_another_size_is_told_when_it_is_read(frames: Path) -> None:
    picture(frames / "S1/img000002.jpg", 50, 48)
    with pytest.raises(InputError, match=r"images\[1\]: .* has 50 x 48 px, the row says 64 x 48"):
        load(sequences(), frames)[1].read(0, 0, 9, 9)


def test_a_sequence_without_frames(frames: Path) -> None:
    names = np.array([f"../S{row}/img000001.jpg" for row in range(6)], dtype=object)
    with pytest.raises(InputError, match=r"img000001\.jpg: is missing|leads out of"):
        load(sequences(names=names), frames)


# Sources in a configuration


def config(**source: Any) -> Config:
    values: dict[str, Any] = {
        "classes": ["vehicle"],
        "bundle": {"name": "x"},
        "model": {"masks": False},
        "run": {"steps": 1},
        "data": {
            "train": [{"kind": "dataset", **source}],
            "class_map": dict.fromkeys(("car", "truck", "bus"), "vehicle"),
        },
    }
    return Config.model_validate(values)


@pytest.fixture
def uavdt(frames: Path) -> dict[str, Any]:
    (frames / "GT").mkdir()
    for name in ("S1", "S2"):
        (frames / f"GT/{name}_gt_whole.txt").write_text("1,1,5,5,20,20,1,1,1\n3,1,6,5,20,20,1,1,3\n")
        (frames / f"GT/{name}_gt_ignore.txt").write_text("1,1,40,0,20,20,1,-1,-1\n")
    return {"format": "uavdt", "path": frames / "GT", "images": frames}


def test_frames_nobody_annotated_are_left_out_and_told(uavdt: dict[str, Any]) -> None:
    told: list[str] = []
    chips = training_chips(config(**uavdt), told.append)
    assert [image.name for image in chips._sources[0]] == [
        f"{name}/img{frame:06d}.jpg" for name in ("S1", "S2") for frame in (1, 3)
    ]
    assert told[-1] == f"{uavdt['path']}: 2 of 6 images hold no object and are not used"
    assert "S1 is annotated in 2 of 3 frames" in told[0]
    assert len(training_chips(config(**uavdt, empty_images=True))._sources[0]) == 6
    some = training_chips(config(**uavdt, leave_out=["S1"]))._sources[0]
    assert {image.name.split("/")[0] for image in some} == {"S2"}
    assert chips.draw(0, 0, 0).labels.max() == 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"leave_out": ["M0207"]}, InputError, "leave_out names M0207, which is not in the set"),
        ({"split": "test"}, InputError, "holds no test sequence"),
    ],
)
def test_sources_that_make_no_sense(uavdt: dict[str, Any], change: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        training_chips(config(**uavdt | change))


def test_images_of_yolo_labels_are_found_as_the_reader_finds_them(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    for path in ("labels/train", "labels", "."):
        if path != "labels/train":
            (tmp_path / "labels" / "classes.txt").write_text("car\n")
        source = {"kind": "dataset", "format": "yolo", "path": tmp_path / path, "class_names": ["car"]}
        chips = training_chips(config(**source))
        assert len(chips._sources[0]) == 1


def test_what_a_reader_notes_is_told_once_with_its_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": [row, {**row, "id": 2, "ignore": 1}],
        "categories": [{"id": 1, "name": "car"}],
    }
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content))
    for source in ({"kind": "coco", "annotations": path}, {"kind": "dataset", "format": "coco", "path": path}):
        told: list[str] = []
        training_chips(config(**source), told.append)
        assert len(told) == 1
        assert told[0].startswith(f"{path}: 1 annotations say ignore: 1")
