"""Where a raster lies by its tags: control points, RPCs, odd CRSs, and what is said where they say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.georeference import Georeference, georeference_of, placed
from d2det_geo.raster.scene import open_scene
from d2det_geo.raster.source import open_dataset

WriteRaster = Callable[..., Path]  # the fixture of conftest.py
Bend = Callable[[float, float], tuple[float, float]]

WIDTH, HEIGHT = 300, 200
TURNED = Affine.translation(5e5, 5e6) @ Affine.rotation(20) @ Affine.shear(3) @ Affine.scale(0.2, -0.25)
GRID = [(c, r) for r in (0, 50, 100, 150, 200) for c in (0, 100, 200, 300)]
SQUARE = (60, 50, 100, 80)


def bent(column: float, row: float) -> tuple[float, float]:
    x, y = TURNED @ (column, row)
    return x + 1e-4 * (column - 150) ** 2, y + 1e-5 * row * column


def wavy(column: float, row: float) -> tuple[float, float]:
    x, y = TURNED @ (column, row)
    return x + 0.6 * np.sin(row / 35), y + 0.6 * np.sin(column / 45)


def write_points(
    path: Path, pixels: list[tuple[float, float]], bend: Bend, crs: str = "EPSG:32633", **more: Any
) -> Path:
    """Write a dark raster with a bright square, placed by control points."""
    image = np.full((more.pop("count", 3), HEIGHT, WIDTH), 40, more.pop("dtype", "uint8"))
    x1, y1, x2, y2 = SQUARE
    image[:3, y1:y2, x1:x2] = 240
    image[3:] = 255
    mask: NDArray[np.uint8] | None = more.pop("mask", None)
    points = [GroundControlPoint(row=r, col=c, x=x, y=y) for c, r in pixels for x, y in [bend(c, r)]]
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=len(image), height=HEIGHT, width=WIDTH, dtype=image.dtype, **more
        ) as dataset:
            dataset.gcps = (points, CRS.from_string(crs) if crs else CRS())
            dataset.write(image)
            if mask is not None:
                dataset.write_mask(mask)
    return path


def place_of(path: Path) -> Georeference:
    with placed(open_dataset(path)) as dataset:
        return georeference_of(dataset)


# Control points that an affine map fits


@pytest.mark.parametrize("pixels", [GRID, GRID[:2] + GRID[-1:], [(0, 0), (300, 0), (300, 200), (0, 200)]])
def test_points_of_an_affine_map_are_that_map(tmp_path: Path, pixels: list[tuple[float, float]]) -> None:
    place = place_of(write_points(tmp_path / "a.tif", pixels, lambda c, r: TURNED @ (c, r)))
    corners = [(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)]
    off = [np.subtract(place.transform @ corner, TURNED @ corner) for corner in corners]
    assert np.abs(off).max() < 1e-8
    assert place.crs == CRS.from_epsg(32633)
    assert place.axes_m == pytest.approx((0.2, np.hypot(0.25, 0.25 * np.tan(np.radians(3)))), rel=1e-3)
    (notice,) = place.notices
    told = "three, which nothing checks" if len(pixels) == 3 else "residual "
    assert notice.startswith(f"placed by {len(pixels)} control points ({told}")


def test_points_a_tenth_of_a_pixel_off_are_still_that_map_and_the_residual_is_said(tmp_path: Path) -> None:
    def nearly(column: float, row: float) -> tuple[float, float]:
        return TURNED @ (column + (0.08 if (column, row) == (100, 50) else 0), row)

    with open_scene(write_points(tmp_path / "a.tif", GRID, nearly)) as scene:
        assert (scene.width, scene.height) == (WIDTH, HEIGHT)
        assert scene.notices[0].startswith("placed by 20 control points (residual 0.07")


def test_longitudes_of_points_on_both_sides_of_the_antimeridian(tmp_path: Path) -> None:
    def across(column: float, row: float) -> tuple[float, float]:
        x, y = 179.999 + 1e-5 * column, -17 - 1e-5 * row
        return (x if x < 180 else x - 360), y

    place = place_of(write_points(tmp_path / "a.tif", GRID, across, crs="EPSG:4326"))
    assert place.transform @ (300, 200) == pytest.approx((180.002, -17.002), abs=1e-9)
    assert place.axes_m == pytest.approx((1.065, 1.107), rel=2e-3)


# Control points that no affine map fits


@pytest.mark.parametrize(
    ("bend", "splines", "told"), [(bent, False, "a polynomial of order 2"), (wavy, True, "splines")]
)
def test_bent_scenes_are_read_where_gdals_own_transformer_puts_them(
    tmp_path: Path, bend: Bend, splines: bool, told: str
) -> None:
    path = write_points(tmp_path / "a.tif", GRID, bend)
    with open_scene(path) as scene, rasterio.open(path) as source:
        (notice,) = scene.notices
        assert notice.startswith("resampled to a north-up grid by 20 control points (")
        assert told in notice
        assert scene.path == str(path)
        assert scene.gsd_m == pytest.approx(0.22, rel=0.05)  # between 0.20 and 0.25
        chip, valid = scene.read(Window(0, 0, scene.grid_width, scene.grid_height))
        rows, columns = np.nonzero(chip[0] > 140)
        x, y = scene.transform @ (columns + 0.5, rows + 0.5)
        rows, columns = GCPTransformer(source.gcps[0], tps=splines).rowcol(x, y, op=lambda value: value)
        edges = (columns.min(), rows.min(), columns.max(), rows.max())  # of the outermost pixels, their middles
        assert edges == pytest.approx(SQUARE, abs=0.6)
        assert np.add(edges[:2], edges[2:]) / 2 == pytest.approx((80, 65), abs=0.25)
        # The turned image leaves the corners of its grid empty, and only these.
        assert not valid[0, 0]
        assert valid.mean() == pytest.approx(WIDTH * HEIGHT * 0.2 * 0.25 / (valid.size * scene.gsd_m**2), rel=0.03)


def test_few_points_that_disagree_get_splines(tmp_path: Path) -> None:
    def crooked(column: float, row: float) -> tuple[float, float]:
        return TURNED @ (column + (5 if (column, row) == (300, 200) else 0), row)

    corners = [(0, 0), (300, 0), (0, 200), (300, 200)]
    (notice,) = place_of(write_points(tmp_path / "a.tif", corners, crooked)).notices
    assert "4 control points (thin plate splines through all of them; an affine map is 1.2 px off)" in notice


@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint16"), (5, "uint8"), (4, "int16"), (3, "float32")])
def test_every_kind_of_bent_raster_knows_where_it_ends(tmp_path: Path, bands: int, dtype: str) -> None:
    path = write_points(tmp_path / "a.tif", GRID, bent, count=bands, dtype=dtype, photometric="minisblack")
    with open_scene(path) as scene:
        chip, valid = scene.read(Window(0, 0, scene.grid_width, scene.grid_height))
        assert valid.mean() == pytest.approx(WIDTH * HEIGHT * 0.2 * 0.25 / (valid.size * scene.gsd_m**2), rel=0.03)
        assert not chip[:, ~valid].any()


def test_black_is_a_colour_of_a_bent_photograph(tmp_path: Path) -> None:
    path = write_points(tmp_path / "a.tif", GRID, bent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.zeros((3, HEIGHT, WIDTH), np.uint8))
    with open_scene(path) as scene:
        _, valid = scene.read(Window(0, 0, scene.grid_width, scene.grid_height))
        assert valid.mean() == pytest.approx(WIDTH * HEIGHT * 0.2 * 0.25 / (valid.size * scene.gsd_m**2), rel=0.03)


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_what_is_no_image_stays_none_when_the_scene_is_bent(tmp_path: Path, kind: str) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, : WIDTH // 2] = 0
    options: dict[str, Any] = {
        "nodata": {"nodata": 40},
        "alpha": {"count": 4, "photometric": "RGB", "alpha": "yes"},
        "mask": {"mask": mask},
    }[kind]
    path = write_points(tmp_path / "a.tif", GRID, bent, **options)
    if kind == "alpha":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "r+") as dataset:
                dataset.write(mask, 4)
    with open_scene(path) as scene:
        _, valid = scene.read(Window(0, 0, scene.grid_width, scene.grid_height))
        share = {"nodata": 40 * 30 / (WIDTH * HEIGHT), "alpha": 0.5, "mask": 0.5}[kind]
        area = valid.size * scene.gsd_m**2 / (0.2 * 0.25)
        assert valid.sum() / valid.size * area == pytest.approx(share * WIDTH * HEIGHT, rel=0.07)


def test_each_handle_of_a_bent_file_has_the_same_grid_and_closes_it(tmp_path: Path) -> None:
    path = write_points(tmp_path / "a.tif", GRID, wavy)
    one, two = placed(open_dataset(path)), placed(open_dataset(path))
    assert (one.shape, one.transform) == (two.shape, two.transform)
    assert (one.read(1) == two.read(1)).all()
    one.close()
    assert one.src_dataset.closed
    assert not two.src_dataset.closed
    two.close()


def test_points_that_cannot_be_warped_are_told_and_the_file_is_closed(tmp_path: Path) -> None:
    places = iter([(5e5, 5e6), (5e5 + 9, 5e6), (5e5 + 60, 5e6), (5e5, 5e6 - 40), (5e5 + 60, 5e6 - 40)])
    twice = [(0, 0), (0, 0), (300, 0), (0, 200), (300, 200)]  # one pixel at two places
    path = write_points(tmp_path / "a.tif", twice, lambda *_: next(places))
    dataset = open_dataset(path)
    with pytest.raises(InputError, match=r"a\.tif: cannot be placed by its"):
        placed(dataset)
    assert dataset.closed


# Points that say nothing, and other ways to say nothing


@pytest.mark.parametrize(
    ("pixels", "crs", "why"),
    [
        ([(0, 0), (300, 200)], "EPSG:32633", "2 control points cannot place it (give it at least three that span"),
        ([(0, 0)], "EPSG:32633", "1 control point cannot place it (give"),
        ([(0, 0), (0, 0), (300, 200)], "EPSG:32633", "3 control points cannot place it"),
        ([(0, 0), (150, 100), (300, 200)], "EPSG:32633", "3 control points on one line cannot place it"),
        (GRID, "", "control points without a CRS (set one with gdal_edit.py -a_srs)"),
    ],
)
def test_points_that_place_nothing_leave_pixels(
    tmp_path: Path, pixels: list[tuple[float, float]], crs: str, why: str
) -> None:
    place = place_of(write_points(tmp_path / "a.tif", pixels, lambda c, r: TURNED @ (c, r), crs=crs))
    assert (place.crs, place.transform, place.axes_m) == (None, Affine.identity(), None)
    assert place.notices[0].startswith(why)
    assert place.notices[0].endswith(": coordinates are pixels")


def test_rpcs_alone_leave_pixels_and_the_way_out_is_said(write_raster: WriteRaster) -> None:
    path = write_raster(np.zeros((3, 20, 30), np.uint8), crs=None, transform=None)
    line = [1.0] + [0.0] * 19
    names = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")
    scales = {f"{what}_{kind}": 1.0 for what in ("line", "samp", "lat", "long", "height") for kind in ("off", "scale")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as dataset:
            dataset.rpcs = RPC(**scales, **dict.fromkeys(names, line), err_bias=0.0, err_rand=0.0)
    (notice,) = place_of(path).notices
    assert "placed by RPCs only" in notice
    assert "orthorectify it first (gdalwarp -rpc" in notice


@pytest.mark.parametrize(
    "wkt",
    [
        'LOCAL_CS["site",UNIT["metre",1]]',
        'LOCAL_CS["site",UNIT["US survey foot",0.3048006]]',
    ],
)
def test_a_local_crs_has_no_place_on_the_earth(write_raster: WriteRaster, wkt: str) -> None:
    place = place_of(write_raster(np.zeros((3, 20, 30), np.uint8), crs=wkt))
    assert (place.crs, place.transform) == (None, Affine.identity())
    assert place.notices == (
        "a local CRS without a place on the earth (site): coordinates are pixels; set another with gdal_edit.py -a_srs",
    )


@pytest.mark.parametrize(
    ("crs", "flat", "origin", "axis_m"),
    [
        ("EPSG:32633+5773", "EPSG:32633", (5e5, 5e6), 0.5),
        ("EPSG:4979", "EPSG:4326", (12, 0.0001), 0.5 * 111_320),
        ("EPSG:7415", "EPSG:28992", (155_000, 463_000), 0.5),
        ("EPSG:2263", "EPSG:2263", (1e6, 2e5), 0.5 * 0.3048006),
        ("EPSG:6539+6360", "EPSG:6539", (1e6, 2e5), 0.5 * 0.3048006),
    ],
)
def test_heights_are_left_out_and_feet_are_feet(
    write_raster: WriteRaster, crs: str, flat: str, origin: tuple[float, float], axis_m: float
) -> None:
    transform = Affine(0.5, 0, origin[0], 0, -0.5, origin[1])
    place = place_of(write_raster(np.zeros((3, 4, 6), np.uint8), crs=crs, transform=transform))
    assert place.crs is not None
    assert place.crs.to_epsg() == CRS.from_string(flat).to_epsg()
    assert place.axes_m is not None
    assert place.axes_m[0] == pytest.approx(axis_m, rel=2e-3)
    assert place.notices == ()


@pytest.mark.parametrize(
    ("transform", "why"),
    [
        (Affine(0.5, 0.5, 5e5, 0.5, 0.5, 5e6), "the axes of its pixels lie on one line"),
        (Affine(0.5, 0, 1e12, 0, -0.5, 1e12), "its centre is no place on the earth in EPSG:32633"),
    ],
)
def test_a_place_that_cannot_be_is_refused(write_raster: WriteRaster, transform: Affine, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        open_scene(write_raster(np.zeros((3, 20, 30), np.uint8), transform=transform))
    assert "\n" not in str(caught.value)
