"""iSAID's files: PNG triples by the devkit's rules and to the pixel, JSON with its id traps, the server's zip."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from d2det_geo.annotations import Annotations, Images, Runs
from d2det_geo.data.formats import isaid_results, zip_file
from d2det_geo.data.formats.contours import exact_runs, gathered, packed, stretches
from d2det_geo.data.formats.isaid_classes import CLASSES, COLOURS, UNLABELLED, labels_of_colours
from d2det_geo.data.formats.isaid_maps import drawn, labels
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import format_named
from d2det_geo.errors import InputError
from tests.isaid_files import PALETTE, colour_pixels, id_pixels, scattered, write_rgb, write_triple

GOLDEN = Path(__file__).parent / "golden/protocols/09_isaid_instance_map_to_annotations.json"
PACKED = {number: int(red) | int(green) << 8 | int(blue) << 16 for number, (red, green, blue) in enumerate(PALETTE, 1)}


def read_png(path, *, exact=False):
    return format_named("isaid-png", "read").read(path, Reading(exact=exact))


def read_json(path, **reading):
    return format_named("isaid", "read").read(path, Reading(**reading))


def raster_area(outline, height, width):
    rings = [shapely.get_coordinates(part.exterior)[:-1].ravel().tolist() for part in shapely.get_parts(outline)]
    return int(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(rings, height, width))))


def pixels_of(segmentation):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools does not know numpy 2
        return coco_mask.decode(segmentation)


def decoded(runs, height, width):
    mask = np.zeros((height, width), bool)
    crop = pixels_of({"size": [runs.height, runs.width], "counts": runs.counts})
    mask[runs.y : runs.y + runs.height, runs.x : runs.x + runs.width] = crop
    return mask


# --- the devkit's rules -----------------------------------------------------------------------------------


@pytest.fixture
def golden(tmp_path):
    case = json.loads(GOLDEN.read_text())
    ids = np.array(case["instance_ids"], np.uint32)
    write_triple(tmp_path / "train", "P0001", ids, {int(key): value for key, value in case["category_of_id"].items()})
    return case, tmp_path / "train"


def test_golden_case_9(golden):
    case, split = golden
    truth = read_png(split)
    wanted = case["expected"]["annotations"]
    assert truth.columns["instance"].tolist() == [row["instance"] for row in wanted]
    assert truth.areas.tolist() == [row["area"] for row in wanted]
    corners = truth.boxes.copy()
    corners[:, 2:] -= corners[:, :2]
    assert corners.tolist() == [row["bbox"] for row in wanted]
    assert [len(shapely.get_parts(outline)) for outline in truth.outlines] == [row["contours"] for row in wanted]
    assert (truth.labels + 1).tolist() == [case["category_of_id"][str(row["instance"])] for row in wanted]
    assert [[*outline.bounds] for outline in truth.outlines] == (truth.boxes - (0, 0, 1, 1)).tolist()  # centres
    areas = [raster_area(outline, case["height"], case["width"]) for outline in truth.outlines]
    rasters = case["expected"]["coco_raster_area_of_polygon"]
    assert areas == [rasters[str(row["instance"])] for row in wanted] == [12, 0, 16, 6]
    assert truth.classes == CLASSES
    assert (truth.images.names.tolist(), truth.images.sizes.tolist()) == (["P0001.png"], [[24, 14]])


def test_golden_case_9_to_the_pixel(golden):
    case, split = golden
    truth = read_png(split, exact=True)
    ids = np.array(case["instance_ids"])
    assert truth.columns["instance"].tolist() == [5000, 6000, 7000, 8000, 9000, 9500]  # 200 is no instance
    for instance, outline, area in zip(truth.columns["instance"], truth.outlines, truth.areas, strict=True):
        assert (decoded(outline, *ids.shape) == (ids == instance)).all()
        assert area == (ids == instance).sum()


def test_ids_of_dropped_instances(golden):
    """The annotation ids of small instances are used up, those of flat ones are not."""
    case, _ = golden
    ids = np.array(case["instance_ids"], np.uint32)
    colours = packed(colour_pixels(ids, {int(k): v for k, v in case["category_of_id"].items()}).transpose(2, 0, 1))
    instances = gathered([stretches(ids, colours, 1000)])
    kept = drawn(instances, labels(instances, "map"))
    assert kept.places == [row["id_offset"] for row in case["expected"]["annotations"]] == [0, 1, 3, 4]
    assert (kept.used, kept.small, kept.flat, kept.unlabelled) == (5, 1, 1, 0)


def by_full_masks(ids, colours):
    """The devkit's extraction the slow way: a mask of the whole map for each id."""
    found, used = [], 0
    packed_ids = ids.astype(np.int64)
    for instance in np.unique(packed_ids):
        mask = packed_ids == instance
        least = colours[mask].min()
        number = next((number for number, colour in PACKED.items() if colour == least), None)
        if instance < 1000 or number is None:
            continue
        rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        rings = [ring.reshape(-1).tolist() for ring in rings]
        if min(len(ring) for ring in rings) <= 4:
            continue
        if mask.sum() > 10:
            points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
            box = [*points.min(axis=0).tolist(), *(points.max(axis=0) + 1).tolist()]
            found.append((int(instance), used, number, int(mask.sum()), box, rings))
        used += 1
    return found, used


