"""Vector files over a raster: any CRS in, px inside, the earth again out."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from d2det_geo.annotations import Images, Runs
from d2det_geo.data.formats import vector
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError, UsageError
from d2det_geo.runs import runs_of
from tests.annotation_sets import annotations, images
from tests.conftest import NORTH_UP

SHAPES = [shapely.box(10, 5, 30, 15), shapely.Polygon([(40, 10), (50, 10), (50, 30)])]  # px
PIXELS = np.zeros((1, 40, 60), np.uint8)


def world(shapes):
    return [shapely.transform(shape, lambda p: np.column_stack(NORTH_UP @ tuple(p.T))) for shape in shapes]


@pytest.fixture
def scene(write_raster):
    return write_raster(PIXELS)


def table(path, crs="EPSG:32633", to=None, **columns):
    frame = gpd.GeoDataFrame(columns, geometry=world(SHAPES), crs=crs)
    (frame if to is None else frame.to_crs(to)).to_file(path)
    return path


@pytest.mark.parametrize(("name", "crs"), [("a.gpkg", None), ("a.geojson", "EPSG:4326"), ("a.gpkg", "EPSG:3857")])
def test_any_crs_becomes_px(tmp_path, scene, name, crs):
    path = table(tmp_path / name, to=crs, **{"class": ["house", "barn"]})
    found = vector.read(path, Reading(raster=scene))
    assert found.images.names.tolist() == ["scene.tif"]
    assert found.images.sizes.tolist() == [[60, 40]]
    assert found.images.gsd_m == pytest.approx([0.5], rel=1e-3)
    assert found.classes == ("barn", "house")
    assert found.labels.tolist() == [1, 0]
    assert np.allclose(found.boxes, [[10, 5, 30, 15], [40, 10, 50, 30]], atol=0.02)
    assert [round(shape.area) for shape in found.outlines] == [200, 100]


def test_classes(tmp_path, scene):
    path = table(tmp_path / "a.gpkg", kind=[3, 4])
    assert vector.read(path, Reading(raster=scene)).classes == ("object",)
    assert vector.read(path, Reading(raster=scene, class_field="kind")).classes == ("3", "4")
    named = Reading(raster=scene, class_field="kind", class_names=("4", "3"))
    assert vector.read(path, named).labels.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"a\.gpkg: features\[1\]: class '4' is not one of 3"):
        vector.read(path, Reading(raster=scene, class_field="kind", class_names=("3",)))
    missing = table(tmp_path / "b.gpkg", kind=["x", None])
    with pytest.raises(InputError, match=r"b\.gpkg: features\[1\]\.kind is missing"):
        vector.read(missing, Reading(raster=scene, class_field="kind"))


def test_results(tmp_path, scene):
    truth = vector.read(table(tmp_path / "a.gpkg"), Reading(raster=scene))
    found = vector.read_results(table(tmp_path / "b.gpkg", score=[0.5, 1]), truth, Reading(raster=scene))
    assert found.images is truth.images
    assert found.scores.tolist() == [0.5, 1]
    with pytest.raises(InputError, match=r"c\.gpkg: has no attribute 'score' \(attributes: conf\)"):
        vector.read_results(table(tmp_path / "c.gpkg", conf=[1, 1]), truth, Reading(raster=scene))
    for wrong in (None, "high"):
        path = table(tmp_path / f"{wrong}.gpkg", score=["1", wrong])
        with pytest.raises(InputError, match=r"features\[1\]\.score must be a finite number"):
            vector.read_results(path, truth, Reading(raster=scene))
    many = annotations([], images("a.png", "b.png"), ("object",))
    with pytest.raises(UsageError, match=r"is of one scene, and the truth has 2 images"):
        vector.read_results(tmp_path / "b.gpkg", many, Reading(raster=scene))


def test_features_are_counted_as_in_the_file(tmp_path, scene):
    shapes = [shapely.Point(0, 0), SHAPES[0], shapely.Point(1, 1), SHAPES[1]]
    for name, columns in (
        ("a", {"class": ["a", "b", "c", None]}),
        ("b", {"class": list("abcd"), "score": [1, 2, 3, None]}),
    ):
        gpd.GeoDataFrame(columns, geometry=world(shapes), crs="EPSG:32633").to_file(tmp_path / f"{name}.geojson")
    reading = Reading(raster=scene, class_names=("b",))
    with pytest.raises(InputError, match=r"a\.geojson: features\[3\]\.class is missing"):
        vector.read(tmp_path / "a.geojson", reading)
    with pytest.raises(InputError, match=r"b\.geojson: features\[3\]: class 'd' is not one of b"):
        vector.read(tmp_path / "b.geojson", reading)
    truth = annotations([], images("scene.tif"), ("b", "d"))
    with pytest.raises(InputError, match=r"b\.geojson: features\[3\]\.score must be a finite number"):
        vector.read_results(tmp_path / "b.geojson", truth, reading)


def test_what_does_not_fit(tmp_path, scene, write_raster):
    path = table(tmp_path / "a.gpkg")
    with pytest.raises(UsageError, match=r"needs its raster.*--raster"):
        vector.read(path, Reading())
    far = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 5, 5)], crs="EPSG:32633")
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(InputError, match=r"far\.gpkg: nothing lies inside scene\.tif"):
        vector.read(tmp_path / "far.gpkg", Reading(raster=scene))
    with pytest.raises(InputError, match=r"no such file"):
        vector.read(tmp_path / "none.gpkg", Reading(raster=scene))


def test_what_the_reader_repaired_is_told(tmp_path, scene):
    frame = gpd.GeoDataFrame(geometry=world([shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])]), crs="EPSG:32633")
    frame.to_file(tmp_path / "a.gpkg")
    reading = Reading(raster=scene)
    assert vector.read(tmp_path / "a.gpkg", reading).outlines[0].is_valid
    assert [notice.partition(": ")[2] for notice in reading.notices] == ["1 invalid polygons repaired"]


def found_set(scored=True):
    cells = np.zeros((40, 60), np.bool_)
    cells[3:9, 20:30] = True
    of = Images(filled(["scene.tif"]), np.ones(1, np.int64), np.array([[60, 40]]))
    rows = [
        {"image": 0, "box": (1, 2, 4, 8), "label": 1},
        {"image": 0, "box": SHAPES[1].bounds, "label": 0, "outline": SHAPES[1]},
        {"image": 0, "box": (20, 3, 30, 9), "label": 0, "outline": runs_of(cells)},
    ]
    return annotations([{**row, "score": 0.5} if scored else row for row in rows], of, ("barn", "house"))


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg"])
@pytest.mark.parametrize("placed", [True, False])
def test_what_is_written_comes_back(tmp_path, write_raster, name, placed):
    scene = write_raster(PIXELS, **({} if placed else {"transform": None, "crs": None}))
    known = found_set()
    vector.write(known, tmp_path / name, scene)
    back = vector.read_results(tmp_path / name, known, Reading(raster=scene))
    assert np.allclose(back.boxes, known.boxes, atol=0.03)  # GeoJSON has a centimetre
    assert back.labels.tolist() == known.labels.tolist()
    assert back.scores.tolist() == known.scores.tolist()
    assert [round(shape.area) for shape in back.outlines] == [18, 100, 60]


def test_without_a_raster_it_is_px(tmp_path):
    vector.write(found_set(scored=False), tmp_path / "a.geojson")
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in content
    assert [feature["properties"] for feature in content["features"]] == [
        {"class": c} for c in ("house", "barn", "barn")
    ]
    bounds = [shapely.geometry.shape(feature["geometry"]).bounds for feature in content["features"]]
    assert bounds == [(1, 2, 4, 8), (40, 10, 50, 30), (20, 3, 30, 9)]
    assert isinstance(found_set().outlines[2], Runs)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"a\.shp: vector files are written as \.geojson or"):
        vector.write(found_set(), tmp_path / "a.shp")
    with pytest.raises(UsageError, match=r"of one scene, and the set has 2 images"):
        vector.write(annotations([], images("a", "b"), ("x",)), tmp_path / "a.geojson")
