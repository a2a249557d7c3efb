"""A scene as its readers see it: frames of pixels, resampling, bands, radiometry, validity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import floats, sampled_from
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from d2det_geo.errors import InputError, UsageError
from d2det_geo.places import mapped_back
from d2det_geo.raster.scene import Scene, open_scene
from d2det_geo.raster.windows import scene_windows
from d2det_geo.vector.polygons import to_world

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

RNG = np.random.default_rng(7)


def noise(height: int, width: int, bands: int = 3) -> NDArray[np.uint8]:
    return RNG.integers(1, 256, (bands, height, width), dtype=np.uint8)


def whole(scene: Scene) -> Window:
    return Window(0, 0, scene.grid_width, scene.grid_height)


# Frames


PLACES = {
    "north-up": ("EPSG:32633", Affine(0.15, 0, 500_000, 0, -0.15, 5_000_000)),
    "south-up": ("EPSG:32733", Affine(0.3, 0, 300_000, 0, 0.3, 7_000_000)),
    "rotated": (
        "EPSG:3857",
        Affine.translation(9.5e6, 3.2e6) @ Affine.rotation(31) @ Affine.shear(4, 0) @ Affine.scale(0.2, -0.25),
    ),
    "lat/lon": ("EPSG:4326", Affine(1.1e-6, 0, -71.06, 0, -1.3e-6, 42.36)),
}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=sampled_from(sorted(PLACES)), x=floats(-50_000, 50_000), y=floats(-50_000, 50_000))
def test_pixels_survive_the_way_to_the_world_and_back(
    write_raster: WriteRaster, place: str, x: float, y: float
) -> None:
    crs, transform = PLACES[place]
    with open_scene(write_raster(noise(5, 7), transform=transform, crs=crs)) as scene:
        point = shapely.Point(x, y)
        square = point.buffer(3, quad_segs=1)
        back = mapped_back(to_world(np.array([square], dtype=object), scene.transform)[0], scene.transform)
        assert np.hypot(*(np.array(back.centroid.coords[0]) - (x, y))) < 1e-6
        assert back.hausdorff_distance(square) < 1e-6
        assert np.allclose(scene.transform, transform, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    ("transform", "crs", "why"),
    [
        (None, None, "no georeference: coordinates are pixels"),
        (
            None,
            "EPSG:32633",
            "no geotransform (a CRS alone): coordinates are pixels; set one with gdal_edit.py -a_ullr",
        ),
        (
            Affine(0.5, 0, 9, 0, -0.5, 9),
            None,
            "no CRS (a geotransform alone): coordinates are pixels; set one with gdal_edit.py -a_srs",
        ),
    ],
)
def test_without_georeference_coordinates_are_pixels(
    write_raster: WriteRaster, transform: Affine | None, crs: str | None, why: str
) -> None:
    with open_scene(write_raster(noise(20, 30), transform=transform, crs=crs), gsd_m=0.1) as scene:
        assert (scene.crs, scene.transform, scene.gsd_m) == (None, Affine.identity(), None)
        assert (scene.grid_width, scene.grid_height, scene.scale) == (30, 20, (1, 1))
        assert scene.notices == (why,)


def test_a_scene_that_is_nowhere_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(noise(20, 30), crs="EPSG:4326", transform=Affine(1e-6, 0, 10, 0, -1e-6, 400))
    with pytest.raises(InputError, match=r"scene\.tif: its centre is no place on the earth in EPSG:4326; correct"):
        open_scene(path)


# Grids


@pytest.mark.parametrize(
    ("gsd_m", "grid"),
    [(None, (31, 23)), (0.5, (31, 23)), (0.503, (31, 23)), (0.25, (62, 46)), (1.0, (16, 12)), (99, (1, 1))],
)
def test_the_grid_has_the_wanted_gsd(write_raster: WriteRaster, gsd_m: float | None, grid: tuple[int, int]) -> None:
    with open_scene(write_raster(noise(23, 31)), gsd_m=gsd_m) as scene:
        assert (scene.grid_width, scene.grid_height) == grid
        assert scene.scale == (31 / grid[0], 23 / grid[1])
        assert scene.gsd_m == pytest.approx(0.5, rel=1e-3)


def test_lat_lon_pixels_become_square_on_the_ground(write_raster: WriteRaster) -> None:
    path = write_raster(noise(100, 100), crs="EPSG:4326", transform=Affine(1e-6, 0, 25, 0, -1e-6, 60))
    with open_scene(path, gsd_m=0.1) as scene:
        assert (scene.grid_width, scene.grid_height) == (56, 111)  # 1e-6 degrees are 0.0558 m and 0.1114 m at 60 N


@pytest.mark.parametrize(("gsd_m", "told"), [(0.3, False), (0.9, False), (0.24, True), (1.01, True)])
def test_a_gsd_far_from_the_models_is_told(write_raster: WriteRaster, gsd_m: float, told: bool) -> None:
    with open_scene(write_raster(noise(23, 31)), gsd_m=gsd_m) as scene:
        assert any("0.5 m per pixel" in notice for notice in scene.notices) is told


@pytest.mark.parametrize("gsd_m", [0.0, -0.3, float("nan"), float("inf")])
def test_a_gsd_is_a_positive_number(write_raster: WriteRaster, gsd_m: float) -> None:
    with pytest.raises(UsageError, match="positive number of metres"):
        open_scene(write_raster(noise(5, 7)), gsd_m=gsd_m)


# Resampling


@pytest.mark.parametrize("gsd_m", [0.21, 0.35, 0.62, 0.9, 1.07, 1.6, 2.3])
def test_a_square_stays_where_it_is(write_raster: WriteRaster, gsd_m: float) -> None:
    left, right, top, bottom = 700, 1010, 400, 620
    image = np.zeros((3, 900, 1100), np.uint8)
    image[:, top:bottom, left:right] = 255
    with open_scene(write_raster(image), gsd_m=gsd_m) as scene:
        bright = scene.read(whole(scene))[0][0] / 255
        scale_x, scale_y = scene.scale
    row, column = bright[int(500 / scale_y)], bright[:, int(850 / scale_x)]
    assert edges(row, int(850 / scale_x)) == pytest.approx((left / scale_x, right / scale_x), abs=0.1)
    assert edges(column, int(500 / scale_y)) == pytest.approx((top / scale_y, bottom / scale_y), abs=0.1)


def edges(profile: NDArray[np.float64], inside: int) -> tuple[float, float]:
    """Where a bright stretch starts and ends, below a pixel, from the light on either side of a pixel inside."""
    return inside - profile[:inside].sum(), inside + profile[inside:].sum()


@pytest.mark.parametrize("gsd_m", [0.2, 0.35, 0.62, 1.07, 1.6])
def test_neighbouring_chips_agree_on_what_they_share(write_raster: WriteRaster, gsd_m: float) -> None:
    with open_scene(write_raster(noise(300, 260), tiled=True, blockxsize=64, blockysize=48), gsd_m=gsd_m) as scene:
        full, _ = scene.read(whole(scene))
        for window in scene_windows(scene.grid_width, scene.grid_height, 53, 17):
            chip, valid = scene.read(window)
            assert valid.all()
            off = np.abs(chip.astype(int) - full[(slice(None), *window.toslices())])
            assert off.max() <= 1  # a value halfway between two greys may round either way
            assert np.count_nonzero(off) < 0.002 * off.size


def test_chips_read_from_overviews_agree_closely(write_raster: WriteRaster) -> None:
    rows, columns = np.mgrid[:640, :512]
    waves = (128 + 60 * np.sin(columns / 40) + 60 * np.cos(rows / 50)).astype(np.uint8)
    path = write_raster(np.stack([waves] * 3), tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    with open_scene(path, gsd_m=1.6) as scene:
        full, _ = scene.read(whole(scene))
        for window in scene_windows(scene.grid_width, scene.grid_height, 61, 20):
            chip, _ = scene.read(window)
            np.testing.assert_allclose(chip.astype(int), full[(slice(None), *window.toslices())], atol=2)


def test_native_chips_are_the_files_own_pixels(write_raster: WriteRaster) -> None:
    image = noise(41, 57)
    with open_scene(write_raster(image), gsd_m=0.5) as scene:
        for window in scene_windows(57, 41, 16, 5):
            chip, valid = scene.read(window)
            np.testing.assert_array_equal(chip, image[(slice(None), *window.toslices())])
            assert valid.shape == chip.shape[1:]
            assert valid.all()


# Bands


def read_all(path: Path, **options: object) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[str, ...]]:
    with open_scene(path, **options) as scene:  # type: ignore[arg-type]
        return *scene.read(whole(scene)), scene.notices


def test_alpha_is_validity(write_raster: WriteRaster) -> None:
    image = noise(20, 30, bands=4)
    image[3] = 255
    image[3, 4:9, 6:13] = 0
    image[3, 10, 10] = 1  # nearly transparent is there
    chip, valid, notices = read_all(write_raster(image, photometric="rgb", alpha="yes"))
    np.testing.assert_array_equal(valid, image[3] > 0)
    np.testing.assert_array_equal(chip, np.where(valid, image[:3], 0))
    assert notices == ()


def test_the_first_of_many_bands_are_taken_and_said(write_raster: WriteRaster) -> None:
    image = noise(20, 30, bands=5)
    chip, _, notices = read_all(write_raster(image, photometric="minisblack"))
    np.testing.assert_array_equal(chip, image[:3])
    assert notices == ("bands 1, 2, 3 of 5 are taken as red, green, blue; --bands chooses others",)


def test_bands_that_say_their_colour_are_found(write_raster: WriteRaster) -> None:
    image = noise(20, 30, bands=4)
    path = write_raster(image, photometric="minisblack")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    chip, _, notices = read_all(path)
    np.testing.assert_array_equal(chip, image[[2, 1, 0]])
    assert "bands 3, 2, 1 of 4" in notices[0]


def test_named_bands_win(write_raster: WriteRaster) -> None:
    image = noise(20, 30, bands=2)
    path = write_raster(image, photometric="minisblack")
    np.testing.assert_array_equal(read_all(path, bands=(2, 1, 2))[0], image[[1, 0, 1]])
    np.testing.assert_array_equal(read_all(path, bands=[1, 1, 1])[0], image[[0, 0, 0]])


@pytest.mark.parametrize(
    ("bands", "message"), [((1, 2, 3), "has no band 3"), ((0, 1, 2), "has no band 0"), ((1, 2), "takes three bands")]
)
def test_bands_that_are_not_there_are_a_usage_error(
    write_raster: WriteRaster, bands: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_scene(write_raster(noise(5, 7, bands=2)), bands=bands)


@pytest.mark.parametrize(
    ("count", "profile", "notice"),
    [
        (1, {}, "band 1 alone is shown to the model as grey"),
        (2, {"photometric": "minisblack"}, "band 1 of 2 is shown to the model as grey; --bands chooses"),
    ],
)
def test_a_grey_band_is_all_three_colours(
    write_raster: WriteRaster, count: int, profile: dict[str, str], notice: str
) -> None:
    image = noise(20, 30, bands=count)
    chip, valid, notices = read_all(write_raster(image, **profile))
    np.testing.assert_array_equal(chip, np.stack([image[0]] * 3))
    assert valid.all()
    assert notices == (notice,)


def test_a_grey_band_is_masked_by_its_alpha(write_raster: WriteRaster) -> None:
    image = noise(20, 30, bands=2)
    image[1] = np.where(RNG.random((20, 30)) < 0.5, 0, 255)
    chip, valid, _ = read_all(write_raster(image, alpha="yes"))
    np.testing.assert_array_equal(valid, image[1] > 0)
    np.testing.assert_array_equal(chip, np.stack([image[0] * valid] * 3))


@pytest.mark.parametrize(("dtype", "gsd_m"), [("uint8", None), ("uint16", None), ("uint8", 0.3), ("uint8", 1.3)])
def test_indices_are_shown_as_their_colours(write_raster: WriteRaster, dtype: str, gsd_m: float | None) -> None:
    palette = RNG.integers(0, 256, (256, 3))
    path = write_raster(noise(40, 60, bands=1).astype(dtype), photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(palette.tolist())})
    with open_scene(path, gsd_m=gsd_m) as scene, rasterio.open(path) as oracle:
        chip, valid = scene.read(whole(scene))
        shape = (scene.grid_height, scene.grid_width)
        indices = oracle.read(1, out_shape=shape, resampling=Resampling.nearest)  # they have no mean
        assert scene.scaling is None
    np.testing.assert_array_equal(chip, palette[indices].transpose(2, 0, 1))
    assert valid.all()


def test_transparent_indices_are_no_image(write_raster: WriteRaster) -> None:
    indices = noise(20, 30, bands=1)
    with rasterio.open(path := write_raster(indices).with_suffix(".png"), "w", **PNG) as dataset:
        dataset.write_colormap(1, {index: (9, 8, 7, 0 if 3 < index < 90 else 255) for index in range(256)})
        dataset.write(indices)
    chip, valid, _ = read_all(path)
    np.testing.assert_array_equal(valid, (indices[0] <= 3) | (indices[0] >= 90))
    np.testing.assert_array_equal(chip[0], 9 * valid)


PNG = {"driver": "PNG", "width": 30, "height": 20, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"} | {
    "transform": Affine(1, 0, 5e5, 0, -1, 5e6)
}
RGBA = {"photometric": "rgb", "alpha": "yes"}


def test_near_infrared_called_alpha_masks_nothing(write_raster: WriteRaster) -> None:
    image = noise(60, 80, bands=4)
    image[3, :30] = 0  # water
    chip, valid, notices = read_all(write_raster(image, **RGBA))
    assert valid.all()
    np.testing.assert_array_equal(chip, image[:3])
    assert len(notices) == 1
    assert notices[0].startswith("band 4 is called alpha but looks like image (near infrared?), so it masks nothing;")
    assert "--bands" in notices[0]


def soft(alpha: NDArray[np.uint8]) -> None:
    alpha[:, :8] = RNG.integers(0, 256, (60, 8))  # a feathered edge


def faint(alpha: NDArray[np.uint8]) -> None:
    alpha[:] = 128


def shaded(alpha: NDArray[np.uint8]) -> None:
    alpha[:30] = RNG.integers(0, 4, (30, 80)) * 60


@pytest.mark.parametrize("draw", [soft, faint, shaded])
def test_an_alpha_band_that_is_one_is_believed(
    write_raster: WriteRaster, draw: Callable[[NDArray[np.uint8]], None]
) -> None:
    image = noise(60, 80, bands=4)
    image[3] = 255
    image[3, 40:45] = 0
    draw(image[3])
    _, valid, notices = read_all(write_raster(image, **RGBA))
    np.testing.assert_array_equal(valid, image[3] > 0)
    assert notices == ()


# Radiometry


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_other_types_are_scaled_once_for_the_scene(write_raster: WriteRaster, dtype: str) -> None:
    ramp = np.linspace(300, 1300, 200 * 150).reshape(200, 150)
    image = np.stack([ramp, ramp[::-1], ramp[:, ::-1]]).astype(dtype)
    with open_scene(write_raster(image)) as scene:
        full, _ = scene.read(whole(scene))
        chip, _ = scene.read(Window(20, 60, 31, 17))
    low, high = np.percentile(image, [2, 98])
    expected = np.clip((image - low) / (high - low) * 255, 0, 255)
    assert full.dtype == np.uint8
    np.testing.assert_allclose(full, expected, atol=0.51)
    np.testing.assert_array_equal(chip, full[:, 60:77, 20:51])
    assert scene.notices == (f"{dtype} values {low:.6g} to {high:.6g} are scaled to 0 to 255",)
    assert scene.scaling == {"low": low, "high": high, "from": "2nd to 98th percentile"}


def test_the_range_is_that_of_valid_pixels(write_raster: WriteRaster) -> None:
    image = RNG.integers(1000, 2000, (3, 40, 50)).astype(np.float32)
    image[:, :30] = -9999
    image[:, 30:33, :20] = np.nan
    chip, valid, notices = read_all(write_raster(image, nodata=-9999))
    expected = np.zeros((40, 50), bool)
    expected[30:] = True
    expected[30:33, :20] = False
    np.testing.assert_array_equal(valid, expected)
    assert not chip[:, ~expected].any()
    low, high = np.percentile(image[:, expected], [2, 98])
    assert notices == (f"float32 values {low:.6g} to {high:.6g} are scaled to 0 to 255",)


def test_flat_and_empty_scenes_scale_to_something(write_raster: WriteRaster) -> None:
    chip, valid, _ = read_all(write_raster(np.full((3, 6, 8), 700, np.uint16)))
    assert valid.all()
    assert (chip == chip[0, 0, 0]).all()
    chip, valid, _ = read_all(write_raster(np.full((3, 6, 8), np.nan, np.float32)))
    assert not valid.any()
    assert not chip.any()


def test_complex_values_are_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(InputError, match="complex values"):
        open_scene(write_raster(np.ones((3, 6, 8), np.complex64)))


# Validity


def test_a_pixel_is_nodata_when_all_its_bands_are(write_raster: WriteRaster) -> None:
    image = noise(20, 30)
    image[:, 3:11, 5:9] = 0
    image[0, 15, 20] = 0  # one band only: a colour
    chip, valid, _ = read_all(write_raster(image, nodata=0))
    np.testing.assert_array_equal(valid, image.any(axis=0))
    np.testing.assert_array_equal(chip, image)


def test_nodata_named_by_the_user_is_blanked(write_raster: WriteRaster) -> None:
    image = noise(20, 30)
    image[:, 3:11, 5:9] = 255
    image[:, 0, 0] = 254
    chip, valid, _ = read_all(write_raster(image), nodata=255)
    np.testing.assert_array_equal(valid, (image != 255).any(axis=0))
    np.testing.assert_array_equal(chip, np.where(valid, image, 0))


def test_a_mask_band_is_obeyed(write_raster: WriteRaster) -> None:
    image = noise(20, 30)
    mask = np.full((20, 30), 255, np.uint8)
    mask[7:12, 3:22] = 0
    path = write_raster(image)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    chip, valid, _ = read_all(path)
    np.testing.assert_array_equal(valid, mask > 0)
    np.testing.assert_array_equal(chip, np.where(valid, image, 0))


def test_nodata_does_not_bleed_into_resampled_pixels(write_raster: WriteRaster) -> None:
    image = np.full((3, 40, 60), 200, np.uint8)
    image[:, :, 33:] = 0
    for gsd_m in (0.35, 0.8, 1.5):
        with open_scene(write_raster(image, nodata=0), gsd_m=gsd_m) as scene:
            chip, valid = scene.read(whole(scene))
            assert (chip[:, valid] >= 199).all()
            assert valid.mean() == pytest.approx(33 / 60, abs=0.02)


@pytest.mark.parametrize("nodata", [0, None])
@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 16, "blockysize": 32}, {"interleave": "band"}, {}])
def test_what_was_never_written_is_no_image(tmp_path: Path, layout: dict[str, object], nodata: int | None) -> None:
    path = tmp_path / "sparse.tif"
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6), "SPARSE_OK": "TRUE", "nodata": nodata}
    with rasterio.open(
        path, "w", driver="GTiff", width=320, height=256, count=3, dtype="uint8", **place, **layout
    ) as d:
        d.write(np.full((3, 20, 30), 90, np.uint8), window=Window(150, 100, 30, 20))
    with open_scene(path) as scene:
        written = [window for window in scene_windows(320, 256, 16, 4) if scene.read(window)[1].any()]
        chip, valid = scene.read(Window(140, 90, 64, 64))
    assert 0 < len(written) < 100
    assert all(abs(window.row_off - 110) < 64 for window in written)
    np.testing.assert_array_equal(chip[1] == 90, np.pad(np.ones((20, 30), bool), ((10, 34), (10, 24))))
    if nodata == 0:
        np.testing.assert_array_equal(valid, chip[1] == 90)


def sparse(path: Path, side: int, values: NDArray[np.generic], row: int, column: int) -> Path:
    """Write ``[C, H, W]`` into a large GeoTIFF of 256 px tiles of which the others are never written."""
    count, height, width = values.shape
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6), "SPARSE_OK": "TRUE"}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=count, dtype=values.dtype, **place, **tiles
    ) as dataset:
        dataset.write(values, window=Window(column, row, width, height))
    return path


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_blocks_never_written_do_not_count_for_the_range(tmp_path: Path, dtype: str) -> None:
    values = RNG.integers(1000, 9001, (3, 256, 256)).astype(dtype)
    with open_scene(sparse(tmp_path / "sparse.tif", 4000, values, 1024, 768)) as scene:
        assert scene.scaling is not None
        low, high = scene.scaling["low"], scene.scaling["high"]
        chip, _ = scene.read(Window(768, 1024, 256, 256))
    assert low == pytest.approx(1160, abs=100)
    assert high == pytest.approx(8840, abs=100)
    assert 100 < chip.mean() < 155


def test_a_pixel_of_a_block_never_written_is_invalid_in_every_chip(tmp_path: Path) -> None:
    path = sparse(tmp_path / "sparse.tif", 1000, noise(256, 256), 256, 512)
    expected = np.zeros((1000, 1000), bool)
    expected[256:512, 512:768] = True
    with open_scene(path) as scene:
        for window in scene_windows(1000, 1000, 300, 100):
            np.testing.assert_array_equal(scene.read(window)[1], expected[window.toslices()])
    with open_scene(path, gsd_m=1.0) as scene:
        for window in scene_windows(500, 500, 90, 10):
            np.testing.assert_array_equal(scene.read(window)[1], expected[1::2, 1::2][window.toslices()])


@pytest.mark.parametrize("how", ["nodata", "--nodata", "nan", "infinite"])
def test_what_one_band_lacks_is_neither_in_the_range_nor_invalid(write_raster: WriteRaster, how: str) -> None:
    image = RNG.integers(1000, 2000, (3, 100, 50)).astype(np.float32)
    image[0, :10] = {"nan": np.nan, "infinite": np.inf}.get(how, -9999)
    path = write_raster(image, **({"nodata": -9999} if how == "nodata" else {}))
    with open_scene(path, nodata=-9999 if how == "--nodata" else None) as scene:
        chip, valid = scene.read(whole(scene))
        assert scene.scaling is not None
        assert scene.scaling["low"] == pytest.approx(1020, abs=10)
        assert scene.scaling["high"] == pytest.approx(1980, abs=10)
    assert valid.all()
    assert not chip[0, :10].any()
    assert chip[1:, :10].mean() == pytest.approx(127, abs=10)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("gsd_m", [0.35, 0.8, 1.5, 4.0])
def test_nodata_named_by_the_user_resamples_as_if_the_file_named_it(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, gsd_m: float, dtype: str
) -> None:
    monkeypatch.setattr("d2det_geo.raster.unmixed._MOST_PX", 3000)  # a few rows at once
    image = RNG.integers(150, 250, (3, 80, 120)).astype(dtype)
    image[:, :, 65:] = 0
    image[0, 20:30, 10:33] = 0  # of one band
    declared, plain = write_raster(image, "declared.tif", nodata=0), write_raster(image, "plain.tif")
    with open_scene(declared, gsd_m=gsd_m) as oracle, open_scene(plain, gsd_m=gsd_m, nodata=0) as scene:
        for window in scene_windows(scene.grid_width, scene.grid_height, 20, 5):
            expected, there = oracle.read(window)
            chip, valid = scene.read(window)
            np.testing.assert_array_equal(valid, there)
            np.testing.assert_allclose(chip.astype(int), expected.astype(int), atol=1 if dtype == "uint8" else 4)


def test_nodata_no_value_can_have_changes_nothing(write_raster: WriteRaster) -> None:
    path = write_raster(noise(40, 60))
    with open_scene(path, gsd_m=0.8) as oracle:
        expected = oracle.read(whole(oracle))
    for nodata in (-9999, 0.5, 1e300):
        with open_scene(path, gsd_m=0.8, nodata=nodata) as scene:
            chip, valid = scene.read(whole(scene))
            np.testing.assert_array_equal(chip, expected[0])
            assert valid.all()


def test_bands_of_different_types(write_raster: WriteRaster, tmp_path: Path) -> None:
    image = RNG.integers(1, 256, (3, 40, 60)).astype(np.uint16)
    image[1] *= 200
    bands = []
    for number, dtype in enumerate(["uint8", "uint16", "uint8"], start=1):
        path = write_raster(image[number - 1][None].astype(dtype), f"{number}.tif", transform=None, crs=None)
        bands.append(
            f'<VRTRasterBand dataType="{ {"uint8": "Byte", "uint16": "UInt16"}[dtype] }" band="{number}"><SimpleSource>'
            f"<SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        )
    path = tmp_path / "mixed.vrt"
    path.write_text(f'<VRTDataset rasterXSize="60" rasterYSize="40">{"".join(bands)}</VRTDataset>')
    chip, valid, notices = read_all(path)
    low, high = np.percentile(image, [2, 98])
    np.testing.assert_allclose(chip, np.clip((image - low) / (high - low) * 255, 0, 255), atol=0.51)
    assert valid.all()
    assert any("uint16/uint8 values" in notice for notice in notices)


@pytest.mark.parametrize("value", [1e17, -1e17, 1e30])
def test_one_value_so_large_that_one_more_is_the_same(write_raster: WriteRaster, value: float) -> None:
    chip, valid, _ = read_all(write_raster(np.full((3, 6, 8), value, np.float64)))
    assert valid.all()
    assert (chip == chip[0, 0, 0]).all()


def test_a_palette_without_a_table_is_grey(write_raster: WriteRaster, tmp_path: Path) -> None:
    image = noise(40, 60, bands=1)
    source = write_raster(image, transform=None, crs=None)
    path = tmp_path / "palette.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">'
        f"<ColorInterp>Palette</ColorInterp><SimpleSource><SourceFilename>{source}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    chip, _, notices = read_all(path)
    np.testing.assert_array_equal(chip, np.repeat(image, 3, axis=0))
    assert "band 1 has no table of its colours: it is shown to the model as grey" in notices


def test_a_table_longer_than_a_byte(write_raster: WriteRaster, tmp_path: Path) -> None:
    image = noise(40, 60, bands=1)
    source = write_raster(image, transform=None, crs=None)
    entries = "".join(f'<Entry c1="{i % 256}" c2="{i % 7}" c3="9" c4="255"/>' for i in range(300))
    path = tmp_path / "palette.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">'
        f"<ColorInterp>Palette</ColorInterp><ColorTable>{entries}</ColorTable><SimpleSource>"
        f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    chip, _, _ = read_all(path)
    np.testing.assert_array_equal(chip, np.stack([image[0], image[0] % 7, np.full((40, 60), 9)]))


def test_nodata_named_by_the_user_is_looked_for_below_overviews(write_raster: WriteRaster) -> None:
    image = np.full((3, 1024, 2048), 200, np.uint8)
    image[:, :, 1001:] = 0
    path = write_raster(image, tiled=True, blockxsize=256, blockysize=256)
    wanted = []
    for _ in range(2):
        with open_scene(path, gsd_m=2.0, nodata=0) as scene:
            wanted.append(scene.cache_wanted(512, 256))
            chip, valid = scene.read(whole(scene))
        assert (chip[:, valid] == 200).all()
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4], Resampling.average)
    assert wanted[0] == wanted[1]
