"""`d2det plan` says what predict would do: the same windows, honest about what it did not look at, and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window
from typer.testing import CliRunner, Result

from d2det_cli.main import app
from d2det_geo.errors import InputError, UsageError
from d2det_geo.model.bundle import read_card
from d2det_geo.pipeline.coverage import covered_share, touched
from d2det_geo.pipeline.expectation import expected_seconds
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.plan import plan_scene, plan_scenes
from d2det_geo.pipeline.plan_report import Plan
from d2det_geo.raster.layout import layout_of
from tests.drone import exif_of, frame, pose, xmp_of

WriteRaster = Callable[..., Path]  # the fixture of conftest.py
ROOT = Path(__file__).parents[1]
NATIVE: dict[str, Any] = {"gsd": "native", "chip_size": 100, "overlap": 20, "device": "cpu"}


def image(height: int = 300, width: int = 500, value: int = 9) -> np.ndarray[Any, Any]:
    return np.full((3, height, width), value, np.uint8)


def d2det(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def said(plan: Plan) -> str:
    return "\n".join(plan.notices)


def test_a_plain_scene(write_raster: WriteRaster) -> None:
    scene = write_raster(image(), tiled=True, blockxsize=64, blockysize=32)
    plan = plan_scene(scene, **NATIVE)
    assert (plan.width, plan.height, plan.grid_width, plan.grid_height) == (500, 300, 500, 300)
    assert (plan.windows, plan.outside, plan.empty, plan.chips) == (6 * 4, 0, 0, 24)  # steps of 80, the last moved back
    assert (plan.empty_is, plan.coverage) == ("exactly", 1.0)
    assert (plan.block_width, plan.block_height, plan.striped) == (64, 32, False)
    assert plan.bytes == scene.stat().st_size
    assert plan.gsd_m == plan.grid_gsd_m == pytest.approx(0.5, rel=1e-3)
    assert plan.crs == "EPSG:32633"
    assert (
        said(plan)
        == "neighbouring chips share 20 px and the model wants 192: larger objects are put together from parts"
    )


def test_the_models_grid(write_raster: WriteRaster) -> None:
    card = read_card("buildings")
    plan = plan_scene(write_raster(image()), device="cpu")
    assert plan.grid_gsd_m == pytest.approx(card.gsd_m, rel=1e-2)
    assert plan.grid_width == pytest.approx(500 * 0.5 / 0.15, rel=1e-2)
    assert (plan.chip_size, plan.overlap) == (card.chip_size, card.overlap)
    assert "0.5 m per pixel and the model wants 0.15" in said(plan)


def write_area(path: Path, x1: float, y1: float, x2: float, y2: float) -> Path:
    box = shapely.box(500_000 + x1 / 2, 5_000_000 - y2 / 2, 500_000 + x2 / 2, 5_000_000 - y1 / 2)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(box)}]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def test_an_area_of_interest(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster(image())
    area = write_area(tmp_path / "aoi.geojson", 110, 10, 150, 70)
    plan = plan_scene(scene, aoi=area, **NATIVE)
    # Columns begin at 0, 80, 160, ...: only the second has 110 to 150; rows at 0, 80, ...: only the first has 10 to 70.
    assert (plan.windows, plan.outside, plan.chips) == (24, 23, 1)
    assert plan.coverage == pytest.approx(100 * 100 / (300 * 500))
    with pytest.raises(InputError, match="does not touch"):
        plan_scene(scene, aoi=write_area(tmp_path / "far.geojson", 9000, 0, 9100, 100), **NATIVE)


def test_a_box_of_interest(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster(image())
    plan = plan_scene(scene, bbox=(500_055, 5_000_000 - 35, 500_075, 5_000_000 - 5), **NATIVE)  # 110 to 150, 10 to 70
    assert (plan.windows, plan.outside, plan.chips) == (24, 23, 1)
    area = write_area(tmp_path / "aoi.geojson", 0, 0, 150, 70)
    both = plan_scene(scene, aoi=area, bbox=(500_055, 5_000_000 - 35, 500_250, 5_000_000), **NATIVE)
    assert (both.outside, both.chips) == (23, 1)
    with pytest.raises(InputError, match=r"--bbox: does not touch .*, whose bounds are 500000,4999850,500250,5000000"):
        plan_scene(scene, bbox=(0, 0, 1, 1), **NATIVE)
    result = d2det(scene, "--gsd", "native", "--bbox", "5,5,1,1")
    assert (result.exit_code, "--bbox 5.0,5.0,1.0,1.0: must be" in result.stderr) == (2, True)


def test_frames_that_look_ahead(tmp_path: Path) -> None:
    path = frame(tmp_path / "a.jpg", exif_of(), xmp_of(**pose(pitch=-65)))
    refused, result = d2det(path, "--device", "cpu"), d2det(path, "--device", "cpu", "--allow-oblique", "--json")
    assert (refused.exit_code, "--allow-oblique" in refused.stderr) == (4, True)
    assert result.exit_code == 0, result.stderr
    (plan,) = json.loads(result.stdout)["scenes"]
    assert plan["crs"] == "EPSG:32632"
    looked_at = plan_scene(path, oblique=True, nodata=0, device="cpu")
    assert (looked_at.windows, looked_at.empty_is) == (plan["windows"], "about")


def test_blocks_that_were_never_written(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), "SPARSE_OK": True}
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"}
    with rasterio.open(
        path, "w", driver="GTiff", width=512, height=320, count=3, dtype="uint8", **place, **layout
    ) as out:
        out.write(image(64, 64)[2], 3, window=Window(128, 64, 64, 64))
    written = layout_of(path).written
    assert written is not None
    assert written.tolist() == [[(row, column) == (1, 2) for column in range(8)] for row in range(5)]
    plan = plan_scene(path, **(NATIVE | {"chip_size": 64, "overlap": 0}))
    assert (plan.windows, plan.empty, plan.empty_is, plan.chips) == (40, 39, "exactly", 1)
    assert plan.coverage == 1.0  # what is known to be empty has been looked at


def half_empty() -> np.ndarray[Any, Any]:
    pixels = image(600, 1000)
    pixels[:, :, 450:] = 0
    return pixels


def test_a_small_scene_with_nodata_is_looked_at(write_raster: WriteRaster) -> None:
    plan = plan_scene(write_raster(half_empty(), nodata=0), **NATIVE)
    windows = 13 * 8
    assert (plan.windows, plan.empty_is) == (windows, "about")
    assert plan.empty == 7 * 8  # columns from 480 on: 480, 560, ... 900
    by_hand = plan_scene(write_raster(half_empty(), "plain.tif"), **NATIVE, nodata=0)
    assert (by_hand.empty, by_hand.empty_is) == (plan.empty, "about")


def test_a_large_one_through_overviews_or_not_at_all(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2det_geo.pipeline.plan._LOOK_WHOLE", 1000)
    monkeypatch.setattr("d2det_geo.pipeline.plan._LOOK_SIDE", 250)
    scene = write_raster(half_empty(), nodata=0)
    plan = plan_scene(scene, **NATIVE)
    assert (plan.empty, plan.empty_is) == (0, "at least")
    with rasterio.open(scene, "r+") as dataset:
        dataset.build_overviews([4], Resampling.nearest)
    plan = plan_scene(scene, **NATIVE)
    assert (plan.empty, plan.empty_is) == (7 * 8, "about")


def test_what_to_look_out_for(write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2det_geo.pipeline.plan._KEPT_WHOLE", 500_000)
    plain = write_raster(image().astype(np.uint16), crs=None, transform=None)
    words = said(plan_scene(plain, **NATIVE))
    assert "no georeference" in words
    assert "striped: " in words
    assert "uint16 values" in words
    assert "striped" not in said(plan_scene(write_raster(image(), compress="deflate"), **NATIVE))
    coarse = said(plan_scene(write_raster(image(), transform=Affine(0.05, 0, 0, 0, -0.05, 5e6)), device="cpu"))
    assert "read at 1/3 of its size without overviews" in coarse
    out = tmp_path / "out.gpkg"
    out.touch()
    ledger_path(out).touch()
    words = said(plan_scene(write_raster(image()), out=out, max_memory=10**8, **NATIVE))
    assert f"{out} exists" in words
    assert "--resume" in words
    assert "predict would refuse: --max-memory 100MB" in words


@pytest.mark.parametrize(
    "options",
    [{"chip_size": 0}, {"overlap": 640}, {"overlap": -1}, {"device": "tpu"}, {"gsd": 0.0}, {"bands": (1, 2, 9)}],
)
def test_options_that_make_no_sense(write_raster: WriteRaster, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plan_scene(write_raster(image()), **options)


def test_work_grows_with_batch_chips_and_model(write_raster: WriteRaster) -> None:
    scene = write_raster(image(2000, 2000))
    options = NATIVE | {"chip_size": 512}
    small, batch, large = (
        plan_scene(scene, **(options | more)) for more in ({}, {"batch_size": 4}, {"chip_size": 1024})
    )
    assert small.memory_mb is not None
    assert 1000 < small.memory_mb < min(batch.memory_mb or 0, large.memory_mb or 0)
    assert small.seconds == batch.seconds
    assert plan_scene(scene, **(options | {"device": "cuda"})).seconds is None
    assert small.seconds is not None
    flipped, scaled = (plan_scene(scene, **options, **more) for more in ({"flip": True}, {"scales": (1.0, 2.0)}))
    assert (flipped.memory_mb, flipped.seconds) == (small.memory_mb, pytest.approx(2 * small.seconds))
    assert (scaled.memory_mb or 0) > small.memory_mb
    assert (scaled.seconds or 0) > 3 * small.seconds


def test_a_card_that_says_how_long_a_chip_takes_is_believed() -> None:
    card = read_card("buildings")
    timed = card.model_copy(update={"training": {"seconds_per_chip": 0.25}})
    assert expected_seconds(timed, 80, 640 * 640) == 20
    assert expected_seconds(card.model_copy(update={"training": {"seconds_per_chip": 2}}), 80, 640 * 640) == 160
    assert expected_seconds(timed, 80, 640 * 640, (1.0, 1.0, 0.25)) == 45
    resnet = card.model_copy(update={"architecture": card.architecture | {"backbone": "resnet50"}})
    assert expected_seconds(resnet, 10, 640 * 640) > expected_seconds(card, 10, 640 * 640) > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_time_is_of_the_cores_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card("buildings")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        alone = expected_seconds(card, 10, 640 * 640)
    finally:
        os.sched_setaffinity(0, cores)
    assert alone == pytest.approx(len(cores) * expected_seconds(card, 10, 640 * 640))
    assert alone > 5


def test_coverage_is_computed() -> None:
    windows = np.array([[0, 0, 4, 3], [2, 1, 4, 3], [7, 0, 3, 2]], np.float64)
    seen = np.zeros((5, 10), np.bool_)
    for x, y, width, height in windows.astype(int):
        seen[y : y + height, x : x + width] = True
    assert covered_share(windows, 10, 5) == pytest.approx(seen.mean())
    assert covered_share(windows[:0], 10, 5) == 0


def test_cells_under_windows() -> None:
    random = np.random.default_rng(2)
    cells = random.random((7, 11)) < 0.05
    windows = np.column_stack(
        [random.integers(0, 90, 200), random.integers(0, 60, 200), random.integers(1, 30, (200, 2))]
    )
    fine = np.kron(cells, np.ones((10, 9), np.bool_))  # cells of 9 x 10 px
    wanted = [fine[y : y + height, x : x + width].any() for x, y, width, height in windows]
    found = touched(windows.astype(np.float64), cells, (9, 10))
    assert 0 < sum(wanted) < 200
    assert found.tolist() == wanted


def test_on_the_command_line(write_raster: WriteRaster) -> None:
    scene = write_raster(image())
    result = d2det(scene, "--gsd", "native", "--chip-size", "100", "--overlap", "20", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "windows    24 of 100 px" in result.stdout
    assert "coverage   100 % of the scene" in result.stdout
    document = json.loads(d2det(scene, write_raster(image(), "other.tif"), "--json", "--device", "cpu").stdout)
    assert document["schema"] == "d2det-plan/1"
    assert document["total"]["chips"] == 2 * document["scenes"][0]["chips"] > 0
    assert document["failed"] == []


def test_a_bad_scene_among_good_ones(write_raster: WriteRaster, tmp_path: Path) -> None:
    good, bad = [write_raster(image(), name) for name in ("a.tif", "b.tif")], tmp_path / "missing.tif"
    result = d2det(good[0], bad, good[1], "--device", "cpu")
    assert result.exit_code == 3
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == [str(path) for path in good]
    assert result.stdout.splitlines()[3].startswith("total ")
    assert result.stderr.splitlines() == [
        f"d2det: error: {bad}: no such file; check the path",
        "d2det: error: 1 of 3 scenes cannot be predicted",
    ]
    worse = tmp_path / "gone.tif"
    for paths in ((bad,), (bad, worse)):
        result = d2det(*paths)
        assert (result.exit_code, result.stdout) == (4, "")
        assert result.stderr.splitlines() == [f"d2det: error: {path}: no such file; check the path" for path in paths]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--max-memory", "much"), 2, "--max-memory much"),
        (("--model", "nothing"), 2, "no such model"),
        (("--chip-size", "0"), 2, "--chip-size 0"),
        (("--max-memory", "100MB"), 0, "notice"),
    ],
)
def test_options_on_the_command_line(write_raster: WriteRaster, arguments: Any, code: int, words: str) -> None:
    result = d2det(write_raster(image()), "--device", "cpu", *arguments)
    assert result.exit_code == code
    assert words in result.output


def test_several_scenes_add_up(write_raster: WriteRaster) -> None:
    scenes = [write_raster(image(), "a.tif"), write_raster(image(900, 900), "b.tif")]
    plans = plan_scenes(scenes, **NATIVE)
    total = plans.total()
    assert total["windows"] == sum(plan.windows for plan in plans.plans)
    assert total["seconds"] == pytest.approx(sum(plan.seconds or 0 for plan in plans.plans))
    assert plan_scenes(scenes, **(NATIVE | {"device": "cuda"})).total()["memory_mb"] is None


def test_a_vast_scene_costs_little_and_no_torch(tmp_path: Path) -> None:
    scene = tmp_path / "vast.tif"
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "SPARSE_OK": True}
    shape = {"width": 40_000, "height": 40_000, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(scene, "w", driver="GTiff", **shape, **layout) as dataset:
            dataset.write(image(600, 600), window=Window(20_000, 20_000, 600, 600))
    started = time.process_time()
    plan = plan_scene(scene, device="cpu")
    assert time.process_time() - started < 1
    assert 0 < plan.chips < 20 < plan.windows
    most = 1_805_000_000
    assert plan.memory_mb is not None
    assert plan.memory_mb > most / 1e6
    limited = plan_scene(scene, device="cpu", max_memory=most)
    assert limited.memory_mb is not None
    assert limited.memory_mb <= most / 1e6
    code = (
        "import sys; from typer.testing import CliRunner; from d2det_cli.main import app\n"
        "result = CliRunner().invoke(app, ['plan', sys.argv[1]]); assert result.exit_code == 0, result.output\n"
        "print([name for name in ('torch', 'torchvision', 'geopandas') if name in sys.modules])"
    )
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
    answer = subprocess.run(
        [sys.executable, "-c", code, str(scene)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert answer.stdout == "[]\n"
    code = code.replace("sys.argv[1]]", "*sys.argv[1:]]").replace(", 'geopandas'", "")  # an area needs that one
    answer = subprocess.run(
        [sys.executable, "-c", code, str(scene), "--bbox", "0,0,900,900", "--tta", "1,flip"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert answer.stdout == "[]\n"
