"""Chips read ahead in lanes: what rasterio itself reads, in order, within bounds, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, data, integers, lists, tuples
from hypothesis.strategies import data as drawn
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.env import get_gdal_config
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.lanes import Chip, Read, assign_lanes, read_in_lanes
from d2det_geo.raster.scene import open_scene
from d2det_geo.raster.windows import scene_windows

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

RNG = np.random.default_rng(11)
MANY = 2**40  # bytes


def noise(height: int, width: int, bands: int = 3, dtype: str = "uint8") -> NDArray[np.generic]:
    return RNG.integers(1, 256, (bands, height, width)).astype(dtype)


def lane_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


@pytest.fixture(autouse=True)
def two_lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two lanes on any machine, and none left behind."""
    monkeypatch.setattr("d2det_geo.raster.lane_plan.lane_count", lambda: 2)
    yield
    assert not lane_threads()


# What is read


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 48}
LAYOUTS = {
    "tiled": TILED | {"compress": "deflate"},
    "striped": {"blockysize": 8, "compress": "lzw"},
    "one strip": {"blockysize": 230, "compress": "lzw"},
    "planar tiles": TILED | {"interleave": "band"},
    "planar strips": {"interleave": "band", "blockysize": 5},
    "jpeg": TILED | {"blockysize": 64, "compress": "jpeg", "photometric": "ycbcr"},
    "png": {"driver": "PNG"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_chips_are_what_rasterio_reads(write_raster: WriteRaster, layout: str) -> None:
    path = write_raster(noise(230, 310), **LAYOUTS[layout])
    windows = list(scene_windows(310, 230, 70, 20))
    with open_scene(path) as scene, rasterio.open(path) as oracle:
        count = 0
        for expected, (window, (chip, valid)) in zip(windows, scene.read_all(windows, ahead_bytes=MANY), strict=True):
            assert window == expected
            np.testing.assert_array_equal(chip, oracle.read(window=window))
            assert valid.shape == (70, 70)
            assert valid.all()
            count += 1
        assert count == len(windows) == 30


def test_chips_of_a_sparse_file_with_a_mask_are_what_rasterio_reads(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "width": 320, "height": 256, "count": 3, "dtype": "uint8", "SPARSE_OK": True}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), **profile, **TILED
        ) as d,
    ):
        d.write(noise(90, 130), window=Window(150, 100, 130, 90))
        d.write_mask(RNG.integers(0, 2, (90, 130), dtype=np.uint8) * 255, window=Window(150, 100, 130, 90))
    windows = list(scene_windows(320, 256, 50, 10))
    with open_scene(path) as scene, rasterio.open(path) as oracle:
        for window, (chip, valid) in scene.read_all(windows, ahead_bytes=MANY):
            np.testing.assert_array_equal(valid, oracle.dataset_mask(window=window) > 0)
            np.testing.assert_array_equal(chip, oracle.read(window=window) * valid)


@pytest.mark.parametrize("gsd_m", [0.35, 0.8, 1.6])
def test_resampled_chips_are_what_rasterio_reads(write_raster: WriteRaster, gsd_m: float) -> None:
    path = write_raster(noise(230, 310), **TILED)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.average)
    with open_scene(path, gsd_m=gsd_m) as scene, rasterio.open(path) as oracle:
        windows = list(scene_windows(scene.grid_width, scene.grid_height, 40, 13))
        x, y = scene.scale
        method = Resampling.average if x > 2 else Resampling.bilinear
        for window, (chip, _) in scene.read_all(windows, ahead_bytes=MANY):
            source = Window(window.col_off * x, window.row_off * y, window.width * x, window.height * y)
            shape = (3, window.height, window.width)
            np.testing.assert_array_equal(chip, oracle.read(window=source, out_shape=shape, resampling=method))


