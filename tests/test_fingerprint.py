"""A scene is known by its content: copies agree, changes show, whatever the scene is made of and wherever it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling

from d2det_geo.errors import InputError
from d2det_geo.raster import fingerprint as module
from d2det_geo.raster.fingerprint import fingerprint, stamps

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

IMAGE = np.random.default_rng(3).integers(0, 256, (3, 96, 160), dtype=np.uint8)


@pytest.fixture
def scene(write_raster: WriteRaster) -> Path:
    return write_raster(IMAGE, tiled=True, blockxsize=32, blockysize=32, compress="deflate")


def spoil(path: Path, at: int) -> None:
    """Change one byte, and nothing else a file system tells but the time."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_copies_agree(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = Path(shutil.copy(scene, tmp_path / "elsewhere" / "other.tif"))
    os.utime(copy, (1, 1))
    assert fingerprint(copy) == fingerprint(str(scene))
    assert fingerprint(scene)["bytes"] == scene.stat().st_size
    assert fingerprint(scene)["files"] == 1
    assert stamps(scene) == {}


def test_one_byte_shows(scene: Path) -> None:
    before = fingerprint(scene)
    spoil(scene, scene.stat().st_size - 1)
    after = fingerprint(scene)
    assert after["sha256"] != before["sha256"]
    assert after["bytes"] == before["bytes"]


