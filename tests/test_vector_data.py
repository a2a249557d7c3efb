"""A raster with vector labels as one labelled image: places, the AOI rule, classes, bad input."""

from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_geo.data import vector
from d2det_geo.data.truth import IGNORE, ClassMap
from d2det_geo.data.vector import judge_inside, labelled_scene
from d2det_geo.errors import InputError
from d2det_geo.raster.scene import open_scene

WIDTH, HEIGHT = 120, 90
CLASSES = ClassMap(("roof", "pool"), {"shed": "roof", "tree": ""}, ("unsure",))
# UTM 33N, 0.5 m/px, turned by 20 degrees: nothing lines up by accident.
TURNED = Affine.translation(412_000, 5_320_000) @ Affine.rotation(20) @ Affine.scale(0.5, -0.5)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.tif"
    image = np.random.default_rng(5).integers(1, 256, (3, HEIGHT, WIDTH), np.uint8)
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=TURNED, **profile) as file:
        file.write(image)
    return path, image


def write(path, boxes, **columns):
    """Write boxes given in scene px as GeoJSON in WGS84."""
    shapes = [shapely.box(*box) for box in boxes]
    a, b, c, d, e, f, *_ = TURNED
    world = [shapely.affinity.affine_transform(shape, [a, b, d, e, c, f]) for shape in shapes]
    gpd.GeoDataFrame(columns, geometry=world, crs="EPSG:32633").to_crs(4326).to_file(path, driver="GeoJSON")
    return path


def test_world_to_pixels_by_hand(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 25), (100, 60, 112, 88)], **{"class": ["pool", "shed"]})
    image = labelled_scene(scene[0], labels, class_map=CLASSES)
    assert (image.width, image.height, image.aoi) == (WIDTH, HEIGHT, None)
    # GeoJSON holds 7 digits: about a centimetre, a fiftieth of these pixels.
    assert image.truth.boxes == pytest.approx(np.array([[10, 20, 30, 25], [100, 60, 112, 88]]), abs=0.05)
    assert image.truth.labels.tolist() == [1, 0]


def test_windows_are_read_as_rasterio_reads_them(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 25)], **{"class": ["roof"]})
    image = labelled_scene(scene[0], labels, class_map=CLASSES)
    windows = [(x, y, 31, 17) for x in range(0, 80, 3) for y in (0, 11, 70)]
    with ThreadPoolExecutor(4) as pool:
        chips = list(pool.map(lambda window: image.read(*window), windows))
    for (x, y, w, h), chip in zip(windows, chips, strict=True):
        assert np.array_equal(chip, scene[1][:, y : y + h, x : x + w])


def test_labels_follow_the_grid_when_the_scene_is_resampled(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 26)], **{"class": ["roof"]})
    image = labelled_scene(scene[0], labels, class_map=CLASSES, gsd_m=1.0)
    assert (image.width, image.height) == (60, 45)
    assert image.truth.boxes == pytest.approx(np.array([[5, 10, 15, 13]]), abs=0.03)
    assert image.read(3, 5, 20, 30).shape == (3, 30, 20)


def test_the_aoi_rule(scene, tmp_path):
    boxes = [
        (10, 10, 20, 20),  # inside
        (50, 10, 70, 20),  # half a pixel more than half inside
        (50.5, 30, 71.5, 40),  # less than half inside: ignored
        (80, 10, 90, 20),  # outside the AOI: dropped
        (10, -12, 20, 6),  # a third inside the scene: ignored
        (10, 60, 20, 70),  # of a class to ignore
        (30, 60, 40, 70),  # of a class to drop
    ]
    names = ["roof"] * 5 + ["unsure", "tree"]
    labels = write(tmp_path / "l.geojson", boxes, **{"class": names})
    aoi = write(tmp_path / "a.geojson", [(-50, -50, 60.5, 200)])
    image = labelled_scene(scene[0], labels, class_map=CLASSES, aoi=aoi)
    assert image.aoi.bounds == pytest.approx((0, 0, 60.5, HEIGHT), abs=0.05)
    # What counts, counts whole.
    assert image.truth.boxes == pytest.approx(np.array([[10, 10, 20, 20], [50, 10, 70, 20]]), abs=0.05)
    assert image.truth.labels.tolist() == [0, 0]
    assert shapely.bounds(image.truth.ignored) == pytest.approx(
        np.array([[50.5, 30, 60.5, 40], [10, 0, 20, 6], [10, 60, 20, 70]]), abs=0.05
    )


def test_a_resampled_aoi_keeps_clear_of_its_border(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 26)], **{"class": ["roof"]})
    aoi = write(tmp_path / "a.geojson", [(4, 6, 80, 70)])
    image = labelled_scene(scene[0], labels, class_map=CLASSES, aoi=aoi, gsd_m=1.0)
    assert image.aoi.bounds == pytest.approx((2 + 1, 3 + 1, 40 - 1, 35 - 1), abs=0.03)