@st.composite
def maps(draw):
    """Draw an id map of boxes, some of one pixel, that cut and cover each other."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    ids = np.zeros((height, width), np.uint32)
    side = st.sampled_from([1, 2, 3, 6, 9])
    for _ in range(draw(st.integers(0, 9))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        ids[y : y + draw(side), x : x + draw(side)] = draw(st.sampled_from([0, 999, 1000, 1001, 70_000, 2**24 - 1]))
    return ids


@settings(deadline=None, max_examples=120)
@given(ids=maps(), band=st.integers(1, 15), seed=st.integers(0, 9))
def test_instances_against_full_masks(ids, band, seed):
    chances = [0.33, 0.33, 0.33, 0.01]  # black seldom: it takes the class of all that touches it
    choices = [PACKED[1], PACKED[9], PACKED[15], 0]
    colours = np.random.default_rng(seed).choice(choices, ids.shape, p=chances).astype(np.uint32)
    starts = range(0, len(ids), band)
    parts = [stretches(ids[top : top + band], colours[top : top + band], 1000, top) for top in starts]
    instances = gathered(parts)
    classes = labels(instances, "map")
    kept = drawn(instances, classes)
    ours = [
        (
            int(instances.ids[row]),
            place,
            int(classes[row]) + 1,
            int(instances.areas[row]),
            instances.boxes[row].tolist(),
            [ring.ravel().tolist() for ring in rings],
        )
        for row, rings, place in zip(kept.rows, kept.rings, kept.places, strict=True)
    ]
    assert (ours, kept.used) == by_full_masks(ids, colours)
    for row, instance in enumerate(instances.ids):
        assert (decoded(exact_runs(instances, row), *ids.shape) == (ids == instance)).all()


def test_bands_of_a_tall_map_are_one_map(tmp_path):
    ids, classes = scattered(1100, 90, 60)
    write_triple(tmp_path, "P0007", ids, classes)
    truth = read_png(tmp_path, exact=True)
    assert len(truth) == len(np.unique(ids)) - 1
    for instance, outline in zip(truth.columns["instance"], truth.outlines, strict=True):
        assert (decoded(outline, *ids.shape) == (ids == instance)).all()


def test_ids_do_not_overflow():
    pixels = np.zeros((3, 1, 2), np.uint8)
    pixels[:, 0, 0] = (255, 254, 253)
    assert packed(pixels).tolist() == [[255 + 256 * 254 + 65536 * 253, 0]]


def test_colours_of_all_classes():
    colours = np.array([*PACKED.values(), 0, 1], np.uint32)
    assert labels_of_colours(colours).tolist() == [*range(15), UNLABELLED, -2]
    assert CLASSES[0] == "ship"
    assert CLASSES[14] == "Harbor"
    assert COLOURS["Harbor"] == (0, 100, 155)


def test_the_least_colour_says_the_class_and_black_is_none(tmp_path):
    ids = np.zeros((12, 20), np.uint32)
    ids[1:9, 1:9], ids[1:9, 11:19] = 1000, 2000
    colours = colour_pixels(ids, {1000: 14, 2000: 14})
    colours[4, 4] = PALETTE[2]  # baseball_diamond: 0,63,0 is the least of all
    colours[5, 15] = 0
    write_triple(tmp_path, "P0001", ids, {})
    write_rgb(tmp_path / "images/P0001_instance_color_RGB.png", colours)
    for exact in (False, True):
        truth = read_png(tmp_path, exact=exact)
        assert [
            (CLASSES[label], number) for label, number in zip(truth.labels, truth.columns["instance"], strict=True)
        ] == [("baseball_diamond", 1000)]


@pytest.mark.parametrize("released", [False, True])
def test_layouts_and_natural_order(tmp_path, released):
    for stem, value in (("P0010", 1500), ("P0009", 1600), ("P2", 1700)):
        ids = np.full((8, 9), value, np.uint32)
        write_triple(tmp_path / "val", stem, ids, {value: 3}, released=released)
    truth = read_png(tmp_path / "val")
    assert truth.images.names.tolist() == ["P2.png", "P0009.png", "P0010.png"]
    assert truth.images.ids.tolist() == [0, 1, 2]
    assert truth.columns["instance"].tolist() == [1700, 1600, 1500]
    if not released:
        assert len(read_png(tmp_path / "val/images")) == 3


def test_a_split_without_instances(tmp_path):
    write_triple(tmp_path, "P0001", np.zeros((5, 6), np.uint32), {})
    for exact in (False, True):
        truth = read_png(tmp_path, exact=exact)
        assert (len(truth), len(truth.images), truth.boxes.shape) == (0, 1, (0, 4))


# --- bad files --------------------------------------------------------------------------------------------


def break_sizes(folder):
    write_rgb(folder / "P0001_instance_color_RGB.png", np.zeros((40, 29, 3), np.uint8))


def break_image_size(folder):
    write_rgb(folder / "P0001.png", np.zeros((41, 30, 3), np.uint8))


def break_colour_file(folder):
    (folder / "P0001_instance_color_RGB.png").unlink()


def break_image(folder):
    (folder / "P0001.png").unlink()
    write_rgb(folder / "P0002.png", np.zeros((2, 2, 3), np.uint8))


def break_colour(folder):
    colours = cv2.imread(str(folder / "P0001_instance_color_RGB.png"))
    colours[5, 6] = (0, 3, 2)
    cv2.imwrite(str(folder / "P0001_instance_color_RGB.png"), colours)


def break_bands(folder):
    cv2.imwrite(str(folder / "P0001_instance_id_RGB.png"), np.zeros((40, 30), np.uint8))


def break_depth(folder):
    cv2.imwrite(str(folder / "P0001_instance_id_RGB.png"), np.zeros((40, 30, 3), np.uint16))


def break_end(folder):
    path = folder / "P0001_instance_id_RGB.png"
    path.write_bytes(path.read_bytes()[:-60])


def break_text(folder):
    (folder / "P0001_instance_id_RGB.png").write_text("not an image")


def break_all(folder):
    for path in folder.iterdir():
        path.unlink()


BROKEN = {
    break_sizes: r"P0001_instance_id_RGB\.png: is 30 x 40 px, but P0001_instance_color_RGB\.png is 29 x 40",
    break_image_size: r"P0001_instance_id_RGB\.png: is 30 x 40 px, but its image is 30 x 41",
    break_colour_file: r"P0001\.png: has no map P0001_instance_color_RGB\.png",
    break_image: r"images: holds no P0001\.png",
    break_colour: r"P0001_instance_color_RGB\.png: colour 2,3,0 under instance 1234 \(from column 5, row 4\)",
    break_bands: r"P0001_instance_id_RGB\.png: must be 8-bit RGB, has 1 band of uint8",
    break_depth: r"P0001_instance_id_RGB\.png: must be 8-bit RGB, has 3 bands of uint16",
    break_end: r"P0001_instance_id_RGB\.png: cannot read .* rows 0 to 40",
    break_text: r"P0001_instance_id_RGB\.png: not a raster",
    break_all: r"images: holds no \.png file",
}


@pytest.mark.parametrize("harm", BROKEN, ids=lambda harm: harm.__name__)
def test_bad_files_are_named(tmp_path, harm):
    ids = np.random.default_rng(0).integers(0, 500, (40, 30)).astype(np.uint32)  # so that the file is not empty
    ids[4:20, 5:20] = 1234
    write_triple(tmp_path, "P0001", ids, {1234: 8})
    assert len(read_png(tmp_path)) == 1
    harm(tmp_path / "images")
    with pytest.raises(InputError, match=BROKEN[harm]) as caught:
        read_png(tmp_path)
    assert "\n" not in str(caught.value)


# --- JSON -------------------------------------------------------------------------------------------------


def document(names, **image):
    """Build a released file: categories in the order they were met."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "segmentation": [[1, 1, 1, 4, 5, 4, 5, 1]],
            "category_id": number + 1,
            "category_name": name,
            "iscrowd": 0,
            "area": 20,
            "bbox": [1, 1, 5, 4],
        }
        for number, name in enumerate(names)
    ]
    return {
        "images": [{"id": 7, "file_name": "P0003.png", **image}],
        "annotations": annotations,
        "categories": categories,
    }


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


