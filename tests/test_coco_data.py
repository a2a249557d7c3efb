"""COCO files: rows to objects, both notations of outlines, resampling, and every way a row can be wrong."""

import json
from collections import Counter

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from rasterio.features import rasterize

from d2det_geo.data.coco import coco_images
from d2det_geo.data.truth import ClassMap
from d2det_geo.errors import InputError

WIDTH, HEIGHT = 60, 40
CLASSES = ClassMap(("car", "boat"), {"van": "car", "tree": ""}, ("blur",))
NAMES = {1: "car", 2: "boat", 3: "van", 4: "tree", 5: "blur"}
PIXELS = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def box(category, *bbox, **more):
    return {"image_id": 7, "category_id": category, "bbox": list(bbox), **more}


@pytest.fixture
def write(tmp_path):
    """Write a COCO file with one image and return its path."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")

    def make(*annotations, **image):
        row = {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, **image}
        categories = [{"id": key, "name": name} for key, name in NAMES.items()]
        path = tmp_path / "coco.json"
        path.write_text(json.dumps({"images": [row], "annotations": annotations, "categories": categories}))
        return path

    return make


def load(path, **options):
    return coco_images(path, path.parent, class_map=CLASSES, **options)


def test_rows_by_hand(write):
    path = write(
        box(1, 10, 20, 5, 8, id=1, area=40, iscrowd=0),
        box(3, 0.5, 1.5, 20, 3),
        box(2, 30, 10, 7, 9),
        box(4, 1, 1, 3, 3),  # mapped to nothing
        box(5, 40, 30, 10, 6),  # a class to ignore
        box(1, 50, 5, 8, 4, iscrowd=1),
    )
    (image,) = load(path)
    assert (image.name, image.width, image.height, image.aoi) == ("a.png", WIDTH, HEIGHT, None)
    truth = image.truth
    assert truth.boxes.tolist() == [[10, 20, 15, 28], [0.5, 1.5, 20.5, 4.5], [30, 10, 37, 19]]
    assert truth.labels.tolist() == [0, 0, 1]
    assert truth.polygons is None
    assert shapely.bounds(truth.ignored).tolist() == [[40, 30, 50, 36], [50, 5, 58, 9]]


def test_pixels_are_the_files(write):
    (image,) = load(write())
    assert np.array_equal(image.read(11, 5, 30, 20), PIXELS[5:25, 11:41].transpose(2, 0, 1))
    assert len(image.truth) == 0
    assert image.truth.boxes.shape == (0, 4)


def test_a_folder_below_the_images_folder(write, tmp_path):
    (tmp_path / "deep").mkdir()
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "deep" / "grey.webp", lossless=True)
    (image,) = load(write(file_name="deep/grey.webp"))
    assert np.array_equal(image.read(0, 0, WIDTH, HEIGHT), np.stack([PIXELS[..., 0]] * 3))


def test_alpha_is_dropped(write, tmp_path):
    Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])).save(tmp_path / "alpha.png")
    (image,) = load(write(file_name="alpha.png"))
    assert np.array_equal(image.read(0, 0, WIDTH, HEIGHT), PIXELS.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_sixteen_bits_are_scaled_not_clipped(write, tmp_path):
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint16"}
    with rasterio.open(tmp_path / "deep.tif", "w", **profile) as file:
        file.write(PIXELS.transpose(2, 0, 1).astype(np.uint16) * 40 + 1000)
    (image,) = load(write(file_name="deep.tif"))
    chip = image.read(0, 0, WIDTH, HEIGHT)
    assert np.corrcoef(chip.ravel(), PIXELS.transpose(2, 0, 1).ravel())[0, 1] > 0.999
    assert chip.std() > 50


def test_outlines_when_every_object_has_one(write):
    triangle, square = [10, 10, 22, 10, 10, 20], [30, 5, 40, 5, 40, 15, 30, 15]
    path = write(
        box(1, 10, 10, 12, 10, segmentation=[triangle]),
        box(2, 30, 5, 25, 10, segmentation=[square, [50, 5, 55, 5, 55, 15]]),
        box(5, 1, 30, 4, 5),
    )
    truth = load(path)[0].truth
    assert shapely.area(truth.polygons).tolist() == [60, 125]
    assert truth.boxes.tolist() == [[10, 10, 22, 20], [30, 5, 55, 15]]
    assert truth.ignored[0].bounds == (1, 30, 5, 35)


def test_boxes_only_when_an_outline_is_missing(write):
    path = write(box(1, 10, 10, 12, 10, segmentation=[[10, 10, 22, 10, 10, 20]]), box(2, 30, 5, 10, 10))
    truth = load(path)[0].truth
    assert truth.polygons is None
    assert truth.boxes.tolist() == [[10, 10, 22, 20], [30, 5, 40, 15]]


def test_an_outline_without_area_is_ignored(write):
    path = write(
        box(1, 10, 10, 12, 10, segmentation=[[10, 10, 22, 10, 10, 20]]),
        box(1, 3, 4, 5, 6, segmentation=[[3, 4, 8, 10, 3, 4]]),
    )
    truth = load(path)[0].truth
    assert len(truth) == 1
    assert truth.ignored[0].bounds == (3, 4, 8, 10)


def test_a_crossing_outline_is_repaired(write):
    path = write(box(1, 0, 0, 4, 4, segmentation=[[0, 0, 4, 4, 4, 0, 0, 4]]))
    (shape,) = load(path)[0].truth.polygons
    assert shape.is_valid
    assert shape.area == 8


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=arrays.arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 1)), packed=st.booleans())
def test_run_lengths_are_what_pycocotools_says(write, cells, packed):
    runs = coco_mask.encode(np.asfortranarray(cells))["counts"].decode()
    if not packed:
        column = np.concatenate([[0], cells.T.ravel(), [2]])
        starts = np.flatnonzero(np.diff(column))
        runs = np.diff(np.concatenate([[0], starts])).tolist()
    path = write(box(1, 0, 0, WIDTH, HEIGHT, segmentation={"size": [HEIGHT, WIDTH], "counts": runs}))
    truth = load(path)[0].truth
    if cells.any():
        (shape,) = truth.polygons
        assert shape.area == cells.sum()
        assert np.array_equal(rasterize([shape], (HEIGHT, WIDTH), dtype=np.uint8), cells)
    else:
        assert len(truth) == 0
        assert truth.ignored[0].bounds == (0, 0, WIDTH, HEIGHT)


def test_long_run_lengths(write, tmp_path):
    """Runs beyond 5 bits, and differences of both signs."""
    cells = np.zeros((300, 200), np.uint8)
    cells[20:250, 5:90] = cells[3:9, 100:150] = cells[:, 170:] = 1
    counts = coco_mask.encode(np.asfortranarray(cells))["counts"].decode()
    path = write(box(1, 1, 1, 4, 4, segmentation={"size": [300, 200], "counts": counts}), width=200, height=300)
    Image.fromarray(cells).save(tmp_path / "a.png")
    (shape,) = load(path)[0].truth.polygons
    assert np.array_equal(rasterize([shape], (300, 200), dtype=np.uint8), cells)


@pytest.mark.parametrize("counts", ["", "0", "~~~~", "abc", [1, 2], [-4, 2404], []])
def test_broken_run_lengths(write, counts):
    path = write(box(1, 1, 1, 4, 4, segmentation={"size": [HEIGHT, WIDTH], "counts": counts}))
    with pytest.raises(InputError, match=r"annotations\[0\]\.segmentation\.counts .*40 x 60 px|counts must"):
        load(path)


def test_run_lengths_of_another_image(write):
    with pytest.raises(InputError, match=r"annotations\[0\]\.segmentation\.size must be \[40, 60\].*got \[60, 40\]"):
        load(write(box(1, 1, 1, 4, 4, segmentation={"size": [WIDTH, HEIGHT], "counts": [2400]})))


def test_resampling_to_a_gsd(write):
    (image,) = load(write(box(1, 12, 20, 6, 8), gsd_m=0.5), gsd_m=0.2)
    assert (image.width, image.height) == (150, 100)
    assert image.truth.boxes == pytest.approx(np.array([[30, 50, 45, 70]]))
    oracle = np.asarray(Image.fromarray(PIXELS).resize((150, 100), Image.Resampling.BILINEAR))
    assert np.array_equal(image.read(31, 7, 40, 50), oracle[7:57, 31:71].transpose(2, 0, 1))


def test_a_size_that_does_not_divide_scales_each_axis_by_what_it_got(write):
    (image,) = load(write(box(1, 0, 0, WIDTH, HEIGHT), gsd_m=0.13), gsd_m=0.3)
    assert (image.width, image.height) == (26, 17)
    assert image.truth.boxes == pytest.approx(np.array([[0, 0, 26, 17]]))


def test_the_source_says_the_gsd_of_images_that_do_not(write):
    assert load(write(), gsd_m=0.5, image_gsd_m=0.25)[0].width == 30
    assert load(write(gsd_m=1.0), gsd_m=0.5, image_gsd_m=0.25)[0].width == 120
    with pytest.raises(InputError, match=r"images\[0\]: its GSD is unknown.*data\.gsd_m"):
        load(write(), gsd_m=0.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (box(1, 1, 2, -3, 4), r"annotations\[0\]\.bbox must .*at least 0, got \[1, 2, -3, 4\]"),
        (box(1, float("nan"), 2, 3, 4), r"annotations\[0\]\.bbox must .*got \[nan, 2, 3, 4\]"),
        (box(1, 1, float("inf"), 3, 4), r"annotations\[0\]\.bbox must .*got \[1, inf, 3, 4\]"),
        (box(1, 1, 2, 3), r"annotations\[0\]\.bbox"),
        (box(1, 1, 2, 3, "4"), r"annotations\[0\]\.bbox must .*got \[1, 2, 3, '4'\]"),
        (box(9, 1, 2, 3, 4), r"annotations\[0\]\.category_id: the file has no category with id 9"),
        ({**box(1, 1, 2, 3, 4), "image_id": 3}, r"annotations\[0\]\.image_id: the file has no image with id 3"),
        ({"image_id": 7, "category_id": 1}, r"annotations\[0\]\.bbox is missing"),
        (box(1, 1, 2, 3, 4, segmentation=[[1, 2, 3, 4]]), r"annotations\[0\]\.segmentation"),
        (box(1, 1, 2, 3, 4, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), r"annotations\[0\]\.segmentation.*even"),
        (box(1, 1, 2, 3, 4, iscrowd=2), r"annotations\[0\]\.iscrowd"),
    ],
)
def test_wrong_annotations_are_named(write, row, message):
    path = write(row)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": "b.png"}, r"images\[0\]: image file .*b\.png is missing"),
        ({"file_name": "../a.png"}, r"images\[0\]: file_name '\.\./a\.png' leads out of"),
        ({"file_name": "/etc/hostname"}, r"images\[0\]: file_name .* leads out of"),
        ({"file_name": "coco.json"}, r"images\[0\]: .*coco\.json is not a readable image"),
        ({"file_name": ""}, r"images\[0\]\.file_name"),
        ({"width": 61}, r"images\[0\]: .*a\.png has 60 x 40 px, the row says 61 x 40"),
        ({"width": 0}, r"images\[0\]\.width must be an integer of at least 1, got 0"),
        ({"width": 100_000, "height": 100_000}, r"images\[0\]: .*too large for COCO"),
        ({"gsd_m": -1.0}, r"images\[0\]\.gsd_m"),
        ({"id": "7"}, r"images\[0\]\.id must be an integer, got '7'"),
    ],
)
def test_wrong_images_are_named(write, image, message):
    with pytest.raises(InputError, match=message) as caught:
        load(write(**image))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid JSON"),
        ('{"images": [', "Invalid JSON"),
        ("[]", "COCO truth is an object"),
        ('{"images": [], "annotations": [], "categories": []}', "images is empty; .*at least 1"),
        ('{"annotations": [], "categories": []}', "images is missing"),
        ("\x80", "Invalid JSON"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"x\.json: {message}"):
        coco_images(path, path.parent, class_map=CLASSES)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            coco_images(path, path.parent, class_map=CLASSES)


def test_repeated_ids(write):
    path = write()
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "images": [*data["images"], {**data["images"][0], "file_name": "b.png"}]}))
    with pytest.raises(InputError, match=r"images: id 7 appears 2 times"):
        load(path)


def test_an_unknown_class_names_the_row(write, tmp_path):
    path = write(box(1, 1, 2, 3, 4), box(2, 1, 2, 3, 4))
    with pytest.raises(InputError, match=r"annotations\[1\] \(of image a.png\): class 'boat'.*class_map"):
        coco_images(path, tmp_path, class_map=ClassMap(("car",)))


def test_a_damaged_image_is_named_when_read(write, tmp_path):
    data = (tmp_path / "a.png").read_bytes()
    path = write()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    (image,) = load(path)
    with pytest.raises(InputError, match=r"a\.png: damaged image"):
        image.read(0, 0, 5, 6)


def test_real_vehicles_by_pycocotools(shared_data, capsys):
    path = shared_data("vehicles") / "train.json"
    names = ClassMap(
        ("vehicle",),
        {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "building": "", "airplane": ""},
        ("watercraft",),
    )
    images = coco_images(path, path.parent, class_map=names, gsd_m=0.15)
    oracle = COCO(str(path))
    capsys.readouterr()
    for image, row in zip(images, oracle.loadImgs(oracle.getImgIds()), strict=True):
        boxes = np.array([a["bbox"] for a in oracle.loadAnns(oracle.getAnnIds([row["id"]], [1, 2, 3]))])
        scale = row["gsd_m"] / 0.15
        assert image.width == pytest.approx(row["width"] * scale, abs=0.5)
        got = image.truth.boxes
        assert got.shape == (len(boxes), 4)
        if len(boxes):
            assert got[:, :2] == pytest.approx(boxes[:, :2] * scale, rel=1e-3, abs=1e-6)
            assert got[:, 2:] - got[:, :2] == pytest.approx(boxes[:, 2:] * scale, rel=1e-3)
    assert sum(len(image.truth.ignored) for image in images) == len(oracle.getAnnIds(catIds=[5]))
    assert images[0].read(200, 100, 64, 48).std() > 5


def test_real_thermal_counts(shared_data):
    path = shared_data("thermal") / "train.json"
    data = json.loads(path.read_text())
    names = {row["id"]: row["name"] for row in data["categories"]}
    classes = ("Person", "Car", "Bicycle", "OtherVehicle")
    images = coco_images(path, path.parent, class_map=ClassMap(classes, {}, ("DontCare",)))
    expected = Counter(names[row["category_id"]] for row in data["annotations"])
    found = Counter(classes[label] for image in images for label in image.truth.labels)
    found["DontCare"] = sum(len(image.truth.ignored) for image in images)
    assert found == expected
    assert images[-1].read(0, 0, 640, 512).shape == (3, 512, 640)