@settings(deadline=None, max_examples=60)
@given(x=st.integers(-15, 40), y=st.integers(-15, 40), width=st.integers(1, 12), height=st.integers(1, 12))
def test_the_aoi_rule_counts_pixels(x, y, width, height):
    cells = {(i, j) for i in range(x, x + width) for j in range(y, y + height)}
    inside = {(i, j) for i, j in cells if 0 <= i < 30 and 0 <= j < 20}
    shapes = np.array([shapely.box(x, y, x + width, y + height)], dtype=object)
    truth = judge_inside(shapes, np.array([3], dtype=object), shapely.box(0, 0, 30, 20))
    assert len(truth) == (len(inside) > 0 and 2 * len(inside) >= len(cells))
    assert shapely.area(truth.ignored).sum() == (0 if 2 * len(inside) >= len(cells) else len(inside))


def test_one_class_needs_no_attribute(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 25)], height=[3])
    assert labelled_scene(scene[0], labels, class_map=ClassMap(("roof",))).truth.labels.tolist() == [0]
    with pytest.raises(InputError, match=r"no attribute 'class'.*2 classes.*height.*class_field"):
        labelled_scene(scene[0], labels, class_map=CLASSES)


def test_another_class_attribute(scene, tmp_path):
    labels = write(tmp_path / "l.geojson", [(10, 20, 30, 25)], kind=["pool"])
    assert labelled_scene(scene[0], labels, class_map=CLASSES, class_field="kind").truth.labels.tolist() == [1]


def test_bad_labels_and_aois_are_named(scene, tmp_path):
    good = write(tmp_path / "good.geojson", [(10, 20, 30, 25)], **{"class": ["roof"]})
    far = write(tmp_path / "far.geojson", [(900, 900, 950, 950)], **{"class": ["roof"]})
    odd = write(tmp_path / "odd.geojson", [(10, 20, 30, 25)], **{"class": ["boat"]})
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    for labels, aoi, message in [
        (far, None, r"far\.geojson: no label lies inside .*scene\.tif"),
        (odd, None, r"odd\.geojson: class 'boat'"),
        (empty, None, r"empty\.geojson: holds no labels"),
        (tmp_path / "none.geojson", None, r"none\.geojson"),
        (good, far, r"far\.geojson: the AOI does not touch"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            labelled_scene(scene[0], labels, class_map=CLASSES, aoi=aoi)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning", "ignore:'crs' was not provided")
def test_without_georeference_labels_are_pixels(tmp_path):
    with rasterio.open(tmp_path / "s.png", "w", driver="PNG", width=50, height=40, count=3, dtype="uint8") as file:
        file.write(np.full((3, 40, 50), 7, np.uint8))
    shape = shapely.box(5, 6, 25, 19)
    gpd.GeoDataFrame(geometry=[shape]).to_file(tmp_path / "l.gpkg", driver="GPKG")
    image = labelled_scene(tmp_path / "s.png", tmp_path / "l.gpkg", class_map=ClassMap(("roof",)))
    assert image.truth.boxes.tolist() == [[5, 6, 25, 19]]


@pytest.mark.parametrize(("aoi", "top", "bottom"), [("aoi_train", 0, 3072), ("aoi_val", 3072, 4096), (None, 0, 4096)])
def test_real_buildings_by_a_second_road(shared_data, aoi, top, bottom):
    buildings = shared_data("buildings")
    path = aoi and buildings / f"{aoi}.geojson"
    image = labelled_scene(
        buildings / "scene.tif", buildings / "labels.geojson", class_map=ClassMap(("building",)), aoi=path
    )
    with rasterio.open(buildings / "scene.tif") as file:
        frame = gpd.read_file(buildings / "labels.geojson").to_crs(file.crs)
        left, upper = file.transform.c, file.transform.f
        pixel = file.transform.a
    region = shapely.box(left, upper - bottom * pixel, left + 3072 * pixel, upper - top * pixel)
    share = frame.geometry.intersection(region).area / frame.geometry.area
    # The 7 digits of the AOI's corners move its edge by a hundredth of a pixel.
    assert len(image.truth) == pytest.approx((share >= 0.5).sum(), abs=1)
    assert len(image.truth.ignored) == pytest.approx(((share > 0) & (share < 0.5)).sum(), abs=2)
    assert shapely.is_valid(image.truth.polygons).all()


def test_ignored_class_is_not_an_object():
    shapes = np.array([shapely.box(1, 1, 5, 4), shapely.box(2, 2, 9, 9)], dtype=object)
    truth = judge_inside(shapes, np.array([IGNORE, None], dtype=object), shapely.box(0, 0, 30, 20))
    assert len(truth) == 0
    assert shapely.area(truth.ignored).tolist() == [12]


def test_a_scene_whose_labels_are_wrong_is_closed(scene, tmp_path, monkeypatch):
    opened = []

    def open_and_note(*arguments, **options):
        opened.append(open_scene(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(vector, "open_scene", open_and_note)
    with pytest.raises(InputError, match="no such file"):
        labelled_scene(scene[0], tmp_path / "missing.gpkg", class_map=CLASSES)
    assert opened[0]._reader.dataset.closed
