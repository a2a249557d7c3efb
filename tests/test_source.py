"""Files that are not what they should be: one line each, that names the file and says what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.env import get_gdal_config
from rasterio.windows import Window

from d2det_geo.errors import InputError
from d2det_geo.raster.blocks import cache_bytes
from d2det_geo.raster.scene import open_scene
from d2det_geo.raster.source import _BlockCache, read_pixels

WriteRaster = Callable[..., Path]  # the fixture of conftest.py


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        open_scene(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1
    assert "\n" not in message
    assert "; " in message  # what to do
    assert caught.value.exit_code == 4
    return message


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (3, height, width), dtype=np.uint8)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "scene.tif")


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    path.touch()
    assert "is empty (0 bytes)" in refusal(path)


@pytest.mark.parametrize("content", [b"a picture of a town\n", b"II*\x00", b"II*\x00\xff\xff\xff\x7f", bytes(4096)])
def test_a_file_that_is_no_raster(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    assert "not a raster GDAL can read" in refusal(path)


def test_an_error_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    path = tmp_path / "odd.vrt"
    path.write_text("<VRTDataset rasterXSize='3' rasterYSize='2'>\n<VRTRasterBand/>\n")
    assert "not a raster GDAL can read" in refusal(path)


def test_a_container_names_its_parts(write_raster: WriteRaster) -> None:
    write_raster(noise(20, 30), "many.gpkg", driver="GPKG", RASTER_TABLE="roofs")
    path = write_raster(noise(20, 30), "many.gpkg", driver="GPKG", RASTER_TABLE="roads", APPEND_SUBDATASET="YES")
    with pytest.raises(InputError, match=r"holds no image bands itself; name one of its parts: GPKG:.*:roofs, GPKG:"):
        open_scene(path)
    with open_scene(f"GPKG:{path}:roads") as scene:
        assert scene.read(Window(0, 0, 30, 20))[1].all()


def test_an_address_goes_to_gdal_and_fails_in_words() -> None:
    assert "not a raster GDAL can read" in refusal("/vsimem/nothing.tif")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_fails_where_it_ends(write_raster: WriteRaster, share: float) -> None:
    path = write_raster(noise(256, 320), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with open_scene(path) as scene:
        scene.read(Window(0, 0, 64, 64))
        with pytest.raises(InputError) as caught:
            scene.read(Window(256, 192, 64, 64))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot read columns 256 to 320, rows 192 to 256 (")
    assert message.endswith("; the file may be truncated, fetch it again")
    assert "\n" not in message


def test_a_corrupt_block_is_named(write_raster: WriteRaster) -> None:
    path = write_raster(noise(256, 320), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\xa5" * 4000
    path.write_bytes(content)
    with open_scene(path) as scene, pytest.raises(InputError, match=r"cannot read columns 0 to 320, rows 0 to 256 \("):
        scene.read(Window(0, 0, 320, 256))


def test_a_broken_read_on_another_thread_says_nothing_of_its_own(
    write_raster: WriteRaster, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_raster(noise(256, 320))
    path.write_bytes(path.read_bytes()[:90_000])
    caught: list[BaseException] = []

    def read() -> None:
        try:
            scene.read(Window(0, 0, 320, 256))
        except InputError as error:
            caught.append(error)

    with open_scene(path) as scene:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert capfd.readouterr() == ("", "")


def test_plain_pictures_are_scenes(write_raster: WriteRaster) -> None:
    image = noise(20, 30)
    path = write_raster(image, "scene.png", driver="PNG", transform=None, crs=None)
    with open_scene(path) as scene:
        chip, _ = scene.read(Window(0, 0, 30, 20))
    np.testing.assert_array_equal(chip, image)
    path = write_raster(image, "scene.jpg", driver="JPEG", transform=None, crs=None)
    with open_scene(path) as scene:
        assert scene.read(Window(3, 4, 10, 11))[0].shape == (3, 11, 10)


class WatchedDataset:
    """A dataset that notes GDAL's cache limit while it is read."""

    def __init__(self, dataset: rasterio.DatasetReader) -> None:
        self.dataset = dataset
        self.limits: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.dataset, name)

    def read(self, *arguments: object, **options: object) -> NDArray[np.uint8]:
        self.limits.append(rasterio._env.get_gdal_config("GDAL_CACHEMAX"))
        return self.dataset.read(*arguments, **options)


def test_the_block_cache_is_bounded_while_reading_and_given_back(write_raster: WriteRaster) -> None:
    before = rasterio._env.get_gdal_config("GDAL_CACHEMAX")
    with rasterio.open(write_raster(noise(256, 320))) as dataset:
        watched = WatchedDataset(dataset)
        read_pixels(watched, (1, 2, 3), Window(0, 0, 320, 256), (256, 320))
    assert watched.limits == [16 * 2**20]
    assert rasterio._env.get_gdal_config("GDAL_CACHEMAX") == before


