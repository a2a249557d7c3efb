"""Tiling: chips are the scene's pixels in the scene's place, annotations are the labels' area."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.chip_labels import segmentation
from d2det_geo.pipeline.folder import atomic_folder
from d2det_geo.pipeline.tile import ANNOTATIONS, tile_scene

WIDTH, HEIGHT = 130, 90
NORTH_UP = Affine(0.5, 0, 354_000, 0, -0.5, 3_057_000)
ROTATED = NORTH_UP @ Affine.rotation(31) @ Affine.scale(1.0, 1.3)
SOUTH_UP = Affine(0.5, 0, 354_000, 0, 0.5, 3_057_000)


def write_scene(path: Path, transform: Affine = NORTH_UP, *, bands: int = 3, dtype: str = "uint8", **more) -> Path:
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "crs": "EPSG:32645", "transform": transform}
    values = np.random.default_rng(5).integers(1, 200, (bands, HEIGHT, WIDTH)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", count=bands, dtype=dtype, **{**profile, **more}) as dataset:
            dataset.write(values)
    return path


def write_labels(path: Path, polygons, transform: Affine = NORTH_UP, **columns) -> Path:
    """Write polygons given in scene px."""
    a, b, c, d, e, f = transform[:6]
    placed = [shapely.affinity.affine_transform(polygon, [a, b, d, e, c, f]) for polygon in polygons]
    gpd.GeoDataFrame(columns, geometry=placed, crs="EPSG:32645").to_file(path)
    return path


def read_book(folder: Path) -> dict:
    return json.loads((folder / ANNOTATIONS).read_text())


# --- chips ------------------------------------------------------------------------------------------------


def test_chips_by_hand(tmp_path):
    scene = write_scene(tmp_path / "my scene.tif")
    summary = tile_scene(scene, tmp_path / "chips", chip_size=80, overlap=20)
    names = ["my_scene_000_000.tif", "my_scene_000_050.tif", "my_scene_010_000.tif", "my_scene_010_050.tif"]
    assert sorted(path.name for path in summary.out.iterdir()) == [ANNOTATIONS, *names]
    assert (summary.chips, summary.skipped, summary.objects, summary.annotations) == (4, 0, None, 0)
    with rasterio.open(summary.out / names[3]) as chip:
        assert chip.transform == Affine(0.5, 0, 354_025, 0, -0.5, 3_056_995)
    book = read_book(summary.out)
    assert "annotations" not in book
    assert book["info"] == {"description": "Chips of my scene.tif"}
    first = {"id": 2, "file_name": names[1], "width": 80, "height": 80, "window": [50, 0, 80, 80]}
    assert book["images"][1] == {**first, "gsd_m": pytest.approx(0.5, abs=1e-3)}


@settings(deadline=None, max_examples=12)
@given(
    size=st.integers(30, 150),
    share=st.floats(0, 0.9),
    transform=st.sampled_from([NORTH_UP, ROTATED, SOUTH_UP]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_union_of_chips_is_the_scene(tmp_path_factory, size, share, transform, dtype):
    folder = tmp_path_factory.mktemp("tile")
    scene = write_scene(folder / "scene.tif", transform, bands=2, dtype=dtype, nodata=7)
    out = tile_scene(scene, folder / "chips", chip_size=size, overlap=int(size * share)).out
    with rasterio.open(scene) as source:
        expected, seen = source.read(), np.zeros((HEIGHT, WIDTH), bool)
    for image in read_book(out)["images"]:
        column, row, width, height = image["window"]
        with rasterio.open(out / image["file_name"]) as chip:
            assert (chip.width, chip.height, chip.count, chip.nodata) == (width, height, 2, 7)
            assert chip.crs == source.crs
            assert chip.dtypes == (dtype, dtype)
            assert chip.profile["compress"] == "deflate"
            np.testing.assert_array_equal(chip.read(), expected[:, row : row + height, column : column + width])
            for x, y in ((0, 0), (width, 3), (11, height)):
                np.testing.assert_allclose(chip.transform @ (x, y), transform @ (x + column, y + row), rtol=1e-15)
        seen[row : row + height, column : column + width] = True
    assert seen.all()


def test_alpha_masks_palettes_and_names_survive(tmp_path):
    rgba = write_scene(tmp_path / "rgba.tif", bands=4, photometric="rgb", alpha="yes")
    out = tile_scene(rgba, tmp_path / "a", chip_size=100, overlap=0).out
    with rasterio.open(out / "rgba_000_030.tif") as chip:
        assert chip.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)

    faded = write_scene(tmp_path / "faded.tif", bands=2, photometric="minisblack", alpha="yes")
    out = tile_scene(faded, tmp_path / "f", chip_size=100, overlap=0).out
    with rasterio.open(out / "faded_000_000.tif") as chip:
        assert chip.colorinterp == (ColorInterp.gray, ColorInterp.alpha)

    palette = write_scene(tmp_path / "palette.tif", bands=1, photometric="palette")
    masked = write_scene(tmp_path / "masked.tif")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[40:, 35:] = 255
    with rasterio.open(palette, "r+") as dataset:
        dataset.write_colormap(1, {5: (10, 20, 30, 255)})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(mask)
        dataset.descriptions = ("R", "G", "B")
    out = tile_scene(palette, tmp_path / "p", chip_size=100, overlap=0).out
    with rasterio.open(out / "palette_000_000.tif") as chip:
        assert chip.colorinterp == (ColorInterp.palette,)
        assert chip.colormap(1)[5] == (10, 20, 30, 255)
    out = tile_scene(masked, tmp_path / "m", chip_size=100, overlap=0).out
    with rasterio.open(out / "masked_000_030.tif") as chip:
        assert chip.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert chip.descriptions == ("R", "G", "B")
        np.testing.assert_array_equal(chip.dataset_mask(), mask[:, 30:])


def test_no_georeference(tmp_path):
    scene = write_scene(tmp_path / "plain.tif", Affine.identity(), crs=None)
    polygon = shapely.box(100, 20, 120, 44)
    (tmp_path / "labels.json").write_text(json.dumps(shapely.geometry.mapping(polygon)))
    out = tile_scene(scene, tmp_path / "chips", labels=tmp_path / "labels.json", chip_size=100, overlap=0).out
    book = read_book(out)
    assert "gsd_m" not in book["images"][0]
    assert [item["bbox"] for item in book["annotations"]] == [[70, 20, 20, 24]]


# --- annotations ------------------------------------------------------------------------------------------


def test_annotations_by_hand(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    cut = shapely.box(60, 10, 85, 20)  # 5 of its 25 columns reach into the second chip
    sliver = shapely.box(20, 70, 79.5 + 2, 80)  # 1.5 of 61.5 columns do
    labels = write_labels(tmp_path / "l.gpkg", [cut, sliver], **{"class": ["roof", "car"]})
    summary = tile_scene(scene, tmp_path / "chips", labels=labels, chip_size=80, overlap=30)
    book = read_book(summary.out)
    assert book["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "roof"}]
    rows = [row for row in book["annotations"] if row["image_id"] == 1]
    assert [row["category_id"] for row in rows] == [2, 1]
    assert rows[0]["bbox"] == pytest.approx([60, 10, 20, 10], abs=1e-3)
    assert rows[0]["area"] == pytest.approx(200, abs=1e-2)
    assert (rows[0]["visible"], rows[0]["iscrowd"]) == (0.8, 0)
    assert np.sort(np.reshape(rows[0]["segmentation"][0], (-1, 2)), axis=0).tolist() == [
        [60, 10],
        [60, 10],
        [80, 20],
        [80, 20],
    ]
    assert [row["id"] for row in book["annotations"]] == list(range(1, len(book["annotations"]) + 1))


def test_slivers_are_dropped_and_counted(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    labels = write_labels(tmp_path / "l.gpkg", [shapely.box(20, 10, 68, 20)])
    summary = tile_scene(scene, tmp_path / "chips", labels=labels, chip_size=65, overlap=0)
    assert (summary.annotations, summary.slivers) == (1, 1)
    assert read_book(summary.out)["annotations"][0]["visible"] == 0.9375


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), transform=st.sampled_from([NORTH_UP, ROTATED, SOUTH_UP]))
def test_parts_are_cut_where_the_chips_end(tmp_path_factory, seed, transform):
    folder = tmp_path_factory.mktemp("areas")
    rng = np.random.default_rng(seed)
    scene = write_scene(folder / "scene.tif", transform)
    polygons = []
    for x, y in rng.uniform([25, 25], [WIDTH - 25, HEIGHT - 25], (5, 2)):
        around = np.sort(rng.uniform(0, 2 * np.pi, 6))
        ring = np.stack([x + 20 * np.cos(around), y + 20 * np.sin(around)], 1)
        polygons.append(shapely.convex_hull(shapely.multipoints(ring)))
    labels = write_labels(folder / "l.gpkg", polygons, transform)
    summary = tile_scene(scene, folder / "chips", labels=labels, chip_size=65, overlap=40)
    truth = COCO(str(summary.out / ANNOTATIONS))
    whole = {tuple(image["window"]): image["id"] for image in truth.dataset["images"]}
    for polygon in polygons:
        for (column, row, width, height), image_id in whole.items():
            part = polygon.intersection(shapely.box(column, row, column + width, row + height))
            if part.area < 0.11 * polygon.area:
                continue
            areas = [item["area"] for item in truth.imgToAnns[image_id]]
            assert min(abs(area - part.area) for area in areas) < 0.01
            x1, y1, x2, y2 = part.bounds
            expected = [x1 - column, y1 - row, x2 - x1, y2 - y1]
            assert min(np.abs(np.subtract(item["bbox"], expected)).max() for item in truth.imgToAnns[image_id]) < 0.01


def test_areas_add_up_where_chips_do_not_overlap(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    polygons = [shapely.box(50, 30, 90, 60), shapely.box(3, 3, 17, 29), shapely.Point(90, 70).buffer(15)]
    labels = write_labels(tmp_path / "l.gpkg", polygons)
    out = tile_scene(scene, tmp_path / "chips", labels=labels, chip_size=65, overlap=0).out
    total = sum(item["area"] for item in read_book(out)["annotations"] if item["image_id"] in {1, 2})
    upper = shapely.box(0, 0, WIDTH, 65)
    assert total == pytest.approx(sum(polygon.intersection(upper).area for polygon in polygons), abs=0.01)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_pycocotools_reads_rings_runs_and_crowds(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    court = shapely.box(10, 10, 50, 40).difference(shapely.box(20, 15, 33, 30))
    pair = shapely.MultiPolygon([shapely.box(70, 50, 80, 60), shapely.box(85, 50, 99, 62)])
    outside = shapely.box(100, 5, 124, 25)
    labels = write_labels(tmp_path / "l.gpkg", [court, pair, outside], **{"class": ["b", "b", "b"]})
    aoi = write_labels(tmp_path / "aoi.gpkg", [shapely.box(0, 0, 110, 90)])
    out = tile_scene(scene, tmp_path / "chips", labels=labels, aoi=aoi, chip_size=200, overlap=0).out
    truth = COCO(str(out / ANNOTATIONS))
    rows = truth.imgToAnns[1]
    assert [isinstance(row["segmentation"], dict) for row in rows] == [True, False, True]
    assert [row["iscrowd"] for row in rows] == [0, 0, 1]
    assert [len(row["segmentation"]) for row in rows] == [2, 2, 2]
    for row, polygon in zip(rows, [court, pair, outside], strict=True):
        mask = truth.annToMask(row)
        assert mask.shape == (HEIGHT, WIDTH)
        y, x = np.indices(mask.shape) + 0.5
        assert (mask.astype(bool) == shapely.contains_xy(polygon, x, y)).all()


def test_hole_becomes_runs_of_pixel_centres():
    court = shapely.box(1, 1, 6, 5).difference(shapely.box(2, 2, 4, 4))
    runs = segmentation(court, (7, 9))
    assert runs["size"] == [7, 9]
    ring = segmentation(shapely.box(1, 1, 6, 5), (7, 9))
    assert len(ring) == 1
    assert len(ring[0]) == 8


# --- the AOI ----------------------------------------------------------------------------------------------


def test_chips_outside_the_aoi_are_skipped(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    # Shares the edge at column 65 with the right chips, and no more.
    aoi = write_labels(tmp_path / "aoi.geojson", [shapely.box(5, 5, 65, 20)])
    calls = []
    summary = tile_scene(
        scene, tmp_path / "chips", aoi=aoi, chip_size=65, overlap=0, progress=lambda *call: calls.append(call)
    )
    assert [image["window"] for image in read_book(summary.out)["images"]] == [[0, 0, 65, 65]]
    assert (summary.chips, summary.skipped) == (1, 3)
    assert calls == [(1, 1)]


def test_aoi_elsewhere(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    aoi = write_labels(tmp_path / "aoi.gpkg", [shapely.box(500, 500, 600, 600)])
    with pytest.raises(InputError, match=r"aoi\.gpkg: the AOI does not touch .*scene\.tif"):
        tile_scene(scene, tmp_path / "chips", aoi=aoi)
    assert not (tmp_path / "chips").exists()


# --- labels that are odd ----------------------------------------------------------------------------------


def test_labels_elsewhere(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    labels = write_labels(tmp_path / "l.gpkg", [shapely.box(500, 500, 600, 600)])
    with pytest.raises(InputError, match=r"l\.gpkg: no label lies inside .*scene\.tif; check"):
        tile_scene(scene, tmp_path / "chips", labels=labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.gpkg", "scene.tif"]


def test_empty_labels_give_valid_coco(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    (tmp_path / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    summary = tile_scene(scene, tmp_path / "chips", labels=tmp_path / "none.geojson", chip_size=100, overlap=0)
    truth = COCO(str(summary.out / ANNOTATIONS))
    assert (len(truth.imgs), len(truth.anns), len(truth.cats), summary.objects) == (2, 0, 0, 0)


def test_invalid_labels_are_repaired_and_counted(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    bow = shapely.Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])
    labels = write_labels(tmp_path / "l.gpkg", [bow, shapely.box(40, 40, 50, 50)])
    summary = tile_scene(scene, tmp_path / "chips", labels=labels, chip_size=200, overlap=0)
    assert (summary.repaired, summary.annotations) == (1, 2)
    assert summary.notices == (f"{labels}: 1 invalid polygons repaired",)
    assert read_book(summary.out)["annotations"][0]["area"] == pytest.approx(200, abs=0.01)
    assert read_book(summary.out)["categories"] == [{"id": 1, "name": "object"}]


def test_what_was_made_of_labels_and_aoi_is_said(tmp_path):
    labels = tmp_path / "l.geojson"
    aoi = tmp_path / "a.geojson"
    for path in (labels, aoi):
        path.write_text(json.dumps(shapely.geometry.mapping(shapely.box(10, 10, 50, 40))))
    scene = write_scene(tmp_path / "scene.tif", Affine.identity(), crs=None)
    summary = tile_scene(scene, tmp_path / "chips", labels=labels, aoi=aoi, chip_size=200, overlap=0)
    text = "may be longitude and latitude, but taken to be in pixels like what it goes with"
    assert summary.notices == ("no georeference: coordinates are pixels", f"{aoi}: {text}", f"{labels}: {text}")
    assert read_book(summary.out)["annotations"][0]["bbox"] == [10, 10, 40, 30]
    placed = write_labels(tmp_path / "l.gpkg", [shapely.box(10, 10, 50, 40)])
    with pytest.raises(InputError, match=r"l\.gpkg: is in WGS 84 .* has no georeference"):
        tile_scene(scene, tmp_path / "others", labels=placed)


def test_object_without_class(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    polygons = [shapely.box(1, 1, 9, 9), shapely.box(20, 20, 30, 30)]
    labels = write_labels(tmp_path / "l.gpkg", polygons, kind=["roof", None])
    with pytest.raises(InputError, match=r"l\.gpkg: 1 objects have no 'kind'"):
        tile_scene(scene, tmp_path / "chips", labels=labels, class_field="kind")


# --- the folder -------------------------------------------------------------------------------------------


def test_sizes_that_make_no_sense(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    with pytest.raises(UsageError, match="--chip-size 0"):
        tile_scene(scene, tmp_path / "chips", chip_size=0)
    with pytest.raises(UsageError, match="--overlap 80"):
        tile_scene(scene, tmp_path / "chips", chip_size=80, overlap=80)


def test_existing_folder(tmp_path):
    scene, out = write_scene(tmp_path / "scene.tif"), tmp_path / "chips"
    out.mkdir()
    tile_scene(scene, out, chip_size=100, overlap=0)
    with pytest.raises(OutputExistsError, match="chips: exists already"):
        tile_scene(scene, out)
    tile_scene(scene, out, chip_size=200, overlap=0, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == [ANNOTATIONS, "scene_000_000.tif"]
    (out / "notes.tif").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds 'notes\.tif'"):
        tile_scene(scene, out, overwrite=True)
    assert (out / "notes.tif").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chips", "scene.tif"]


def test_folder_of_a_scene_is_never_replaced(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    with pytest.raises(OutputExistsError, match=r"holds 'scene\.tif'"):
        tile_scene(scene, tmp_path, overwrite=True)
    assert scene.exists()


def test_nothing_is_left_of_a_tiling_that_fails(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tile_scene(scene, tmp_path / "chips", chip_size=50, overlap=0, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


def test_a_file_in_the_way_and_a_missing_parent(tmp_path):
    scene = write_scene(tmp_path / "scene.tif")
    with pytest.raises(D2DetError, match=r"scene\.tif: is not a folder"):
        tile_scene(scene, scene, overwrite=True)
    with pytest.raises(D2DetError, match="parent folder cannot be written to"):
        tile_scene(scene, tmp_path / "no" / "chips")


def test_failing_overwrite_keeps_the_old_folder(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")

    def fill_and_fail() -> None:
        with atomic_folder(out, overwrite=True, own_files=lambda _: {"a.txt"}) as folder:
            (folder / "a.txt").write_text("new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fill_and_fail()
    assert (out / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["missing.tif", "text.tif"])
def test_scenes_that_are_none(tmp_path, name):
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(InputError, match=name):
        tile_scene(tmp_path / name, tmp_path / "chips")
    assert not (tmp_path / "chips").exists()


def test_damaged_scene(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", compress="deflate", blockysize=1)
    whole = scene.read_bytes()
    with rasterio.open(scene) as dataset:
        dataset.read(window=Window(0, 0, 3, 3))
    scene.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"scene\.tif"):
        tile_scene(scene, tmp_path / "chips")
    assert not (tmp_path / "chips").exists()


@pytest.mark.parametrize("interrupted", [1, 2])
def test_ctrl_c_while_a_folder_is_replaced_keeps_the_earlier_one(tmp_path, monkeypatch, interrupted):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    rename, calls = Path.rename, []

    def interrupt(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == interrupted:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)

    def replace() -> None:
        with atomic_folder(out, overwrite=True, own_files=lambda _: {"a.txt"}) as folder:
            (folder / "a.txt").write_text("new")

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert (out / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