def test_other_types_are_scaled_alike_in_every_lane(write_raster: WriteRaster) -> None:
    path = write_raster(RNG.integers(300, 4000, (4, 230, 310)).astype("uint16"), photometric="minisblack", **TILED)
    windows = list(scene_windows(310, 230, 70, 20))
    with open_scene(path) as scene:
        whole, _ = scene.read(Window(0, 0, 310, 230))
        for window, (chip, _) in scene.read_all(windows, ahead_bytes=MANY):
            np.testing.assert_array_equal(chip, whole[(slice(None), *window.toslices())])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=lists(tuples(integers(0, 12), integers(0, 17), integers(1, 9)), max_size=40),
    ahead_bytes=integers(0, 4000),
    ordered=booleans(),
    striped=booleans(),
)
def test_any_windows_come_in_the_order_given(
    write_raster: WriteRaster,
    places: list[tuple[int, int, int]],
    ahead_bytes: int,
    ordered: bool,
    striped: bool,
) -> None:
    image = np.arange(3 * 21 * 26, dtype=np.uint8).reshape(3, 21, 26)
    path = write_raster(image, **({} if striped else {"tiled": True, "blockxsize": 16, "blockysize": 16}))
    windows = [Window(x, y, side, side) for y, x, side in (sorted(places) if ordered else places)]
    with open_scene(path) as scene:
        read = list(scene.read_all(windows, ahead_bytes=ahead_bytes))
    assert [window for window, _ in read] == windows
    for window, (chip, _) in read:
        np.testing.assert_array_equal(chip, image[(slice(None), *window.toslices())])


# Which lane


@settings(deadline=None)
@given(choice=drawn(), lanes=integers(1, 4), width=integers(10, 400), height=integers(10, 200))
def test_every_row_is_shared_out_evenly(choice: data, lanes: int, width: int, height: int) -> None:
    windows = list(scene_windows(width, height, 10, choice.draw(integers(0, 9))))
    assigned = assign_lanes(windows, lanes, block_width=16)
    assert len(assigned) == len(windows)
    rows = {window.row_off for window in windows}
    for row in rows:
        own = assigned[[window.row_off == row for window in windows]]
        counts = np.bincount(own, minlength=lanes)
        assert counts.max() - counts.min() <= (1 if len(own) < lanes else 2)
        if len(own) >= lanes:
            assert (np.diff(own) >= 0).all()


def test_rows_are_cut_where_few_blocks_are_decoded_twice() -> None:
    row = list(scene_windows(20_000, 1024, 1024, 200))
    assigned = assign_lanes(row, 2, block_width=512)
    assert np.count_nonzero(assigned == 0) == 12  # block 19 is under both; a cut after 13 would share 20 and 21


def test_a_column_of_windows_still_has_two_lanes() -> None:
    column = list(scene_windows(10, 100, 10, 0))
    assert assign_lanes(column, 2, block_width=16).tolist() == [0, 1] * 5
    assert assign_lanes(column, 2, block_width=None).tolist() == [0, 1] * 5


def test_strips_are_read_row_by_row_of_windows() -> None:
    assert assign_lanes(list(scene_windows(30, 30, 10, 0)), 2, block_width=None).tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]


# Ahead, errors, and the end


class Watched:
    """A reader that notes what it reads, waits where told, and fails where told."""

    def __init__(self, fail: int = -1) -> None:
        self.fail = fail
        self.read: list[int] = []
        self.open = 0
        self.closed_under_a_reader = False
        self.gate = threading.Event()
        self.gate.set()

    @contextmanager
    def reader(self) -> Iterator[Read]:
        self.open += 1
        try:
            yield self._read
        finally:
            self.open -= 1
            self.closed_under_a_reader |= bool(lane_threads())

    def _read(self, window: Window) -> Chip:
        self.read.append(window.col_off)
        assert self.gate.wait(10)
        if window.col_off == self.fail:
            raise InputError(f"window {window.col_off}")
        return np.full((3, 2, 2), window.col_off % 256, np.uint8), np.ones((2, 2), np.bool_)