TRAIN = ["storage_tank", "Large_Vehicle", "Small_Vehicle", "plane", "ship"]
VAL = ["Harbor", "small-vehicle", "Ground Track Field", "SHIP", "Swimming_pool"]


@pytest.mark.parametrize(("names", "numbers"), [(TRAIN, [2, 8, 9, 14, 1]), (VAL, [15, 9, 6, 1, 11])])
def test_categories_are_looked_up_by_name(tmp_path, names, numbers):
    truth = read_json(write_json(tmp_path / "iSAID_train.json", document(names, width=30, height=20)))
    assert truth.classes == CLASSES
    assert truth.class_ids == tuple(range(1, 16))
    assert (truth.labels + 1).tolist() == numbers
    assert truth.columns["id"].tolist() == [0, 1, 2, 3, 4]  # 0 is an id
    assert truth.boxes[0].tolist() == [1, 1, 6, 5]


def test_class_numbers_of_a_file_of_its_own_are_told(tmp_path):
    told: list[str] = []
    read_json(write_json(tmp_path / "val.json", document(VAL, width=30, height=20)), notices=told)
    assert len(told) == 1
    assert "Harbor is 1, officially 15): detections are read with the official ones" in told[0]
    official: list[str] = []
    read_json(write_json(tmp_path / "ship.json", document(["ship"], width=30, height=20)), notices=official)
    assert official == []