def test_georeference_beside_the_file_shows(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster(IMAGE, "plain.png", driver="PNG", crs=None, transform=None)
    found = [fingerprint(scene)["sha256"]]
    for east in (1000, 1001):
        (tmp_path / "plain.wld").write_text(f"0.5\n0\n0\n-0.5\n{east}\n2000\n")
        found.append(fingerprint(scene)["sha256"])
    for nodata in (7, 8):
        band = f'<PAMRasterBand band="1"><NoDataValue>{nodata}</NoDataValue></PAMRasterBand>'
        (tmp_path / "plain.png.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
        found.append(fingerprint(scene)["sha256"])
    assert len(set(found)) == len(found)


def test_statistics_a_viewer_leaves_behind_do_not(scene: Path) -> None:
    before = fingerprint(scene)
    with rasterio.open(scene) as dataset:
        dataset.stats()
    Path(f"{scene}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">7</MDI></Metadata>'
        "</PAMRasterBand></PAMDataset>"
    )
    assert fingerprint(scene) == before


def test_overviews_beside_the_file_show(scene: Path) -> None:
    found = [fingerprint(scene)]
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(scene, "r+") as dataset:
        dataset.build_overviews([2], Resampling.average)
    overviews = Path(f"{scene}.ovr")
    found.append(fingerprint(scene))
    spoil(overviews, overviews.stat().st_size - 1)
    found.append(fingerprint(scene))
    assert [one["files"] for one in found] == [1, 2, 2]
    assert len({one["sha256"] for one in found}) == 3


VRT = (
    '<VRTDataset rasterXSize="160" rasterYSize="96"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    '<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
    "</SimpleSource></VRTRasterBand></VRTDataset>"
)


def test_sources_of_a_vrt_and_theirs_show(scene: Path, tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.vrt", tmp_path / "outer.vrt"
    inner.write_text(VRT.format(source=scene.name))
    outer.write_text(VRT.format(source=inner.name))
    before = fingerprint(outer)
    assert before["files"] == 3
    spoil(scene, scene.stat().st_size - 1)
    assert fingerprint(outer)["sha256"] != before["sha256"]


def test_an_archive_shows(scene: Path, tmp_path: Path) -> None:
    archive = tmp_path / "scenes.zip"
    with zipfile.ZipFile(archive, "w") as folder:
        folder.write(scene, "inside/scene.tif")
    found = fingerprint(f"/vsizip/{archive}/inside/scene.tif")
    assert found["bytes"] == archive.stat().st_size
    assert fingerprint(f"/vsizip/{{{archive}}}/inside/scene.tif") == found
    outer = tmp_path / "outer.tar"
    with tarfile.open(outer, "w") as bundle:
        bundle.add(archive, "scenes.zip")
    assert fingerprint(f"/vsizip/{{/vsitar/{{{outer}}}/scenes.zip}}/inside/scene.tif")["bytes"] == outer.stat().st_size


def test_colours_beside_the_file_show(write_raster: WriteRaster) -> None:
    scene = write_raster(IMAGE[:1])
    aux = scene.with_name("scene.tif.aux.xml")
    found = []
    for colour in (40, 40, 90):
        aux.write_text(
            '<PAMDataset><PAMRasterBand band="1"><ColorInterp>Palette</ColorInterp><ColorTable>'
            f'<Entry c1="{colour}" c2="0" c3="0" c4="255"/></ColorTable></PAMRasterBand></PAMDataset>'
        )
        found.append(fingerprint(scene))
    assert found[0] == found[1] != found[2]


def test_what_is_no_scene_is_told(tmp_path: Path) -> None:
    for call in (fingerprint, stamps):
        with pytest.raises(InputError, match="no such file"):
            call(tmp_path / "missing.tif")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, write_raster: WriteRaster) -> Path:
    """Give a scene beyond what is read in full, which is less than usual."""
    for name, value in {"READ_IN_FULL": 10_000, "_SAMPLES": 16, "_SAMPLE": 256}.items():
        monkeypatch.setattr(module, name, value)
    path = write_raster(IMAGE)
    assert path.stat().st_size > 40_000
    return path


def test_a_large_scene_is_sampled_and_its_time_counts(large: Path) -> None:
    before, stamped = fingerprint(large), stamps(large)
    size = large.stat().st_size
    step = -(-size // 16)
    for seen in (0 * step + 255, 5 * step, size - 1):
        if seen == 255:  # the header of a TIFF: its meaning must not change
            continue
        spoil(large, seen)
        assert fingerprint(large)["sha256"] != before["sha256"]
        spoil(large, seen)
    assert fingerprint(large) == before
    os.utime(large, ns=(10**18, 10**18))
    spoil(large, 5 * step + 300)
    assert fingerprint(large) == before  # between two samples
    assert stamps(large) != stamped
    os.utime(large, ns=(10**18, 10**18))
    assert stamps(large)["modified"] == "2001-09-09 01:46:40+00:00"


def test_any_change_longer_than_a_gap_is_seen(large: Path) -> None:
    before, size = fingerprint(large)["sha256"], large.stat().st_size
    whole = large.read_bytes()
    for start in np.random.default_rng(1).integers(1000, size - size // 16, 20):
        changed = bytearray(whole)
        changed[start : start + size // 16] = bytes(byte ^ 1 for byte in changed[start : start + size // 16])
        large.write_bytes(changed)
        assert fingerprint(large)["sha256"] != before


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve a folder from another process: GDAL does not let go of this one while it waits for an answer."""
    command = [sys.executable, str(Path(__file__).with_name("ranges.py")), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


def test_an_address_is_known_by_its_blocks(address: str, write_raster: WriteRaster) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (3, 2048, 2048), dtype=np.uint8)
    profile = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    first = write_raster(noise, "first.tif", **profile)
    write_raster(noise, "second.tif", **profile)
    write_raster(255 - noise, "negative.tif", **profile)
    write_raster(noise, "moved.tif", **profile, transform=Affine(0.5, 0, 1, 0, -0.5, 2))
    found = [fingerprint(f"{address}/{name}.tif") for name in ("first", "second", "negative", "moved")]
    with urllib.request.urlopen(f"{address}/sent") as answer:  # noqa: S310 - the server above
        assert int(answer.read()) < 0.5 * 4 * first.stat().st_size
    assert found[0] == found[1]
    assert len({one["sha256"] for one in found}) == 3
    assert found[0]["bytes"] == found[0]["files"] == 0


def test_a_server_says_when_a_file_changed(address: str, scene: Path) -> None:
    os.utime(scene, (10**9, 10**9))
    url = f"{address}/{scene.name}"
    assert stamps(url) == {
        "last-modified": "Sun, 09 Sep 2001 01:46:40 GMT",
        "content-length": str(scene.stat().st_size),
    }
    assert stamps(f"/vsicurl/{url}") == stamps(url)
    assert fingerprint(f"/vsicurl/{url}") == fingerprint(url)


def test_a_server_that_is_not_there_is_told(address: str) -> None:
    with pytest.raises(InputError, match="not a raster GDAL can read"):
        fingerprint(f"{address}/missing.tif")


def test_addresses_that_are_odd_or_none(address: str, scene: Path) -> None:
    shutil.copy(scene, scene.with_name("two words.tif"))
    # Some builds of GDAL take a space, some do not.
    assert module._http_stamps(f"{address}/two words.tif") == stamps(f"{address}/two%20words.tif") != {}
    for none in ("http://[bad/a.tif", "http://a b/c.tif", "http://a..b/c.tif", "http://localhost:port/c.tif"):
        assert module._http_stamps(none) == {}
