"""The rim of noise that JPEG leaves around an image with a collar of nodata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.raster.fringes import Fringe
from d2det_geo.raster.scene import open_scene
from d2det_geo.raster.windows import scene_windows
from d2det_geo.town import make_town

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

SIDE = 512
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
INSIDE = (COLUMNS * 0.9 + ROWS * 0.3 > 150) & (COLUMNS * 0.95 - ROWS * 0.3 < 380) & (ROWS > 37) & (ROWS < 480)
ROOF = (slice(300, 340), slice(230, 290))
JPEG = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 256, "blockysize": 256}


def collared(nodata: int) -> NDArray[np.uint8]:
    """A town on a slant in a collar, with a roof nearly as dark, or as bright, as the collar."""
    image = np.clip(make_town(3, SIDE, 0.15).image, 14, 241)
    image[:, *ROOF] = np.abs(nodata - np.random.default_rng(5).integers(3, 9, (3, 40, 60)))
    return np.where(INSIDE, image, nodata).astype(np.uint8)


def validity(path: Path, chip_size: int = SIDE, **options: float) -> NDArray[np.bool_]:
    """Of the whole scene, read in chips that must agree on what they share."""
    found = np.zeros((SIDE, SIDE), np.int8)
    with open_scene(path, **options) as scene:  # type: ignore[arg-type]
        for window, (chip, valid) in scene.read_all(
            list(scene_windows(SIDE, SIDE, chip_size, chip_size // 5)), ahead_bytes=10**7
        ):
            part = found[window.toslices()]
            new = np.where(valid, 1, -1)
            assert ((part == 0) | (part == new)).all()
            part[:] = new
            assert not chip[:, ~valid].any()
    return found == 1


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("nodata", [0, 255])
@pytest.mark.parametrize("declared", [True, False])
def test_the_rim_is_no_image_and_a_dark_roof_is(
    write_raster: WriteRaster, nodata: int, quality: int, declared: bool
) -> None:
    path = write_raster(collared(nodata), jpeg_quality=quality, nodata=nodata if declared else None, **JPEG)
    options = {} if declared else {"nodata": nodata}
    with rasterio.open(path) as dataset:
        exact = (dataset.read() != nodata).any(axis=0)
    valid = validity(path, **options)
    rim = np.count_nonzero(exact & ~INSIDE)
    assert rim > 3000
    assert np.count_nonzero(valid & ~INSIDE) < {75: 0.4, 90: 0.2}[quality] * rim
    np.testing.assert_array_equal(valid[INSIDE], exact[INSIDE])  # nothing else of the image is lost
    np.testing.assert_array_equal(valid[ROOF], exact[ROOF])
    np.testing.assert_array_equal(validity(path, chip_size=90, **options), valid)


@pytest.mark.parametrize(
    "profile", [{"compress": "deflate", "nodata": 0}, {"compress": "jpeg", "photometric": "ycbcr"}]
)
def test_no_rim_without_loss_or_without_nodata(write_raster: WriteRaster, profile: dict[str, object]) -> None:
    path = write_raster(collared(0), **profile)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(validity(path), dataset.dataset_mask() > 0)


def test_the_rule_by_hand() -> None:
    values = np.full((3, 60, 60), 90, np.uint8)
    values[:, :, :12] = 0  # collar
    values[:, 10:20, 12:20] = 5  # fringe
    values[1, 14, 16] = 9  # a pixel of it that is not near
    values[:, 30, 12:20] = 5  # a thin dark line
    values[:, 40:50, 30:45] = 5  # a dark roof, out of reach
    expected = np.zeros((60, 60), np.bool_)
    expected[:, :12] = True
    expected[10:20, 12:20] = True
    expected[14, 16] = False
    found = Fringe(nodata=0, reach=16)(values)
    np.testing.assert_array_equal(found, expected)


def test_a_roof_in_reach_of_the_collar_is_lost_as_far_as_it_is(write_raster: WriteRaster) -> None:
    values = np.full((3, 40, 60), 5, np.uint8)
    values[:, :, :12] = 0
    found = Fringe(nodata=0, reach=16)(values)
    assert found.sum(axis=1).tolist() == [28] * 40


def test_resampled_chips_have_no_rim_either(write_raster: WriteRaster) -> None:
    path = write_raster(collared(0), jpeg_quality=85, nodata=0, **JPEG)
    with open_scene(path, gsd_m=0.8) as scene:
        side = scene.grid_width
        valid = scene.read(Window(0, 0, side, side))[1]
        index = ((np.arange(side) + 0.5) * scene.scale[0]).astype(int)
    outside = ~INSIDE[np.ix_(index, index)]
    assert np.count_nonzero(valid & outside) < 0.02 * np.count_nonzero(outside)
    assert np.count_nonzero(~valid & ~outside) < 0.01 * np.count_nonzero(~outside)
