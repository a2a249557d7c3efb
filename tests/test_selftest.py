"""The check of places: right on every grid, red when something is half a pixel off, quick on huge scenes."""

from __future__ import annotations

import json
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.errors import InputError
from d2det_geo.model.bundle import read_card
from d2det_geo.pipeline.selftest.errors import compare
from d2det_geo.pipeline.selftest.geo import GeoCheck, check_geo
from d2det_geo.pipeline.selftest.targets import Grid, Targets, place_targets
from d2det_geo.vector import polygons

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

WIDTH, HEIGHT = 230, 170
NORTH_UP = Affine(0.15, 0, 500_000, 0, -0.15, 5_000_000)
KINDS = ("utm", "web mercator", "lat/lon", "north pole", "south pole", "feet", "its own", "with heights")
OWN = "+proj=tmerc +lat_0=9 +lon_0=20.3 +k=0.9 +ellps=bessel"  # in no register


def check(path: Path, **options: Any) -> GeoCheck:
    return check_geo(path, **{"chip_size": 64, "overlap": 24} | options)


# On every grid


def write_grid(path: Path, crs: str, transform: Affine, gcps: bool) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        place = {} if gcps else {"crs": crs, "transform": transform}
        with rasterio.open(
            path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=3, dtype="uint8", sparse_ok=True, **place
        ) as dataset:
            if gcps:
                pixels = [(c, r) for c in (0, 100, WIDTH) for r in (0, 90, HEIGHT)]
                points = [GroundControlPoint(r, c, *(transform @ (c, r))) for c, r in pixels]
                dataset.gcps = (points, CRS.from_string(crs))
    return path


@st.composite
def grids(draw: st.DrawFn, kind: str) -> tuple[str, Affine]:
    """Draw a grid of a kind, coarse enough that the model's GSD is not tried, too."""
    crs, x, y, unit = {
        "utm": ("EPSG:32633", st.floats(2e5, 8e5), st.floats(1e5, 9e6), 1.0),
        "web mercator": ("EPSG:3857", st.floats(-2e7, 2e7), st.floats(-1e7, 1e7), 1.0),
        "lat/lon": ("EPSG:4326", st.floats(-180, 179), st.floats(-80, 80), 1e-5),
        # Off the pole itself: GeoJSON's lines are straight in degrees, and cannot follow an object that touches it.
        "north pole": ("EPSG:3413", st.floats(1e4, 2e6), st.floats(-2e6, 2e6), 1.0),
        "south pole": ("EPSG:3031", st.floats(-2e6, -1e4), st.floats(-2e6, 2e6), 1.0),
        "feet": ("EPSG:2263", st.floats(9e5, 1.1e6), st.floats(1.5e5, 2.5e5), 3.0),
        "its own": (
            "+proj=tmerc +lat_0=9 +lon_0=20.3 +k=0.9 +ellps=bessel",
            st.floats(-1e5, 1e5),
            st.floats(0, 1e5),
            1.0,
        ),
        "with heights": ("EPSG:32633+5773", st.floats(2e5, 8e5), st.floats(1e5, 9e6), 1.0),
    }[kind]
    down = draw(st.sampled_from([-1.0, 1.0]))  # south-up as often as north-up
    steps = unit * draw(st.floats(4, 9)), unit * down * draw(st.floats(4, 9))
    turned = Affine.rotation(draw(st.floats(0, 360))) @ Affine.shear(draw(st.floats(-25, 25)))
    return crs, Affine.translation(draw(x), draw(y)) @ turned @ Affine.scale(*steps)


@pytest.mark.parametrize("gcps", [False, True], ids=["transform", "control points"])
@pytest.mark.parametrize(
    "kind", ["utm", "web mercator", "lat/lon", "north pole", "south pole", "feet", "its own", "with heights"]
)
def test_targets_come_back_to_a_millionth_of_a_pixel(tmp_path: Path, kind: str, gcps: bool) -> None:
    @settings(deadline=None, max_examples=2, suppress_health_check=[HealthCheck.too_slow])
    @given(grid=grids(kind))
    def everywhere(grid: tuple[str, Affine]) -> None:
        result = check(write_grid(tmp_path / "scene.tif", *grid, gcps))
        package = next(run.comparison for run in result.runs if run.format == ".gpkg")
        assert result.failures == ()
        assert (package.all.lost, package.all.doubled, package.strays) == (0, 0, 0)
        # Control points are stored and fitted as they are: GDAL's fit of them and ours differ by the rounding of both.
        assert package.all.max_px < (1e-5 if gcps else 1e-6)
        assert {run.gsd for run in result.runs} == {"native"}

    everywhere()