ROW = [Window(column, 0, 2, 2) for column in range(40)]
LANES = np.arange(40) * 2 // 40


def settled(watched: Watched) -> list[int]:
    """What has been read once nothing more is."""
    before = -1
    while before != len(watched.read):
        before = len(watched.read)
        time.sleep(0.05)
    return sorted(watched.read)


@pytest.mark.parametrize(("ahead_bytes", "held"), [(0, 1), (31, 1), (32, 1), (64, 2), (5 * 32 + 31, 5)])
def test_each_lane_is_ahead_by_its_share_of_bytes(ahead_bytes: int, held: int) -> None:
    watched = Watched()
    with closing(read_in_lanes(watched.reader, ROW, LANES, ahead_bytes)) as chips:
        next(chips)
        assert settled(watched) == [*range(held + 1), *range(20, 20 + held)]
    assert (watched.open, watched.closed_under_a_reader) == (0, False)


@pytest.mark.parametrize("ahead_bytes", [0, 100, MANY])
@pytest.mark.parametrize("fail", [0, 7, 19, 20, 33, 39])
def test_an_error_comes_where_its_chip_would_have(fail: int, ahead_bytes: int) -> None:
    watched = Watched(fail)
    taken: list[Window] = []
    with pytest.raises(InputError, match=f"window {fail}"):
        taken.extend(window for window, _ in read_in_lanes(watched.reader, ROW, LANES, ahead_bytes))
    assert taken == ROW[:fail]
    assert (watched.open, watched.closed_under_a_reader) == (0, False)


def test_who_stops_early_waits_for_the_windows_being_read_only() -> None:
    watched = Watched()
    chips = read_in_lanes(watched.reader, ROW, LANES, 64)
    next(chips)
    watched.gate.clear()
    next(chips)  # its lane goes on to another window, and waits there
    time.sleep(0.1)
    so_far = len(watched.read)
    threading.Timer(0.2, watched.gate.set).start()
    chips.close()
    assert len(watched.read) == so_far
    assert (watched.open, watched.closed_under_a_reader) == (0, False)


def test_a_consumer_that_stops_leaves_no_thread_and_the_cache_as_it_was(write_raster: WriteRaster) -> None:
    before = get_gdal_config("GDAL_CACHEMAX")
    windows = list(scene_windows(310, 230, 70, 20))
    with open_scene(write_raster(noise(230, 310), **TILED)) as scene:
        scene.limit_cache(3_000_000)
        with closing(scene.read_all(windows, ahead_bytes=0)) as chips:
            next(chips)
            assert get_gdal_config("GDAL_CACHEMAX") == 3_000_000
        assert get_gdal_config("GDAL_CACHEMAX") == before
        assert not lane_threads()
        assert list(scene.read_all([], ahead_bytes=0)) == []


@pytest.mark.parametrize("layout", [TILED | {"compress": "deflate"}, {"blockysize": 8, "compress": "lzw"}])
def test_a_truncated_file_fails_in_order_and_at_once(write_raster: WriteRaster, layout: dict[str, object]) -> None:
    path = write_raster(noise(230, 310), **layout)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    windows = list(scene_windows(310, 230, 70, 20))
    with open_scene(path) as scene:
        failing = next(window for window in windows if fails(scene.read, window))
        taken: list[Window] = []
        with pytest.raises(InputError) as caught:
            taken.extend(window for window, _ in scene.read_all(windows, ahead_bytes=MANY))
    assert taken == windows[: windows.index(failing)]
    x, y = failing.col_off, failing.row_off
    assert f"cannot read columns {x} to {x + 70}, rows {y} to {y + 70} (" in str(caught.value)


def fails(read: Callable[[Window], object], window: Window) -> bool:
    try:
        read(window)
    except InputError:
        return True
    return False