def test_missing_sizes_come_from_the_images(tmp_path):
    path = write_json(tmp_path / "iSAID_train.json", document(TRAIN))
    assert read_json(path).images.sizes.tolist() == [[0, 0]]
    write_rgb(tmp_path / "images/P0003.png", np.zeros((20, 30, 3), np.uint8))
    assert read_json(path, images=tmp_path / "images").images.sizes.tolist() == [[30, 20]]


def test_unknown_category_is_refused(tmp_path):
    path = write_json(tmp_path / "gt.json", document([*TRAIN, "container-crane"], width=30, height=20))
    with pytest.raises(InputError, match=r"gt\.json: categories\[5\]\.name: 'container-crane' is none of iSAID's"):
        read_json(path)


def test_truncated_json_is_told(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document(TRAIN))[:-20])
    with pytest.raises(InputError, match=r"gt\.json: .*cut short"):
        read_json(path)


# --- results ----------------------------------------------------------------------------------------------


@pytest.fixture
def predictions():
    images = Images(np.array(["a.png", "b.png"], object), np.array([0, 4]), np.array([[30, 20], [40, 25]]))
    crop = np.asfortranarray(np.tri(5, 4, dtype=np.uint8))
    runs = Runs(6, 7, 4, 5, coco_mask.encode(crop)["counts"])
    holed = shapely.Polygon([(1, 1), (20, 1), (20, 18), (1, 18)], [[(5, 5), (5, 10), (10, 10), (10, 5)]])
    outlines = np.empty(3, object)
    outlines[:] = [runs, shapely.box(2, 3, 12, 9), holed]
    return Annotations(
        images=images,
        classes=CLASSES,
        image=np.array([1, 0, 0]),
        boxes=np.array([[6, 7, 10, 12], [2, 3, 12, 9], [1, 1, 20, 18]], float),
        labels=np.array([14, 0, 8]),
        ignored=np.zeros(3, bool),
        scores=np.array([0.25, 1 / 3, 0.5]),
        outlines=outlines,
        class_ids=tuple(range(1, 16)),
    )