def test_a_scene_without_georeference_is_checked_in_pixels(write_raster: WriteRaster) -> None:
    result = check(write_raster(np.zeros((3, HEIGHT, WIDTH), np.uint8), transform=None, crs=None))
    assert result.failures == ()
    assert result.crs is None
    assert [run.gsd for run in result.runs] == ["native", "native"]
    assert max(run.comparison.all.max_px for run in result.runs) < 1e-6
    assert result.runs[0].comparison.all.max_cm is None
    assert result.notices == ("no georeference: coordinates are pixels",)


@pytest.mark.parametrize(
    "transform", [NORTH_UP, Affine(0.02, 0, 5e5, 0, -0.02, 5e6), Affine(0.4, 0, 5e5, 0, -0.3, 5e6)]
)
def test_at_another_gsd_targets_stay_where_they_are(tmp_path: Path, transform: Affine) -> None:
    result = check(write_grid(tmp_path / "scene.tif", "EPSG:32633", transform, gcps=False))
    assert result.failures == ()
    for run in result.runs[2:]:
        assert run.gsd_m == 0.15
        grid_px = 0.15 / abs(transform.a)
        assert run.comparison.all.bias_px < 0.02 * max(grid_px, 1) + 0.0056 / 0.02
        assert run.comparison.all.max_px < 0.25 * max(grid_px, 1) + 0.0056 / 0.02
    assert len(result.runs) == (2 if transform == NORTH_UP else 4)


def test_a_scene_bent_by_control_points(tmp_path: Path) -> None:
    turned = Affine.translation(5e5, 5e6) @ Affine.rotation(20) @ Affine.scale(0.7, -0.7)
    pixels = [(c, r) for c in (0, 70, 150, WIDTH) for r in (0, 60, 110, HEIGHT)]
    path = write_grid(tmp_path / "scene.tif", "EPSG:32633", turned, gcps=False)
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=3, dtype="uint8") as dataset:
            waves = [(turned @ (c, r), c, r) for c, r in pixels]
            points = [
                GroundControlPoint(r, c, x + 3 * np.sin(r / 40), y + 3 * np.sin(c / 50)) for (x, y), c, r in waves
            ]
            dataset.gcps = (points, CRS.from_epsg(32633))
    result = check(path)
    assert result.failures == ()
    assert "thin plate splines" in result.notices[0]
    assert result.runs[0].comparison.all.max_px < 0.3  # of the middles; its pixels are resampled


# Red when something is wrong


@pytest.mark.parametrize("shift", [(0.5, 0.5), (-0.5, 0), (0, 0.06)])
def test_a_shift_of_outlines_is_told(write_raster: WriteRaster, monkeypatch: Any, shift: tuple[float, float]) -> None:
    path = write_raster(np.zeros((3, HEIGHT, WIDTH), np.uint8), transform=NORTH_UP)
    honest = polygons.mapped

    def shifted(geometry: Any, transform: Affine) -> Any:
        return honest(geometry, transform @ Affine.translation(*shift))

    monkeypatch.setattr(polygons, "mapped", shifted)
    result = check(path)
    assert result.runs[0].comparison.all.bias_x_px == pytest.approx(shift[0], abs=1e-6)
    assert result.runs[0].comparison.all.bias_y_px == pytest.approx(shift[1], abs=1e-6)
    x, y = shift
    words = f"native GSD, .gpkg: objects are shifted by ({x:+.3f}, {y:+.3f}) px, more than 0.05"
    assert result.failures[0] == words
    assert len(result.failures) == (2 if 0.5 in map(abs, shift) else 1)  # 7 digits of GeoJSON hide 0.06 px
    answer = CliRunner().invoke(app, ["selftest", "geo", str(path), "--chip-size", "64", "--overlap", "24"])
    assert answer.exit_code == 6
    assert "objects are shifted by" in answer.stderr


def test_lost_doubled_and_strange_objects_are_counted() -> None:
    targets = Targets(np.array([[0, 0, 10, 20], [30, 0, 40, 20], [60, 0, 70, 20]]), ("corner", "seam", "seam"))
    outlines = np.array([shapely.box(0, 1, 10, 21), *[shapely.box(30, 0, 40, 20)] * 2, shapely.box(99, 99, 110, 110)])
    found = compare(targets, outlines, upright=True, axes_m=(0.5, 0.25))
    assert (found.all.lost, found.all.doubled, found.strays) == (1, 1, 1)
    assert (found.by_kind["corner"].bias_x_px, found.by_kind["corner"].bias_y_px) == (0, 1)
    assert found.by_kind["corner"].max_cm == 25
    assert (found.by_kind["seam"].lost, found.by_kind["seam"].doubled) == (1, 1)
    assert found.all.rms_px == pytest.approx(0.5)  # two of eight edges are 1 px off
    assert [item.found for item in found.each] == [1, 2, 0]
    assert (found.each[0].x_px, found.each[0].y_px, found.each[2].max_px) == (0, 1, None)
    nothing = compare(targets, outlines[:0], upright=True, axes_m=None)
    assert (nothing.all.lost, nothing.strays, nothing.all.max_cm) == (3, 0, None)


