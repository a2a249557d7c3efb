"""Tiling of sets: iSAID and DOTA as their devkits do it, any set in any size, resumable and the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.annotations import Annotations, Images, Runs
from d2det_geo.data.formats.isaid_layout import Triple
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import format_named
from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline import tile_set_isaid
from d2det_geo.pipeline.folder import unfinished_path
from d2det_geo.pipeline.tile_set import MANIFEST, SetToTile, tile_set
from d2det_geo.pipeline.tile_set_dota import cut_objects, four_corners
from d2det_geo.raster.windows import scene_windows
from tests.isaid_files import scattered, write_rgb, write_triple

ROOT = Path(__file__).parents[1]


def read_image(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def book_of(out, name="instancesonly_filtered_train.json"):
    return json.loads((out / name).read_text())


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def isaid(source, out, **more):
    fields = {key: more.pop(key) for key in ("devkit_ids", "chip_size", "overlap") if key in more}
    return tile_set(SetToTile(source, devkit="isaid", **fields), out, **more)


# --- iSAID ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "count"), [(2086, 2557, 16), (1023, 1147, 4), (1464, 824, 6), (977, 884, 4), (824, 750, 1)]
)
def test_patch_counts_of_the_devkits_samples(monkeypatch, height, width, count):
    monkeypatch.setattr(tile_set_isaid, "image_size", lambda path: (width, height))
    assert tile_set_isaid._job(Triple(Path("P0002.png"), None, None), 0, "images").chips == count


@settings(deadline=None)
@given(length=st.integers(801, 14_000))
def test_windows_are_the_devkits(length):
    devkit = sorted({min(start, length - 800) for start in range(0, length, 600)})
    ours = sorted({window.col_off for window in scene_windows(length, 900, 800, 200)})
    assert ours == devkit


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """iSAID with two splits: a scene of four patches, one that is copied, and one of two in val."""
    root = tmp_path_factory.mktemp("isaid")
    for split, stem, shape, count in (
        ("train", "P0010", (1000, 1100), 90),
        ("train", "P0002", (300, 400), 40),
        ("train", "P1527", (50, 60), 3),
        ("val", "P0003", (801, 803), 80),
        ("test", "P0006", (820, 830), 1),
    ):
        ids, classes = scattered(*shape, count, seed=count)
        write_triple(root / split, stem, ids, classes, released=split == "train", seed=count)
    for path in (root / "test/images").glob("*_instance_*"):
        path.unlink()
    return root


@pytest.fixture(scope="module")
def tiled(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "patches"
    return isaid(scenes, out, workers=1), out


def test_names_and_pixels(scenes, tiled):
    summary, out = tiled
    names = ["P0002", *(f"P0010_{y}_{y + 800}_{x}_{x + 800}" for y in (0, 200) for x in (0, 300))]
    suffixes = ("", "_instance_color_RGB", "_instance_id_RGB")
    found = {path.name for path in (out / "train/images").iterdir()}
    assert found == {f"{name}{suffix}.png" for name in names for suffix in suffixes}
    assert sorted(path.name for path in (out / "test/images").iterdir()) == [
        f"P0006_{y}_{y + 800}_{x}_{x + 800}.png" for y in (0, 20) for x in (0, 30)
    ]
    for suffix, folder in zip(suffixes, ("images", "Semantic_masks/images", "Instance_masks/images"), strict=True):
        whole = read_image(scenes / "train" / folder / f"P0010{suffix}.png")
        patch = read_image(out / "train/images" / f"P0010_200_1000_300_1100{suffix}.png")
        assert (patch == whole[200:1000, 300:1100]).all()
        copy = (out / "train/images" / f"P0002{suffix}.png").read_bytes()
        assert copy == (scenes / "train" / folder / f"P0002{suffix}.png").read_bytes()
    assert summary.notices == ("train/P1527 left out, as the devkit does",)
    assert (summary.scenes, summary.chips) == (4, 1 + 4 + 4 + 4)


def test_books_number_as_the_devkit_from_1(tiled):
    summary, out = tiled
    assert summary.annotation_files == (
        "train/instancesonly_filtered_train.json",
        "val/instancesonly_filtered_val.json",
        "test/test_info.json",
    )
    train, val, test = (json.loads((out / name).read_text()) for name in summary.annotation_files)
    assert [image["id"] for image in train["images"]] == list(range(5))
    assert [image["id"] for image in val["images"]] == list(range(4))
    assert [image["file_name"] for image in train["images"]][:2] == ["P0002.png", "P0010_0_800_0_800.png"]
    assert train["images"][4] == {
        "id": 4,
        "file_name": "P0010_200_1000_300_1100.png",
        "width": 800,
        "height": 800,
        "ins_file_name": "P0010_200_1000_300_1100_instance_id_RGB.png",
        "seg_file_name": "P0010_200_1000_300_1100_instance_color_RGB.png",
        "scene": "P0010.png",
        "window": [300, 200, 800, 800],
    }
    assert "annotations" not in test
    assert [image["id"] for image in test["images"]] == [0, 1, 2, 3]
    assert "ins_file_name" not in test["images"][0]
    for book in (train, val, test):
        assert [category["id"] for category in book["categories"]] == list(range(1, 16))
    ids = [row["id"] for row in train["annotations"]]
    assert ids[0] == 1
    assert ids == sorted(set(ids))
    assert val["annotations"][0]["id"] > ids[-1]
    assert summary.annotations == len(train["annotations"]) + len(val["annotations"])


def test_annotations_are_those_of_the_patches(tiled):
    """What the reader of PNG triples makes of the patches is what the books say, and reads as such."""
    _, out = tiled
    for split in ("train", "val"):
        path = out / split / f"instancesonly_filtered_{split}.json"
        patches = format_named("isaid-png", "read").read(out / split, Reading())
        book = format_named("isaid", "read").read(path, Reading())
        assert book.images.names.tolist() == patches.images.names.tolist()
        assert book.images.ids.tolist() == patches.images.ids.tolist()
        assert (book.labels == patches.labels).all()
        assert (book.boxes == patches.boxes).all()
        assert (book.areas == patches.areas).all()
        assert (book.image == patches.image).all()
        assert all(a.equals_exact(b, 0) for a, b in zip(book.outlines, patches.outlines, strict=True))
        assert book.images.groups is not None
        assert book.images.windows is not None


def test_devkit_ids(scenes, tmp_path, tiled):
    isaid(scenes, tmp_path / "out", devkit_ids=True)
    ours, theirs = (book_of(out / "train") for out in (tiled[1], tmp_path / "out"))
    assert [row["id"] + 1 for row in theirs["annotations"]] == [row["id"] for row in ours["annotations"]]
    assert theirs["annotations"][0]["id"] == 0
    seen = list(dict.fromkeys(row["category_id"] for row in theirs["annotations"]))
    assert [category["id"] for category in theirs["categories"]] == seen
    val, ours_val = (book_of(out / "val", "instancesonly_filtered_val.json") for out in (tmp_path / "out", tiled[1]))
    assert [row["id"] + 1 for row in val["annotations"]] == [row["id"] for row in ours_val["annotations"]]


def test_one_split_lies_in_the_folder_itself(scenes, tmp_path):
    summary = isaid(scenes / "val", tmp_path / "out")
    assert summary.annotation_files == ("instancesonly_filtered_val.json",)
    assert book_of(tmp_path / "out", "instancesonly_filtered_val.json")["annotations"][0]["id"] == 1
    assert len(list((tmp_path / "out/images").iterdir())) == 12


def test_left_out_is_counted(tmp_path):
    ids = np.zeros((30, 40), np.uint32)
    ids[1:3, 1:6], ids[10:14, 1:9], ids[20:24, 5:9], ids[20:24, 15:19], ids[28, 30] = 1001, 1002, 1003, 1004, 1004
    write_triple(tmp_path / "train", "P0001", ids, {1001: 9, 1002: 9, 1004: 9})
    write_triple(tmp_path / "train", "P0002", np.full((9, 9), 1001, np.uint32), {1001: 2})
    summary = isaid(tmp_path / "train", tmp_path / "out")
    assert summary.left_out == {"10 px or fewer": 1, "a part of 1 or 2 px": 1, "no class": 1}
    rows = book_of(tmp_path / "out")["annotations"]
    assert [(row["id"], row["bbox"], row["category_id"]) for row in rows] == [
        (2, [1, 10, 8, 4], 9),  # 1 is used up by the small one
        (3, [0, 0, 9, 9], 2),
    ]


# --- the same every time ----------------------------------------------------------------------------------


def test_workers_change_nothing(scenes, tmp_path, tiled):
    isaid(scenes, tmp_path / "out", workers=2)
    assert digest(tmp_path / "out") == digest(tiled[1])


def test_progress_counts_chips(scenes, tmp_path):
    calls = []
    isaid(scenes, tmp_path / "out", workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 13) for done in range(1, 14)]


def interrupted(scenes, out, after):
    """Stop a tiling as Ctrl-C does."""

    def stop(done, total):
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        isaid(scenes, out, workers=1, progress=stop)


@pytest.mark.parametrize(("after", "counted"), [(3, range(1, 14)), (9, [1, 5, 9, 10, 11, 12, 13])])
def test_interrupted_and_resumed(scenes, tmp_path, tiled, after, counted):
    out = tmp_path / "out"
    interrupted(scenes, out, after)
    assert not out.exists()
    assert unfinished_path(out).exists()
    with pytest.raises(OutputExistsError, match=r"out\.unfinished: left by an interrupted run; pass --resume"):
        isaid(scenes, out)
    calls = []
    summary = isaid(scenes, out, resume=True, progress=lambda done, total: calls.append(done))
    assert calls == list(counted)  # scenes that were done are counted at once
    assert digest(out) == digest(tiled[1])
    assert summary.annotations == tiled[0].annotations
    assert not unfinished_path(out).exists()
    again = isaid(scenes, out, resume=True, progress=lambda done, total: calls.append("again"))
    assert "again" not in calls
    assert again == summary


def test_nothing_done_leaves_nothing(scenes, tmp_path):
    interrupted(scenes, tmp_path / "out", 0)
    assert list(tmp_path.iterdir()) == []


def test_other_work_is_not_resumed(scenes, tmp_path):
    out = tmp_path / "out"
    interrupted(scenes, out, 8)
    with pytest.raises(UsageError, match=r"the interrupted run was another \(devkit_ids differ\)"):
        isaid(scenes, out, resume=True, devkit_ids=True)
    isaid(scenes / "val", out, overwrite=True)
    assert (out / "images").is_dir()
    with pytest.raises(OutputExistsError, match="made of another set or with other options"):
        isaid(scenes, out, resume=True)
    with pytest.raises(OutputExistsError, match="not empty"):
        isaid(scenes, out)
    (out / "images/mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match=r"holds 'images/mine\.txt', which was not written here"):
        isaid(scenes, out, overwrite=True)


def test_two_at_once_are_refused(scenes, tmp_path):
    out = tmp_path / "out"
    refused = []

    def meanwhile(done, total):
        if done == 3 and not refused:
            with pytest.raises(D2DetError, match="does another process work on it") as caught:
                isaid(scenes, out, resume=True)
            refused.append(caught)

    isaid(scenes, out, workers=1, progress=meanwhile)
    assert refused


def test_killed_and_resumed(scenes, tmp_path, tiled):
    """SIGKILL at two moments: what is there in the end is what an uninterrupted run writes."""
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cuda_ops"))
    command = [sys.executable, "-m", "d2det_cli", "tile", str(scenes), "-o", "out", "--devkit", "isaid", "-q"]
    for options in (("--workers", "1"), ("--resume",)):
        process = subprocess.Popen(
            [*command, *options], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE
        )
        done = tmp_path / "out.unfinished/done"
        while process.poll() is None and not (options[0] == "--workers" and done.is_dir() and any(done.iterdir())):
            time.sleep(0.002)
        if options[0] == "--workers":
            process.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert digest(tmp_path / "out") == digest(tiled[1])


# --- bad input --------------------------------------------------------------------------------------------


def test_a_bad_scene_is_named_with_its_place(tmp_path):
    ids = np.zeros((900, 900), np.uint32)
    ids[850:880, 820:880] = 5000
    write_triple(tmp_path / "train", "P0001", ids, {5000: 4})
    path = tmp_path / "train/images/P0001_instance_color_RGB.png"
    colours = read_image(path)
    colours[colours > 0] = 7
    cv2.imwrite(str(path), colours)
    with pytest.raises(InputError, match=r"P0001_instance_color_RGB\.png: colour 0,7,7 .* column 820, row 850"):
        isaid(tmp_path / "train", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"P0001_instance_color_RGB\.png: cannot read columns 0 to 900, rows"):
        isaid(tmp_path / "train", tmp_path / "out")
    write_rgb(path, np.zeros((900, 901, 3), np.uint8))
    with pytest.raises(InputError, match=r"is 900 x 900 px, but P0001_instance_color_RGB\.png is 901 x 900"):
        isaid(tmp_path / "train", tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match=r"P0001\.png: has no map P0001_instance_color_RGB\.png"):
        isaid(tmp_path / "train", tmp_path / "out")


def test_options_that_make_no_sense(tmp_path):
    for fields, words in (
        ({}, "say how to read the set"),
        ({"devkit": "isaid", "format": "coco"}, "say how to read the set"),
        ({"devkit": "isaid", "chip_size": 512}, "iSAID's devkit cuts 800 px"),
        ({"devkit": "isaid", "images": tmp_path}, "--images"),
        ({"devkit": "dota", "devkit_ids": True}, "--devkit-ids"),
        ({"format": "coco", "exact": True}, "--exact"),
        ({"format": "coco", "split": "test"}, "--split test"),
        ({"devkit": "isaid", "exact": True}, "--exact"),
        ({"format": "coco", "chip_size": 100, "overlap": 100}, "--overlap 100"),
        ({"format": "coco"}, "--from coco: give the folder of the images"),
        ({"format": "unknown", "images": tmp_path}, "'unknown' cannot be read as truth"),
    ):
        with pytest.raises(UsageError, match=words):
            tile_set(SetToTile(tmp_path, **fields), tmp_path / "out")


# --- any set ----------------------------------------------------------------------------------------------


@pytest.fixture
def coco_set(tmp_path):
    """Two images with a polygon, a mask, a box, a crowd and a sliver."""
    rng = np.random.default_rng(0)
    for name, shape in (("a/one.png", (90, 130, 3)), ("a/two.png", (40, 40))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", rng.integers(0, 255, shape).astype(np.uint8))[1].tobytes())
    mask = np.zeros((90, 130), np.uint8, order="F")
    mask[30:60, 40:90] = np.tri(30, 50, 20)
    runs = {"size": [90, 130], "counts": coco_mask.encode(mask)["counts"].decode()}
    rows = [
        {"bbox": [10, 10, 60, 20], "segmentation": [[10, 10, 70, 10, 70, 30, 10, 30]], "category_id": 5},
        {"bbox": [40, 30, 50, 30], "segmentation": runs, "category_id": 2},
        {"bbox": [70, 5, 12, 10], "category_id": 5},
        {
            "bbox": [100, 60, 20, 20],
            "segmentation": [[100, 60, 120, 60, 120, 80, 100, 80]],
            "category_id": 2,
            "iscrowd": 1,
        },
        {"bbox": [20, 77, 30, 4], "category_id": 2},
    ]
    document = {
        "images": [
            {"id": 3, "file_name": "a/one.png", "width": 130, "height": 90, "gsd_m": 0.25},
            {"id": 9, "file_name": "a/two.png", "width": 40, "height": 40},
        ],
        "annotations": [{"id": number, "image_id": 3, **row} for number, row in enumerate(rows, start=1)],
        "categories": [{"id": 5, "name": "car"}, {"id": 2, "name": "field"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(document))
    return tmp_path, mask


def test_any_set_by_hand(coco_set):
    folder, mask = coco_set
    data = SetToTile(folder / "gt.json", format="coco", images=folder / "photos", chip_size=80, overlap=20)
    summary = tile_set(data, folder / "out")
    assert (summary.scenes, summary.chips, summary.annotation_files) == (2, 5, ("annotations.json",))
    book = book_of(folder / "out", "annotations.json")
    names = [f"a_one_{y:03}_{x:03}.png" for y in (0, 10) for x in (0, 50)]
    assert [image["file_name"] for image in book["images"]] == [*names, "a_two_00_00.png"]
    assert book["images"][3] == {
        "id": 4,
        "file_name": names[3],
        "width": 80,
        "height": 80,
        "scene": "a/one.png",
        "window": [50, 10, 80, 80],
        "gsd_m": 0.25,
    }
    whole = read_image(folder / "photos/a/one.png")
    assert (read_image(folder / "out/images" / names[3]) == whole[10:90, 50:130]).all()
    assert read_image(folder / "out/images/a_two_00_00.png").ndim == 2
    assert book["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "field"}]
    last = [row for row in book["annotations"] if row["image_id"] == 4]
    assert [row["category_id"] for row in last] == [1, 2, 1, 2]
    assert (last[0]["bbox"], last[0]["area"], last[0]["visible"]) == ([0, 0, 20, 20], 400, round(20 / 60, 4))
    assert (last[2]["bbox"], last[2]["visible"], last[2].get("segmentation")) == ([20, 0, 12, 5], 0.5, None)
    assert (last[3]["iscrowd"], last[3]["bbox"]) == (1, [50, 50, 20, 20])
    seen = mask[10:90, 50:130]
    assert coco_mask.area(last[1]["segmentation"]) == seen.sum() == last[1]["area"]
    assert coco_mask.encode(np.asfortranarray(seen))["counts"].decode() == last[1]["segmentation"]["counts"]
    first = [row for row in book["annotations"] if row["image_id"] == 1]
    assert [row["id"] for row in book["annotations"]] == list(range(1, len(book["annotations"]) + 1))
    assert [row["category_id"] for row in first] == [1, 2, 1, 2]  # the last: 3 of 4 rows of the box
    assert first[3]["bbox"] == [20, 77, 30, 3]


def test_chips_read_again_as_coco(coco_set):
    folder, _ = coco_set
    data = SetToTile(folder / "gt.json", format="coco", images=folder / "photos", chip_size=80, overlap=20)
    tile_set(data, folder / "out")
    again = format_named("coco", "read").read(folder / "out/annotations.json", Reading())
    assert again.images.windows.tolist()[3] == [50, 10, 80, 80]
    assert again.images.groups.tolist() == ["a/one.png"] * 4 + ["a/two.png"]
    assert again.ignored.sum() == 1 + 1  # the crowd lies in two chips


def test_images_must_fit(coco_set):
    folder, _ = coco_set
    data = SetToTile(folder / "gt.json", format="coco", images=folder / "photos", chip_size=80, overlap=20)
    cv2.imwrite(str(folder / "photos/a/two.png"), np.zeros((41, 40), np.uint8))
    with pytest.raises(InputError, match=r"two\.png: is 40 x 41 px, but .*gt\.json says 40 x 40"):
        tile_set(data, folder / "out")
    (folder / "photos/a/two.png").unlink()
    with pytest.raises(InputError, match=r"two\.png: cannot be read as an image"):
        tile_set(data, folder / "out")


# --- DOTA -------------------------------------------------------------------------------------------------


def objects_of(*corners, difficult=0):
    outlines = np.empty(len(corners), object)
    outlines[:] = [shapely.Polygon(ring) for ring in corners]
    return Annotations(
        images=Images(np.array(["P1.png"], object), np.array([1]), np.array([[3000, 3000]])),
        classes=("plane", "ship"),
        image=np.zeros(len(corners), np.int64),
        boxes=shapely.bounds(outlines),
        labels=np.arange(len(corners)) % 2,
        ignored=np.full(len(corners), difficult > 0),
        outlines=outlines,
        columns={"difficult": np.full(len(corners), difficult)},
    )


def box(x1, y1, x2, y2):
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def test_dota_rules_by_hand():
    chip = {"corner": (800, 0), "size": 1024, "edges": (3000, 3000)}
    inside = cut_objects(objects_of(box(810.7, 10, 850, 20.9), difficult=1), **chip)
    assert inside.kept[0].corners.tolist() == [[10, 10], [50, 10], [50, 20], [10, 20]]
    assert inside.kept[0].difficult == 1
    mostly = cut_objects(objects_of(box(790, 10, 830, 20)), **chip)  # 30 of 40 columns
    assert mostly.kept[0].corners.tolist() == [[1, 10], [30, 10], [30, 20], [1, 20]]  # 0 becomes 1
    assert mostly.kept[0].difficult == 0
    hardly = cut_objects(objects_of(box(788, 10, 828, 20)), **chip)  # exactly 0.7
    assert hardly.kept[0].difficult == 2
    nothing = cut_objects(objects_of(box(700, 10, 800, 20)), **chip)
    assert (nothing.kept, nothing.left_out) == ([], {})


def test_dota_corners_of_cut_objects():
    # A diamond whose left tip is cut off has 5 corners; with all tips off, 8: dropped; of one tip, 3: dropped.
    diamond = [(790, 500), (850, 440), (910, 500), (850, 560)]
    five = cut_objects(objects_of(diamond), (800, 0), 1024, (3000, 3000))
    assert five.kept[0].corners.shape == (4, 2)
    assert five.kept[0].difficult == 0
    large = [(-100, 512), (512, -100), (1124, 512), (512, 1124)]
    eight = cut_objects(objects_of(large), (0, 0), 1024, (3000, 3000))
    assert (eight.kept, eight.left_out) == ([], {"3 or more than 5 corners when cut": 1})
    tip = cut_objects(objects_of(diamond), (890, 0), 1024, (3000, 3000))
    assert tip.left_out == {"3 or more than 5 corners when cut": 1}


def test_four_of_five_corners():
    corners = np.array([(0, 0), (10, 0), (10, 8), (9, 10), (0, 10)], float)
    assert four_corners(corners).tolist() == [[0, 0], [10, 0], [9.5, 9], [0, 10]]
    turned = np.roll(corners, 1, axis=0)
    assert sorted(four_corners(turned).tolist()) == sorted(four_corners(corners).tolist())
    last = np.array([(0, 1), (5, 0), (10, 0), (10, 10), (0.5, 0.5)], float)  # the shortest edge is from the last
    assert four_corners(last).tolist() == [[5, 0], [10, 0], [10, 10], [0.25, 0.75]]


def test_dota_ends_a_pixel_before_the_scene():
    objects = objects_of(box(990, 10, 1000, 20))
    cut = cut_objects(objects, (0, 0), 1024, (1000, 900))
    assert cut.kept[0].corners[:, 0].max() == 999
    assert cut.kept[0].difficult == 0  # 9 of 10 columns


def test_dota_set(tmp_path):
    split = tmp_path / "train"
    write_rgb(split / "images/P0001.png", np.random.default_rng(0).integers(0, 255, (1500, 900, 3)).astype(np.uint8))
    (split / "labelTxt").mkdir()
    lines = [
        "imagesource:GoogleEarth",
        "gsd:0.2",
        "10 10 60 10 60 30 10 30 plane 0",
        "100 1000 140 1000 140 1100 100 1100 ship 1",
    ]
    (split / "labelTxt/P0001.txt").write_text("".join(f"{line}\n" for line in lines))
    summary = tile_set(SetToTile(split, devkit="dota"), tmp_path / "out")
    names = ["P0001__1__0___0", "P0001__1__0___476"]
    assert sorted(path.stem for path in (tmp_path / "out/images").iterdir()) == names
    patch = read_image(tmp_path / "out/images/P0001__1__0___476.png")
    assert patch.shape == (1024, 1024, 3)
    assert (patch[:, :900] == read_image(split / "images/P0001.png")[476:]).all()
    assert not patch[:, 900:].any()
    labels = [(tmp_path / f"out/labelTxt/{name}.txt").read_text() for name in names]
    assert labels == [
        "10.0 10.0 60.0 10.0 60.0 30.0 10.0 30.0 plane 0\n100.0 1000.0 140.0 1000.0 140.0 1024.0 100.0 1024.0 ship 2\n",
        "100.0 524.0 140.0 524.0 140.0 624.0 100.0 624.0 ship 1\n",
    ]
    book = book_of(tmp_path / "out", "annotations.json")
    assert [image["window"] for image in book["images"]] == [[0, 0, 1024, 1024], [0, 476, 1024, 1024]]
    assert [image["gsd_m"] for image in book["images"]] == [0.2, 0.2]
    assert [row["difficult"] for row in book["annotations"]] == [0, 2, 1]
    assert [row["ignore"] for row in book["annotations"]] == [0, 1, 1]
    assert summary.chips == 2
    again = format_named("dota", "read").read(tmp_path / "out/labelTxt", Reading(images=tmp_path / "out/images"))
    assert len(again) == 3


def test_dota_splits_and_missing_files(tmp_path):
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            write_rgb(tmp_path / f"{split}/images/P{number}.png", np.zeros((40, 30, 3), np.uint8))
            (tmp_path / split / "labelTxt").mkdir(exist_ok=True)
            (tmp_path / split / f"labelTxt/P{number}.txt").write_text("1 1 9 1 9 5 1 5 ship 0\n")
    for path in (tmp_path / "test/labelTxt").iterdir():
        path.unlink()
    (tmp_path / "test/labelTxt").rmdir()
    data = SetToTile(tmp_path, devkit="dota", chip_size=64, overlap=16)
    summary = tile_set(data, tmp_path / "out")
    assert (summary.scenes, summary.chips, summary.annotations) == (4, 4, 3)
    train, val, test = (book_of(tmp_path / "out" / split, "annotations.json") for split in ("train", "val", "test"))
    assert [row["id"] for row in train["annotations"] + val["annotations"]] == [1, 2, 3]
    assert "annotations" not in test
    assert (test["images"][0]["width"], test["images"][0]["window"]) == (64, [0, 0, 64, 64])
    write_rgb(tmp_path / "val/images/P7.png", np.zeros((40, 30, 3), np.uint8))
    with pytest.raises(InputError, match=r"P7\.png: has no labels; give .*P7\.txt"):
        tile_set(data, tmp_path / "out2")
    (tmp_path / "val/images/P7.png").unlink()
    (tmp_path / "val/images/P0.png").unlink()
    write_rgb(tmp_path / "val/images/P1.png", np.zeros((40, 30, 3), np.uint8))
    with pytest.raises(InputError, match=r"P0"):
        tile_set(data, tmp_path / "out2")


# --- the command ------------------------------------------------------------------------------------------


def test_command(scenes, tmp_path, tiled):
    run = CliRunner().invoke
    out = tmp_path / "patches"
    result = run(app, ["tile", str(scenes), "-o", str(out), "--devkit", "isaid", "--json", "--progress", "none"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["chips"], report["scenes"]) == (13, 4)
    assert "13 chips of 4 images" in result.stderr
    assert digest(out) == digest(tiled[1])
    assert run(app, ["tile", str(scenes), "-o", str(out), "--devkit", "isaid", "-q"]).exit_code == 5
    assert run(app, ["tile", str(scenes), "-o", str(out), "--devkit", "isaid", "-q", "--resume"]).exit_code == 0
    for more in (["--labels", "x.gpkg", "--devkit", "isaid"], ["--resume"], ["--images", "x"], ["--workers", "2"]):
        result = run(app, ["tile", str(scenes), "-o", str(tmp_path / "no"), *more])
        assert result.exit_code == 2, result.output
        assert "leave it out" in result.stderr


def test_manifest_names_no_folders(tiled, scenes):
    text = (tiled[1] / MANIFEST).read_text()
    assert str(scenes) not in text


def test_masks_are_painted_right():
    mask = np.asfortranarray(np.random.default_rng(0).random((7, 5)) < 0.5).astype(np.uint8, order="F")
    from d2det_geo.pipeline.tile_set_cut import _pixels  # noqa: PLC0415

    assert (_pixels(Runs(3, 4, 5, 7, coco_mask.encode(mask)["counts"])) == mask).all()


# --- what a resumed run goes on with -----------------------------------------------------------------------


def dota(folder, labels=("10 10 30 10 30 30 10 30 plane 0",), count=2):
    for number in range(1, count + 1):
        write_rgb(folder / f"images/P{number}.png", np.full((40, 50, 3), 9 * number, np.uint8))
        (folder / "labelTxt").mkdir(exist_ok=True)
        (folder / f"labelTxt/P{number}.txt").write_text("".join(f"{line}\n" for line in labels))
    return SetToTile(folder, devkit="dota", chip_size=32, overlap=8)


def same_time(path, edit):
    """Edit a file without a trace in its time."""
    before = path.stat()
    edit(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_edit_of_the_same_size_is_not_missed(tmp_path):
    data = dota(tmp_path / "train")
    out = tmp_path / "out"
    tile_set(data, out)
    tile_set(data, out, resume=True)
    label = tmp_path / "train/labelTxt/P2.txt"
    same_time(label, lambda path: path.write_text(path.read_text().replace("plane 0", "plane 1")))
    with pytest.raises(OutputExistsError, match=r"made before P2\.png or what belongs to it changed; pass --overwrite"):
        tile_set(data, out, resume=True)
    tile_set(data, out, overwrite=True)
    assert "plane 1" in (out / "labelTxt/P2__1__0___0.txt").read_text()


def test_copies_of_a_set_are_the_same_set(coco_set, tmp_path_factory):
    folder, _ = coco_set
    data = SetToTile(folder / "gt.json", format="coco", images=folder / "photos", chip_size=80, overlap=20)
    tile_set(data, folder / "out")
    before = digest(folder / "out")
    os.utime(folder / "gt.json", (1, 1))
    os.utime(folder / "photos/a/one.png", (1, 1))
    tile_set(data, folder / "out", resume=True)
    tile_set(data, folder / "again")
    assert digest(folder / "again") == before
    text = (folder / "gt.json").read_text()
    (folder / "gt.json").write_text(text.replace("[70, 5, 12, 10]", "[70, 5, 12, 11]"))
    with pytest.raises(OutputExistsError, match="another set or with other options"):
        tile_set(data, folder / "out", resume=True)


def test_a_repaired_file_is_all_that_is_cut_again(tmp_path):
    data = dota(tmp_path / "train", count=4)
    tile_set(data, tmp_path / "whole")
    third, second = (tmp_path / f"train/images/P{number}.png" for number in (3, 2))
    good = third.read_bytes(), second.read_bytes()
    third.write_bytes(good[0][:-30])
    write_rgb(second, np.full((40, 50, 3), 200, np.uint8))
    with pytest.raises(InputError, match=r"P3\.png") as failed:
        tile_set(data, tmp_path / "out", workers=1)
    assert "--resume" in failed.value.__notes__[0]
    third.write_bytes(good[0])
    second.write_bytes(good[1])  # was cut, and changed since
    calls = []
    tile_set(data, tmp_path / "out", resume=True, workers=1, progress=lambda done, total: calls.append(done))
    assert calls[0] == 4  # the first scene is not cut again
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


# --- nothing is lost without a word ------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "cut"), [(8, True), (16, False)])
def test_small_images_are_looked_at_before_they_are_copied(tmp_path, bits, cut):
    image = np.random.default_rng(0).integers(0, 255, (90, 80), np.uint8).astype(f"uint{bits}")
    (tmp_path / "test/images").mkdir(parents=True)
    path = tmp_path / "test/images/P0001.png"
    cv2.imwrite(str(path), image)
    if cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"P0001\.png: (cannot read columns|1 band\(s\) of uint16)"):
        isaid(tmp_path / "test", tmp_path / "out")


def test_flat_objects_and_those_beside_the_image_are_counted(tmp_path):
    (tmp_path / "annotations").mkdir()
    write_rgb(tmp_path / "images/a.png", np.zeros((60, 80, 3), np.uint8))
    rows = ["5,5,20,20,1,4,0,0", "30,30,20,0,1,4,0,0", "85,5,20,20,1,4,0,0", "90,70,10,0,1,4,0,0"]
    (tmp_path / "annotations/a.txt").write_text("".join(f"{row}\n" for row in rows))
    for number, size in enumerate((80, 40)):
        cut = {"chip_size": size, "overlap": 10}
        data = SetToTile(tmp_path / "annotations", format="visdrone", images=tmp_path / "images", **cut)
        summary = tile_set(data, tmp_path / f"out{number}")
        assert summary.left_out == {"no area": 1, "no part inside the image": 2}
    data = dota(tmp_path / "dota", ["10 10 30 10 30 30 10 30 plane 0", "60 10 70 10 70 30 60 30 plane 0"], 1)
    assert tile_set(data, tmp_path / "out").left_out["no part inside the image"] == 1


def test_what_the_reader_notes_is_told(tmp_path, coco_set):
    folder, _ = coco_set
    content = json.loads((folder / "gt.json").read_text())
    content["annotations"][0]["ignore"] = 1
    (folder / "gt.json").write_text(json.dumps(content))
    reading = Reading(images=folder / "photos")
    format_named("coco", "read").read(folder / "gt.json", reading)
    data = SetToTile(folder / "gt.json", format="coco", images=folder / "photos")
    assert tile_set(data, folder / "out").notices == tuple(reading.notices) != ()


# --- options of single formats -----------------------------------------------------------------------------


def test_exact_masks_of_isaid_and_a_part_of_uavdt(tmp_path):
    ids = np.zeros((40, 50), np.uint32)
    ids[5:15, 5:25] = 1001
    write_triple(tmp_path / "train", "P0001", ids, {1001: 9})
    fields = {"format": "isaid-png", "images": tmp_path / "train/images"}
    for exact, area in ((True, 200), (False, 19 * 9)):
        tile_set(SetToTile(tmp_path / "train", exact=exact, **fields), tmp_path / str(exact))
        (row,) = book_of(tmp_path / str(exact), "annotations.json")["annotations"]
        assert row["area"] == area
    (tmp_path / "GT").mkdir()
    for name in ("M0101", "M0203"):
        for kind in ("whole", "ignore"):
            (tmp_path / f"GT/{name}_gt_{kind}.txt").write_text("")
    data = SetToTile(tmp_path / "GT", format="uavdt", images=tmp_path / "none", split="test")
    with pytest.raises(InputError, match="M0203"):
        tile_set(data, tmp_path / "chips")