def test_server_zip(tmp_path, predictions):
    write = format_named("isaid", "write_results").write_results
    write(predictions, tmp_path / "a.zip")
    write(predictions, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["instance_result.json"]
        rows = json.loads(archive.read("instance_result.json"))
    assert [set(row) for row in rows] == [{"image_id", "category_id", "segmentation", "score"}] * 3
    assert [(row["image_id"], row["category_id"], row["score"]) for row in rows] == [
        (4, 15, 0.25),
        (0, 1, 1 / 3),
        (0, 9, 0.5),
    ]
    assert [row["segmentation"]["size"] for row in rows] == [[25, 40], [20, 30], [20, 30]]
    masks = [pixels_of(row["segmentation"]) for row in rows]
    assert (masks[0][7:12, 6:10] == np.tri(5, 4)).all()
    assert masks[0].sum() == np.tri(5, 4).sum()
    assert masks[1].sum() == 60
    assert masks[2].sum() == pytest.approx(19 * 17 - 25, abs=6)  # of a hole, to the rounding of its cut
    assert masks[2][7, 7] == 0


def test_results_read_again(tmp_path, predictions):
    spec = format_named("isaid", "read_results")
    spec.write_results(predictions, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        archive.extractall(tmp_path)
    for name in ("r.zip", "instance_result.json"):
        back = spec.read_results(tmp_path / name, predictions, Reading())
        assert back.images is predictions.images
        assert back.classes == predictions.classes
        assert back.scores.tolist() == predictions.scores.tolist()
        assert back.labels.tolist() == predictions.labels.tolist()
        assert back.boxes[0].tolist() == [6, 7, 10, 12]


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.json", text)
    return path


def test_bad_results_are_named(tmp_path, predictions, monkeypatch):
    def refused(path, words):
        with pytest.raises(InputError, match=words) as caught:
            isaid_results.read_results(path, predictions, Reading())
        assert "\n" not in str(caught.value)

    refused(
        zipped(tmp_path / "two.zip", a="[]", b="[]"), r"two\.zip: must hold exactly one JSON file, holds a\.json, b"
    )
    refused(zipped(tmp_path / "none.zip"), r"none\.zip: must hold exactly one JSON file, holds nothing")
    refused(zipped(tmp_path / "bad.zip", a="[{"), r"bad\.zip: a\.json: Invalid JSON")
    row = '[{"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]'
    refused(zipped(tmp_path / "row.zip", a=row), r"row\.zip: a\.json: results\[0\]\.image_id.* 3")
    refused(tmp_path / "missing.zip", r"missing\.zip: cannot be read")
    cut = tmp_path / "cut.zip"
    data = bytearray(zipped(tmp_path / "whole.zip", a=json.dumps(list(range(999)))).read_bytes())
    data[60:90] = bytes(30)
    cut.write_bytes(bytes(data))
    refused(cut, r"cut\.zip: cannot be unpacked")
    shrunk = zipped(tmp_path / "shrunk.zip", a="[" + " " * 20_000_000 + "]")
    refused(shrunk, r"shrunk\.zip: a\.json would unpack to 20 MB, \d+ times what is there")
    monkeypatch.setattr(zip_file, "LARGEST", 999)
    refused(zipped(tmp_path / "bomb.zip", a="[" + " " * 10_000 + "]"), r"bomb\.zip: a\.json would unpack to")


def test_results_need_masks(tmp_path, predictions):
    outlines = predictions.outlines.copy()
    outlines[1] = None
    with pytest.raises(InputError, match=r"a\.png: a detection has no outline"):
        isaid_results.write_results(
            Annotations(
                predictions.images,
                CLASSES,
                predictions.image,
                predictions.boxes,
                predictions.labels,
                predictions.ignored,
                predictions.scores,
                outlines,
            ),
            tmp_path / "r.zip",
        )


def test_no_results_are_an_empty_list(tmp_path, predictions):
    none = predictions.rows(np.zeros(0, np.intp))
    isaid_results.write_results(none, tmp_path / "r.zip")
    assert len(isaid_results.read_results(tmp_path / "r.zip", predictions, Reading())) == 0


def test_pixels_of_ids_and_back():
    ids = np.array([[0, 1000, 2**24 - 1]], np.uint32)
    assert (packed(id_pixels(ids).transpose(2, 0, 1)) == ids).all()