def test_the_block_cache_of_a_large_raster_is_256_mib(tmp_path: Path) -> None:
    band = "<VRTRasterBand dataType='UInt16' band='{}'/>"
    path = tmp_path / "large.vrt"
    path.write_text(
        f"<VRTDataset rasterXSize='40000' rasterYSize='40000'>{''.join(map(band.format, (1, 2, 3)))}"
        "<GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform></VRTDataset>"
    )
    with rasterio.open(path) as dataset:
        assert cache_bytes(dataset) == 256 * 2**20


def test_a_short_name_is_not_looked_for_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t").write_bytes(b"a picture of a town\n")
    with pytest.raises(InputError) as caught:
        open_scene("t")
    assert str(caught.value).startswith(
        "t: not a raster GDAL can read (the file not recognized as being in a supported"
    )


def test_readers_at_once_leave_the_cache_as_it_was() -> None:
    before = get_gdal_config("GDAL_CACHEMAX")
    cache = _BlockCache()
    first, second = cache.bounded(3 * 2**24), cache.bounded(2**24)
    first.__enter__()
    second.__enter__()
    assert get_gdal_config("GDAL_CACHEMAX") == 3 * 2**24
    first.__exit__(None, None, None)
    assert get_gdal_config("GDAL_CACHEMAX") == 2**24
    second.__exit__(None, None, None)
    assert get_gdal_config("GDAL_CACHEMAX") == before


# Headers that no image has


def vrt(path: Path, width: int, height: int, bands: int = 3) -> Path:
    """A raster of any size in a few bytes."""
    band = "<VRTRasterBand dataType='Byte' band='{}'/>"
    path.write_text(
        f"<VRTDataset rasterXSize='{width}' rasterYSize='{height}'>"
        f"{''.join(map(band.format, range(1, bands + 1)))}</VRTDataset>"
    )
    return path


@pytest.mark.parametrize(
    ("width", "height"), [(2**31 - 1, 2**31 - 1), (2**31 - 1, 3), (3, 2**27), (5_000_000, 5_000_000)]
)
def test_absurd_sizes_are_refused(tmp_path: Path, width: int, height: int) -> None:
    assert f"says it has {width} x {height} px, more than any image" in refusal(
        vrt(tmp_path / "vast.vrt", width, height)
    )


def test_a_country_at_20_cm_is_not_absurd(tmp_path: Path) -> None:
    with open_scene(vrt(tmp_path / "country.vrt", 4_000_000, 3_000_000)) as scene:
        assert scene.width == 4_000_000


def test_absurd_counts_of_bands_are_refused(tmp_path: Path) -> None:
    assert "says it has 5000 bands" in refusal(vrt(tmp_path / "many.vrt", 30, 20, 5000))


def test_blocks_that_no_memory_holds_are_refused(tmp_path: Path) -> None:
    path, side = tmp_path / "block.tif", {"width": 20_000, "height": 20_000, "blockxsize": 20_000, "blockysize": 20_000}
    layout = {"tiled": True, "SPARSE_OK": True, "compress": "deflate", "interleave": "pixel", "crs": "EPSG:32633"}
    place = {"transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint8", **side, **layout, **place):
        pass
    assert "is stored in blocks of 20000 x 20000 px, 1.1 GiB each; rewrite it in tiles" in refusal(path)


def test_a_header_gdal_complains_of_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(noise(20, 30))
    content = path.read_bytes()
    for before, after in (((1025, 0, 1), (1025, 256, 1)), ((33550, 12, 3), (33550, 1036, 3))):
        old, new = (np.array(values, np.uint16).tobytes() for values in (before, after))  # a key, and the pixel scale
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    assert "not a raster GDAL can read" in refusal(path)


def test_a_truncated_jpeg_is_not_grey(write_raster: WriteRaster) -> None:
    path = write_raster(noise(256, 320), "scene.jpg", driver="JPEG", transform=None, crs=None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_scene(path) as scene, pytest.raises(InputError, match="cannot read columns 0 to 320, rows 0 to 256"):
        scene.read(Window(0, 0, 320, 256))


# Scenes that are mostly empty


@pytest.mark.parametrize("corner", [(0, 0), (7000, 3000), (9000, 9900)])
def test_the_range_of_a_vast_empty_scene_is_that_of_its_image(tmp_path: Path, corner: tuple[int, int]) -> None:
    path = tmp_path / "sparse.tif"
    values = np.random.default_rng(3).integers(1000, 3000, (3, 100, 100), dtype=np.uint16)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), "nodata": 0}
    shape = {"width": 10_000, "height": 10_000, "count": 3, "dtype": "uint16"}
    layout = {"tiled": True, "SPARSE_OK": True, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **place, **shape, **layout) as dataset:
        dataset.write(values, window=Window(*corner, 100, 100))
    with open_scene(path) as scene:
        scaling = scene.scaling
    assert scaling is not None
    assert (scaling["low"], scaling["high"]) == pytest.approx((1040, 2960), abs=30)
