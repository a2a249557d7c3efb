"""The whole way from a raster to polygons in the world, with a detector that sees bright rectangles exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio.features
import shapely
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor, nn

from d2det_geo.detections import MASK_IOU_SHARE, MASK_SIDE, Detections
from d2det_geo.errors import D2DetError, DependencyError, InputError, OutputExistsError, UsageError
from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.device import choose_device
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.manifest import manifest_path
from d2det_geo.pipeline.predict import predict_scene, predict_to_file

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

CARD = Card(
    name="rectangles",
    classes=("shed", "hall"),
    mean=(100.0, 110.0, 120.0),
    std=(50.0, 40.0, 30.0),
    chip_size=128,
    overlap=48,
    score=0.5,
    architecture={},
    proposals={},
    sampling={},
    inference={"detections": 50},
)
WIDTH, HEIGHT = 420, 310
GROUND, ROOF = 40, 240
SHEDS = [(10, 12, 60, 40), (101, 90, 141, 131), (200, 20, 236, 68), (390, 280, 420, 310), (300, 150, 345, 190)]
HALL = (20, 170, 260, 230)  # wider than a chip, higher than the overlap: cut from several sides
LARGE = 2000  # px: more than any shed has, at every GSD of these tests
PLACES = {
    "north-up": ("EPSG:32633", Affine(0.15, 0, 500_000, 0, -0.15, 5_000_000)),
    "south-up": ("EPSG:32733", Affine(0.3, 0, 300_000, 0, 0.3, 7_000_000)),
    "rotated": (
        "EPSG:3857",
        Affine.translation(9.5e6, 3.2e6) @ Affine.rotation(31) @ Affine.shear(4, 0) @ Affine.scale(0.2, -0.25),
    ),
    "lat/lon": ("EPSG:4326", Affine(1.1e-6, 0, -71.06, 0, -1.3e-6, 42.36)),
}


class RectangleDetector(nn.Module):
    """Outlines bright rectangles on dark ground, to a fraction of a pixel; brighter ones score higher."""

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__()
        self.card = CARD
        self.masks = masks
        self.images = 0

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        self.images += len(images)
        return [self._rectangles(image[0, :h, :w]) for image, (h, w) in zip(images, image_sizes, strict=True)]

    def _rectangles(self, normalised: Tensor) -> Detections:
        grey = normalised.numpy() * CARD.std[0] + CARD.mean[0]
        light = np.clip((grey - GROUND) / (ROOF - GROUND), 0, 1)
        bright = (light > 0.4).astype(np.uint8)
        shapes = [shapely.geometry.shape(item).bounds for item, value in rasterio.features.shapes(bright) if value]
        boxes = np.array([_sharpened(light, *map(int, bounds)) for bounds in shapes]).reshape(-1, 4)
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        middle = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int)
        order = np.argsort(-grey[middle[:, 1], middle[:, 0]], kind="stable")
        scores = (grey[middle[:, 1], middle[:, 0]] / 255).astype(np.float32)[order]
        return Detections(
            boxes=boxes[order],
            scores=scores,
            labels=np.zeros(len(boxes), np.int64),
            masks=np.ones((len(boxes), MASK_SIDE, MASK_SIDE), np.float32) if self.masks else None,
            mask_scores=scores * np.float32(1 + MASK_IOU_SHARE) if self.masks else None,  # masks as sure as classes
        ).select(sizes[order] > 4)


def _sharpened(light: NDArray[np.float64], x1: int, y1: int, x2: int, y2: int) -> tuple[float, float, float, float]:
    """Take the light that spills over each edge into account, along the middle row and column."""
    column, row = (x1 + x2) // 2, (y1 + y2) // 2
    across, down = light[row], light[:, column]
    return (
        column - across[max(x1 - 2, 0) : column].sum(),
        row - down[max(y1 - 2, 0) : row].sum(),
        column + across[column : x2 + 2].sum(),
        row + down[row : y2 + 2].sum(),
    )


def town(*boxes: tuple[int, int, int, int], roof: int = ROOF) -> NDArray[np.uint8]:
    image = np.full((3, HEIGHT, WIDTH), GROUND, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[:, y1:y2, x1:x2] = roof
    return image


def footprint(box: tuple[int, int, int, int], transform: Affine) -> shapely.Polygon:
    x1, y1, x2, y2 = box
    return shapely.Polygon([transform @ corner for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))])


def assert_same_objects(found: gpd.GeoDataFrame, truth: list[shapely.Polygon], least: float = 0.99) -> None:
    assert len(found) == len(truth)
    for polygon in truth:
        shared = shapely.area(shapely.intersection(found.geometry.to_numpy(), polygon))
        joined = shapely.area(shapely.union(found.geometry.to_numpy(), polygon))
        assert (shared / joined).max() >= least


# Where things are


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_objects_are_where_they_are(write_raster: WriteRaster, place: str, masks: bool) -> None:
    crs, transform = PLACES[place]
    path = write_raster(town(*SHEDS, HALL), crs=crs, transform=transform)
    found = predict_scene(path, RectangleDetector(masks=masks), gsd="native")
    truth = [footprint(box, transform) for box in (*SHEDS, HALL)]
    assert_same_objects(found, truth, least=0.999999)
    assert list(found.columns) == ["class", "score", "area_m2", "geometry"]
    assert found.crs == pyproj.CRS(crs)
    assert set(found["class"]) == {"shed"}
    assert (found["score"] == round(ROOF / 255, 4)).all()
    geod, lonlat = pyproj.Geod(ellps="WGS84"), found.to_crs(4326).geometry
    assert found["area_m2"].to_numpy() == pytest.approx(
        [abs(geod.geometry_area_perimeter(g)[0]) for g in lonlat], abs=0.02
    )


@pytest.mark.parametrize("gsd", [0.12, 0.16, 0.27])
@pytest.mark.parametrize("place", PLACES)
def test_objects_are_where_they_are_at_another_gsd(write_raster: WriteRaster, place: str, gsd: float) -> None:
    crs, transform = PLACES[place]
    big = [(10, 12, 130, 110), (160, 20, 290, 140), (200, 180, 330, 290)]
    path = write_raster(town(*big), crs=crs, transform=transform)
    found = predict_scene(path, RectangleDetector(), gsd=gsd, chip_size=1024)
    assert_same_objects(found, [footprint(box, transform) for box in big])


def test_the_bundles_gsd_is_the_default(write_raster: WriteRaster) -> None:
    network = RectangleDetector()
    network.card = CARD.model_copy(update={"gsd_m": 0.3})
    crs, transform = PLACES["north-up"]
    path = write_raster(town(SHEDS[0]), crs=crs, transform=transform)
    assert predict_scene(path, network).attrs["windows"] == 3 * 2  # 210 x 155 grid px
    assert predict_scene(path, network, gsd="native").attrs["windows"] == 5 * 4


def test_without_georeference_the_answer_is_in_pixels(write_raster: WriteRaster) -> None:
    path = write_raster(town(*SHEDS), transform=None, crs=None)
    found = predict_scene(path, RectangleDetector(), gsd=0.1)
    assert_same_objects(found, [shapely.box(*box) for box in SHEDS], least=0.999999)
    assert list(found.columns) == ["class", "score", "area_px", "geometry"]
    assert found.crs is None
    assert sorted(found["area_px"]) == sorted(shapely.box(*box).area for box in SHEDS)
    assert found.attrs["notices"] == ("no georeference: coordinates are pixels",)


def test_a_scene_smaller_than_a_chip(write_raster: WriteRaster) -> None:
    image = town((10, 12, 60, 40))[:, :55, :77]
    found = predict_scene(write_raster(image), RectangleDetector())
    assert found.attrs["windows"] == 1
    assert_same_objects(found, [footprint((10, 12, 60, 40), Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000))])


# What is in the picture


def test_sixteen_bits_four_bands_and_nodata(write_raster: WriteRaster) -> None:
    # The ground is the 2nd percentile, the roofs the 98th: 0 and 255 once scaled.
    image = np.full((4, HEIGHT, WIDTH), 800, np.uint16)
    for x1, y1, x2, y2 in SHEDS:
        image[:, y1:y2, x1:x2] = 2400
    image[:, :, 360:385] = 0
    found = predict_scene(write_raster(image, nodata=0, photometric="minisblack"), RectangleDetector())
    assert_same_objects(found, [footprint(box, Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)) for box in SHEDS])
    assert [notice.split()[0] for notice in found.attrs["notices"]] == ["bands", "uint16"]


def test_the_score_decides_and_orders(write_raster: WriteRaster) -> None:
    image = town()
    for grey, (x1, y1, x2, y2) in zip((125, 250, 180), SHEDS[:3], strict=True):
        image[:, y1:y2, x1:x2] = grey
    path = write_raster(image)
    assert list(predict_scene(path, RectangleDetector(), score=0.0)["score"]) == [0.9804, 0.7059, 0.4902]
    assert list(predict_scene(path, RectangleDetector())["score"]) == [0.9804, 0.7059]  # the card says 0.5
    assert list(predict_scene(path, RectangleDetector(), score=0.8)["score"]) == [0.9804]
    assert len(predict_scene(path, RectangleDetector(), score=1.0)) == 0


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp"])
def test_a_scene_of_nodata_gives_an_empty_valid_file(write_raster: WriteRaster, tmp_path: Path, suffix: str) -> None:
    path = write_raster(np.zeros((3, 200, 300), np.uint8), nodata=0)
    network, out = RectangleDetector(), tmp_path / f"out{suffix}"
    summary = predict_to_file(path, out, network)
    assert network.images == 0
    assert (summary.objects, summary.chips, summary.skipped) == (0, 0, summary.windows)
    assert summary.notices == ("there is no image in the scene: the result is empty",)
    assert len(pyogrio.read_dataframe(out, layer="out")) == 0
    if suffix == ".geojson":
        assert json.loads(out.read_text(encoding="utf-8"))["features"] == []


# The area of interest


def write_aoi(path: Path, polygon: shapely.Polygon, crs: str) -> Path:
    gpd.GeoDataFrame(geometry=[polygon], crs=crs).to_crs(4326).to_file(path, driver="GeoJSON")
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("gsd", ["native", 0.2])
def test_objects_at_least_half_inside_the_aoi_count_whole(
    write_raster: WriteRaster, tmp_path: Path, place: str, gsd: Any
) -> None:
    crs, transform = PLACES[place]
    first, second = (95, 90, 145, 131), (95, 20, 145, 68)  # 52 % left of x = 121, 48 % left of x = 119
    inside, outside = (20, 150, 80, 200), (300, 150, 345, 190)
    path = write_raster(town(first, second, inside, outside), crs=crs, transform=transform)
    aoi = write_aoi(tmp_path / "aoi.geojson", footprint((0, 0, 121, HEIGHT), transform), crs)
    aoi_narrow = write_aoi(tmp_path / "narrow.geojson", footprint((0, 0, 119, HEIGHT), transform), crs)
    network = RectangleDetector()
    found = predict_scene(path, network, aoi=aoi, gsd=gsd, chip_size=96)
    assert_same_objects(found, [footprint(box, transform) for box in (first, second, inside)], least=0.97)
    assert found.attrs["skipped"] > 0
    assert network.images == found.attrs["chips"] == found.attrs["windows"] - found.attrs["skipped"]
    narrow = predict_scene(path, network, aoi=aoi_narrow, gsd=gsd, chip_size=96)
    assert_same_objects(narrow, [footprint(inside, transform)], least=0.97)
    assert narrow.attrs["dropped"]["outside"] >= 2


def test_an_aoi_elsewhere_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    crs, transform = PLACES["north-up"]
    path = write_raster(town(*SHEDS), crs=crs, transform=transform)
    aoi = write_aoi(tmp_path / "aoi.geojson", footprint((900, 900, 950, 950), transform), crs)
    network = RectangleDetector()
    with pytest.raises(InputError, match=r"aoi\.geojson: the AOI does not touch .*\.tif; check") as caught:
        predict_scene(path, network, aoi=aoi)
    assert "\n" not in str(caught.value)
    assert network.images == 0


def test_an_aoi_without_image_gives_nothing_and_says_so(write_raster: WriteRaster, tmp_path: Path) -> None:
    crs, transform = PLACES["north-up"]
    image = town(SHEDS[1])
    image[:, :, 300:] = 0
    path = write_raster(image, crs=crs, transform=transform, nodata=0)
    aoi = write_aoi(tmp_path / "aoi.geojson", footprint((410, 10, 415, 20), transform), crs)
    found = predict_scene(path, RectangleDetector(), aoi=aoi, chip_size=100)
    assert len(found) == 0
    assert found.attrs["notices"] == ("there is no image in the area of interest: the result is empty",)


def test_what_was_made_of_the_aoi_is_said(write_raster: WriteRaster, tmp_path: Path) -> None:
    crs, transform = PLACES["north-up"]
    path = write_raster(town(*SHEDS), crs=crs, transform=transform)
    aoi = tmp_path / "aoi.shp"
    gpd.GeoDataFrame(geometry=[footprint((0, 0, 150, HEIGHT), transform)], crs=crs).to_file(aoi)
    aoi.with_suffix(".prj").unlink()
    found = predict_scene(path, RectangleDetector(), aoi=aoi)
    assert len(found) == 2
    assert found.attrs["notices"] == (f"{aoi}: names no CRS; taken to be in the scene's",)


def test_an_aoi_on_the_ground_of_a_scene_in_pixels_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster(town(*SHEDS), transform=None, crs=None)
    box = shapely.box(0, 0, 89, 80)
    for name, crs in (("utm.gpkg", "EPSG:32633"), ("degrees.geojson", "EPSG:4326")):
        gpd.GeoDataFrame(geometry=[box], crs=crs).to_file(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: is in WGS 84.*, and what it goes with has no georeference"):
            predict_scene(path, RectangleDetector(), aoi=tmp_path / name)
    aoi = tmp_path / "pixels.geojson"
    aoi.write_text(json.dumps(shapely.geometry.mapping(box)))
    found = predict_scene(path, RectangleDetector(), aoi=aoi)
    assert_same_objects(found, [shapely.box(*SHEDS[0])])
    notice = f"{aoi}: may be longitude and latitude, but taken to be in pixels like what it goes with"
    assert found.attrs["notices"] == ("no georeference: coordinates are pixels", notice)


# Files


def test_the_file_holds_what_the_frame_holds_and_repeats_to_the_byte(write_raster: WriteRaster, tmp_path: Path) -> None:
    crs, transform = PLACES["rotated"]
    path = write_raster(town(*SHEDS, HALL), crs=crs, transform=transform)
    frame = predict_scene(path, RectangleDetector(masks=True))
    one, two = tmp_path / "one" / "out.gpkg", tmp_path / "two" / "out.gpkg"
    one.parent.mkdir()
    two.parent.mkdir()
    summary = predict_to_file(path, one, RectangleDetector(masks=True))
    predict_to_file(path, two, RectangleDetector(masks=True))
    assert one.read_bytes() == two.read_bytes()
    assert manifest_path(one).read_bytes() == manifest_path(two).read_bytes()
    assert sorted(file.name for file in one.parent.iterdir()) == ["out.gpkg", "out.gpkg.manifest.json"]
    read = pyogrio.read_dataframe(one, layer="out").sort_values("score", ascending=False, kind="stable")
    assert read.crs == frame.crs
    assert list(read.columns) == ["class", "score", "area_m2", "scene", "model", "run", "geometry"]
    assert set(read["run"]) == {summary.run}
    parts = shapely.get_parts(read.geometry.to_numpy())  # a GeoPackage holds MultiPolygons
    assert shapely.equals_exact(parts, frame.geometry.to_numpy(), 1e-9).all()
    assert summary.objects == len(read) == 6
    assert summary.chips == summary.windows
    assert set(summary.seconds) == {"open", "read", "network", "ledger", "merge", "vector", "write", "all"}
    assert all(seconds >= 0 for seconds in summary.seconds.values())


def test_the_output_is_refused_before_any_work(tmp_path: Path) -> None:
    network, missing = RectangleDetector(), tmp_path / "missing.tif"
    (tmp_path / "out.gpkg").write_bytes(b"precious")
    with pytest.raises(OutputExistsError):
        predict_to_file(missing, tmp_path / "out.gpkg", network)
    with pytest.raises(UsageError, match="suffix"):
        predict_to_file(missing, tmp_path / "out.txt", network)
    with pytest.raises(D2DetError, match="folder"):
        predict_to_file(missing, tmp_path / "no" / "out.gpkg", network)
    with pytest.raises(InputError, match="no such file"):
        predict_to_file(missing, tmp_path / "out.gpkg", network, overwrite=True)
    assert (tmp_path / "out.gpkg").read_bytes() == b"precious"


def test_the_size_of_batches_is_another_run_with_the_same_objects(write_raster: WriteRaster) -> None:
    path = write_raster(town(*SHEDS, HALL))
    one, five = (predict_scene(path, RectangleDetector(), batch_size=size) for size in (1, 5))
    assert one.geometry.equals(five.geometry)
    assert one.attrs["run"] != five.attrs["run"]


def test_a_scene_that_cannot_be_read_to_its_end_leaves_only_its_ledger(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster(town(*SHEDS), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:200_000])
    network = RectangleDetector()
    with pytest.raises(InputError, match="cannot read columns"):
        predict_to_file(path, tmp_path / "out.geojson", network, batch_size=1)
    assert network.images > 0
    assert sorted(tmp_path.iterdir()) == [ledger_path(tmp_path / "out.geojson"), path]


def test_ctrl_c_leaves_what_was_done_and_resume_goes_on(write_raster: WriteRaster, tmp_path: Path) -> None:
    path, out = write_raster(town(*SHEDS, HALL)), tmp_path / "out.gpkg"
    predict_to_file(path, out, RectangleDetector(masks=True))
    whole = out.read_bytes(), manifest_path(out).read_bytes()
    out.unlink()

    def interrupt(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_to_file(path, out, RectangleDetector(masks=True), progress=interrupt)
    assert not out.exists()
    assert ledger_path(out).exists()
    with pytest.raises(OutputExistsError, match="--resume"):
        predict_to_file(path, out, RectangleDetector(masks=True))
    with pytest.raises(UsageError, match=r"--score was 0\.5 and is 0\.6"):
        predict_to_file(path, out, RectangleDetector(masks=True), resume=True, score=0.6)
    network = RectangleDetector(masks=True)
    summary = predict_to_file(path, out, network, resume=True)
    assert 0 < network.images < summary.chips == summary.windows
    assert not ledger_path(out).exists()
    assert (out.read_bytes(), manifest_path(out).read_bytes()) == whole


def test_a_complete_output_is_resumed_by_doing_nothing(write_raster: WriteRaster, tmp_path: Path) -> None:
    path, out = write_raster(town(*SHEDS)), tmp_path / "out.geojson"
    first = predict_to_file(path, out, RectangleDetector())
    before, network = out.read_bytes(), RectangleDetector()
    summary = predict_to_file(path, out, network, resume=True)
    assert network.images == 0
    assert "complete" in summary.notices[-1]
    assert summary.objects == first.objects > 0
    assert (summary.windows, summary.chips, summary.dropped) == (first.windows, first.chips, first.dropped)
    with pytest.raises(OutputExistsError, match="another scene, model or options"):
        predict_to_file(path, out, network, resume=True, chip_size=200)
    predict_to_file(path, out, network, resume=True, overwrite=True)
    assert (network.images, out.read_bytes()) == (0, before)
    predict_to_file(path, out, network, resume=True, overwrite=True, min_area=600.0)
    assert network.images > 0
    assert out.read_bytes() != before


def test_the_manifest_says_what_decided_the_result(write_raster: WriteRaster, tmp_path: Path) -> None:
    image = town(*SHEDS).astype(np.uint16) * 10
    path, out = write_raster(image, photometric="minisblack"), tmp_path / "out.gpkg"
    summary = predict_to_file(path, out, RectangleDetector(), min_area=600.0)
    manifest = json.loads(manifest_path(out).read_text(encoding="utf-8"))
    assert manifest["run"] == summary.run
    assert (manifest["scaling"]["low"], manifest["scaling"]["high"]) == (400, 2400)
    assert manifest["settings"]["--min-area"] == 600
    assert manifest["counts"]["objects"] == summary.objects
    assert manifest["counts"]["dropped"]["small"] == summary.dropped["small"] > 0


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chip_size": 0}, "--chip-size 0: must be a positive"),
        ({"chip_size": 40}, "--overlap 48: .* less than the chip size, 40 px"),
        ({"overlap": -1}, "--overlap -1: must be at least 0"),
        ({"batch_size": 0}, "--batch-size 0: must be"),
        ({"device": "tpu"}, "--device tpu: no such device"),
        ({"gsd": -1.0}, "positive number of metres"),
        ({"bands": (1, 2, 9)}, "has no band 9"),
    ],
)
def test_options_without_sense_are_refused(write_raster: WriteRaster, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict_scene(write_raster(town()), RectangleDetector(), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_gpu_is_said(name: str) -> None:
    with pytest.raises(DependencyError, match=f"--device {name}: torch sees no usable GPU") as caught:
        choose_device(name)
    assert caught.value.exit_code == 7
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_an_unknown_model_is_said(write_raster: WriteRaster) -> None:
    with pytest.raises(UsageError, match="nonesuch: no such model"):
        predict_scene(write_raster(town()), "nonesuch")


def test_chips_at_the_cap_are_told(write_raster: WriteRaster) -> None:
    network = RectangleDetector()
    network.card = CARD.model_copy(update={"inference": {"detections": 1}})
    found = predict_scene(write_raster(town(SHEDS[0])), network)
    assert_same_objects(found, [footprint(SHEDS[0], Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000))])
    assert found.attrs["split_chips"] >= 1
    assert any("looked at in quarters" in notice for notice in found.attrs["notices"])
    assert any("objects may be missing" in notice for notice in found.attrs["notices"])


# What is chosen and how it is drawn


def test_classes_boxes_and_areas_choose_objects(write_raster: WriteRaster) -> None:
    path = write_raster(town(*SHEDS))
    network = RectangleDetector()
    assert len(predict_scene(path, network, classes=["shed"])) == len(SHEDS)
    assert len(predict_scene(path, network, classes=["hall"])) == 0
    with pytest.raises(UsageError, match="--classes barn: rectangles does not know it; it knows shed, hall"):
        predict_scene(path, network, classes=["barn"])
    areas = sorted((x2 - x1) * (y2 - y1) / 4 for x1, y1, x2, y2 in SHEDS)
    found = predict_scene(path, network, min_area=areas[2] - 0.5)
    assert len(found) == sum(area >= areas[2] - 0.5 for area in areas)
    assert found.attrs["dropped"]["small"] == len(SHEDS) - len(found)
    box = (500_000, 5_000_000 - 40, 500_000 + 40, 5_000_000)  # the upper left 80 x 80 px
    assert len(predict_scene(path, network, bbox=box)) == 1
    with pytest.raises(InputError, match="--bbox: does not touch"):
        predict_scene(path, network, bbox=(0, 0, 1, 1))


def test_outlines_are_simplified_and_squared_on_the_ground(write_raster: WriteRaster) -> None:
    crs, transform = PLACES["lat/lon"]
    path = write_raster(town(*SHEDS), crs=crs, transform=transform)
    found = predict_scene(path, RectangleDetector(masks=True), gsd="native", simplify=0.2, regularize=True)
    assert_same_objects(found, [footprint(box, transform) for box in SHEDS], least=0.99)
    assert (shapely.get_num_coordinates(found.geometry.to_numpy()) == 5).all()


def test_an_unknown_option_is_named(write_raster: WriteRaster) -> None:
    with pytest.raises(UsageError, match="scor: no such option of a prediction; there are score,"):
        predict_scene(write_raster(town()), RectangleDetector(), scor=0.3)
