"""The demo: what it writes agrees with itself, a perfect network scores as one, the picture shows the outlines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from PIL import Image
from rasterio.features import rasterize
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.detections import Detections
from d2det_geo.errors import D2DetError, UsageError
from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.demo import DEMO_SEED, run_demo, write_town
from d2det_geo.pipeline.preview import draw_preview
from d2det_geo.town import Town, make_town

FILES = ["buildings.geojson", "buildings.geojson.manifest.json", "preview.png", "scene.tif", "truth.geojson"]
YELLOW = np.array([255, 206, 40])


class Oracle:
    """A network that knows the town: the boxes of its roofs, and their cells in a 28 x 28 grid."""

    def __init__(self, town: Town) -> None:
        self.card = Card(
            name="oracle",
            classes=("building",),
            gsd_m=town.gsd_m,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            chip_size=512,
            overlap=128,
            score=0.5,
            architecture={},
            proposals={},
            sampling={},
            inference={"detections": 1000},
        )
        polygons = [shapely.Polygon(ring) for ring in town.polygons]
        self._found = Detections(
            boxes=shapely.bounds(polygons),
            scores=np.linspace(0.95, 0.6, len(polygons), dtype=np.float32),
            labels=np.zeros(len(polygons), np.int64),
            masks=np.stack([_cells(polygon) for polygon in polygons]),
            mask_scores=np.ones(len(polygons), np.float32),
        )

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        return iter([torch.nn.Parameter(torch.zeros(1))])

    def detect(self, images: torch.Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        assert len(images) == 1, "the whole town fits in one chip"
        return [self._found]


def _cells(polygon: shapely.Polygon) -> np.ndarray:
    x1, y1, x2, y2 = polygon.bounds
    to_world = Affine.translation(x1, y1) @ Affine.scale((x2 - x1) / 28, (y2 - y1) / 28)
    return rasterize([polygon], (28, 28), transform=to_world, dtype=np.uint8).astype(np.float32)


@pytest.fixture(scope="module")
def town() -> Town:
    return make_town(DEMO_SEED, 400)


# --- the scene and its truth ------------------------------------------------------------------------------


def test_scene_and_truth_agree_with_the_town(town, tmp_path):
    write_town(town, tmp_path / "scene.tif", tmp_path / "truth.geojson")
    with rasterio.open(tmp_path / "scene.tif") as scene:
        np.testing.assert_array_equal(scene.read(), town.image)
        assert scene.crs.to_epsg() == 32645
        assert scene.profile["tiled"]
        assert (scene.transform.a, scene.transform.e) == (0.15, -0.15)
        to_px = ~scene.transform
        longitude, latitude = rasterio.warp.transform(scene.crs, "EPSG:4326", *[[value] for value in scene.xy(0, 0)])
    assert longitude[0] == pytest.approx(85.52, abs=0.01)
    assert latitude[0] == pytest.approx(27.63, abs=0.01)
    truth = gpd.read_file(tmp_path / "truth.geojson")
    assert truth.crs.to_epsg() == 4326
    assert set(truth["class"]) == {"building"}
    for footprint, ring in zip(truth.to_crs(32645).geometry, town.polygons, strict=True):
        placed = shapely.affinity.affine_transform(footprint, [to_px.a, to_px.b, to_px.d, to_px.e, to_px.c, to_px.f])
        expected = shapely.Polygon(ring)
        assert placed.symmetric_difference(expected).area < 0.01 * expected.area
        assert placed.hausdorff_distance(expected) < 0.15  # 7 digits of a degree are 1 cm


# --- end to end -------------------------------------------------------------------------------------------


def test_a_perfect_network_scores_as_one(town, tmp_path):
    calls = []
    out = tmp_path / "new" / "demo"
    report = run_demo(out, size=400, model=Oracle(town), progress=lambda *call: calls.append(call))
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert {path.name for path in report.files.values()} < set(FILES)
    assert calls == [(1, 1)]
    assert report.truths == report.objects == len(town.polygons) > 5
    assert report.metrics["f1"] == 1.0
    assert report.metrics["ap75"] > 0.95
    assert report.model == "oracle"
    assert set(report.seconds) == {"town", "predict", "evaluate", "preview"}
    assert min(report.seconds.values()) > 0
    found = json.loads((out / "buildings.geojson").read_text())["features"]
    assert len(found) == report.objects


def test_a_network_that_is_off_does_not(town, tmp_path):
    oracle = Oracle(town)
    oracle._found = oracle._found.moved(offset=(30.0, 0.0))
    assert run_demo(tmp_path, size=400, model=oracle).metrics["f1"] < 0.5


def test_second_run_replaces_its_own_files_only(town, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run_demo(tmp_path, size=400, model=Oracle(town))
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    (tmp_path / "scene.tif").write_text("broken")
    run_demo(tmp_path, size=400, model=Oracle(town))
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "notes.txt"])


def test_a_file_in_the_way(town, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(D2DetError, match="file: cannot be made a folder"):
        run_demo(tmp_path / "file", size=400, model=Oracle(town))


def test_unknown_model(tmp_path):
    with pytest.raises(UsageError, match="no-such-model"):
        run_demo(tmp_path, size=256, model="no-such-model")
    assert not list(tmp_path.iterdir())


def test_the_shipped_model_finds_the_town(tmp_path):
    report = run_demo(tmp_path, size=600, device="cpu")
    assert report.model == "buildings"
    assert report.metrics["f1"] >= 0.6


@pytest.mark.parametrize(("seed", "said"), [(1000, True), (1011, True), (1012, False)])
def test_towns_of_the_training_are_named_as_such(tmp_path, seed, said):
    arguments = ["demo", "--out", str(tmp_path), "--size", "256", "--seed", str(seed), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert (f"notice: the model was trained on town {seed}" in result.stderr) == said


# --- the picture ------------------------------------------------------------------------------------------


@pytest.fixture
def grey_scene(tmp_path) -> Path:
    """A grey scene of 260 x 190 px of 0.5 m."""
    path = tmp_path / "grey.tif"
    transform = Affine(0.5, 0, 354_000, 0, -0.5, 3_057_000)
    profile = {"driver": "GTiff", "width": 260, "height": 190, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(path, "w", transform=transform, **profile) as dataset:
        dataset.write(np.full((3, 190, 260), 100, np.uint8))
    return path


def _world(*rings) -> shapely.Polygon:
    """A polygon given in px of the grey scene."""
    polygon = shapely.Polygon(rings[0], rings[1:])
    return shapely.affinity.affine_transform(polygon, [0.5, 0, 0, -0.5, 354_000, 3_057_000])


def _square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (high, low), (high, high), (low, high)]


def test_preview_shows_outline_fill_and_hole(grey_scene, tmp_path):
    frame = gpd.GeoDataFrame(geometry=[_world(_square(20, 140), _square(60, 100))], crs=32645)
    draw_preview(grey_scene, frame, tmp_path / "p.png", longest_px=130)
    picture = np.asarray(Image.open(tmp_path / "p.png")).astype(int)
    assert picture.shape == (95, 130, 3)
    plain, filled = picture[5, 5], picture[20, 20]
    np.testing.assert_array_equal(plain, [100, 100, 100])
    np.testing.assert_array_equal(picture[40, 40], plain)  # in the hole
    assert 0 < np.abs(filled - plain).sum() < np.abs(YELLOW - plain).sum() / 3
    for row, column in ((10, 40), (70, 40), (40, 10), (40, 70), (30, 40)):
        around = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
        assert np.abs(around - YELLOW).sum(axis=1).min() < np.abs(plain - YELLOW).sum() * 0.55


def test_preview_takes_any_crs_and_no_objects(grey_scene, tmp_path):
    frame = gpd.GeoDataFrame(geometry=[_world(_square(20, 140))], crs=32645)
    draw_preview(grey_scene, frame, tmp_path / "a.png")
    draw_preview(grey_scene, frame.to_crs(4326), tmp_path / "b.png")
    draw_preview(grey_scene, frame[:0], tmp_path / "c.png")
    drawn, elsewhere, empty = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in "abc")
    assert drawn.shape == (190, 260, 3)
    assert np.abs(drawn - elsewhere).max() < 45  # outlines are drawn to a quarter of a pixel
    assert (empty == 100).all()


def test_preview_averages_odd_sizes(tmp_path):
    """11 x 7 px reduced by 3: the last column and row are averages of what is left."""
    values = np.arange(3 * 7 * 11, dtype=np.uint8).reshape(3, 7, 11)
    profile = {"driver": "GTiff", "width": 11, "height": 7, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "s.tif", "w", transform=Affine(2, 0, 9, 0, -2, 9), **profile) as dataset:
        dataset.write(values)
    draw_preview(tmp_path / "s.tif", gpd.GeoDataFrame(geometry=[], crs=32645), tmp_path / "p.png", longest_px=4)
    picture = np.asarray(Image.open(tmp_path / "p.png")).transpose(2, 0, 1)
    assert picture.shape == (3, 3, 4)
    for row in range(3):
        for column in range(4):
            part = values[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            np.testing.assert_allclose(picture[:, row, column], part.mean(axis=(1, 2)), atol=0.51)