# Where the targets are


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    scale=st.floats(0.25, 8),
    chip=st.integers(32, 640),
    share=st.floats(0, 0.5),
)
def test_targets_lie_apart_inside_the_scene(size: tuple[int, int], scale: float, chip: int, share: float) -> None:
    targets = place_targets(Grid(size, size, (scale, scale * 1.3), None, chip, int(chip * share)))
    boxes = targets.boxes
    assert len(boxes) > 0
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    tree = shapely.STRtree(shapely.box(*boxes.T))
    assert len(tree.query(shapely.box(*boxes.T), "intersects")[0]) == len(boxes)
    assert targets.kinds[0] == "corner"


def test_targets_lie_on_all_corners_edges_and_seams() -> None:
    targets = place_targets(Grid((3000, 2000), (3000, 2000), (1.0, 1.0), None, 640, 192))
    boxes, kinds = targets.boxes, np.array(targets.kinds)
    assert {tuple(corner) for corner in boxes[kinds == "corner"].tolist()} == {
        (0, 0, 24, 18),
        (2976, 0, 3000, 18),
        (0, 1982, 24, 2000),
        (2976, 1982, 3000, 2000),
    }
    edges = boxes[kinds == "edge"]
    assert ((edges[:, :2] == 0) | (edges[:, 2:] == [3000, 2000])).any(axis=1).all()
    starts = [448, 896, 1344, 1792, 2240, 2360]
    columns = np.array([*starts, *(start + 640 for start in [0, *starts[:-1]])])
    seams = boxes[kinds == "seam"]
    cut = (seams[:, :1] < columns) & (columns < seams[:, 2:3])
    assert cut.any(axis=1).sum() > 8
    long = boxes[kinds == "long"]
    assert sorted((long[:, 2:] - long[:, :2]).max(axis=1).tolist()) == [1400, 1408]


# The command


def test_the_command_prints_a_table_or_json(write_raster: WriteRaster) -> None:
    path = write_raster(np.zeros((3, HEIGHT, WIDTH), np.uint8), transform=NORTH_UP)
    command = ["selftest", "geo", str(path), "--chip-size", "64", "--overlap", "24", "--quiet"]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0
    head, first, *_, last = answer.stdout.splitlines()
    names = "gsd file where targets lost doubled bias x bias y rms max px max cm"
    assert " ".join(head.split()) == names
    assert first.split()[:3] == ["native", "gpkg", "all"]
    assert last == f"{path}: {WIDTH} x {HEIGHT} px, EPSG:32633; errors in px of the scene"
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert document["schema_version"] == 1
    assert document["failures"] == []
    assert [run["format"] for run in document["runs"]] == [".gpkg", ".geojson"]
    run = document["runs"][0]["comparison"]
    assert len(run["each"]) == run["all"]["targets"]
    assert run["each"][0] == {
        "kind": "corner",
        "box_px": [0, 0, 24, 18],
        "found": 1,
        "x_px": pytest.approx(0, abs=1e-6),
        "y_px": pytest.approx(0, abs=1e-6),
        "max_px": pytest.approx(0, abs=1e-6),
        "max_cm": pytest.approx(0, abs=1e-4),
    }


def test_what_cannot_be_checked_is_said(tmp_path: Path, write_raster: WriteRaster) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_geo(tmp_path / "missing.tif")
    coarse = write_raster(np.zeros((3, 90, 130), np.uint8), transform=Affine(10, 0, 5e5, 0, -10, 5e6))
    assert check(coarse).notices == ("not checked at the model's 0.15 m per px: the scene is 67 times coarser",)


@pytest.mark.parametrize(
    ("side", "layout"),
    [(100_000, {"tiled": True, "blockxsize": 512, "blockysize": 512}), (30_000, {"blockysize": 1})],
    ids=["tiled", "strips"],
)
def test_a_huge_scene_takes_seconds(tmp_path: Path, side: int, layout: dict[str, Any]) -> None:
    path = tmp_path / "scene.tif"
    big = {"width": side, "height": side, "count": 3, "dtype": "uint8", "sparse_ok": True, "bigtiff": "yes"}
    rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=NORTH_UP, **big, **layout).close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    card = read_card("buildings")
    result = check_geo(path, chip_size=card.chip_size)
    assert result.failures == ()
    assert result.runs[0].comparison.all.max_px < 1e-6
    kinds = result.runs[0].comparison.by_kind
    assert {kind: kinds[kind].targets for kind in ("corner", "long")} == {"corner": 4, "long": 2}
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 2000  # MB
