"""What holds for every format: round trips, portions, atomicity, failures."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
from rasterio.crs import CRS

from d2det_geo.errors import D2DetError, OutputExistsError, UsageError
from d2det_geo.vector import arrow, coco, geojson, ogr, parquet
from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.output import FORMATS
from d2det_geo.vector.sinks import open_sink
from tests.layers import CLASSES, COLUMNS, features, layer, no_file_beyond, read

SUFFIXES = list(FORMATS)
TABLES = [".gpkg", ".fgb", ".parquet", ".shp"]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def small_batches(monkeypatch):
    """Let some hundred objects be many batches."""
    for module in (ogr, parquet, arrow):
        monkeypatch.setattr(module, "ROWS", 64)
    for module in (geojson, coco):
        monkeypatch.setattr(module, "_ROWS", 64)


def write(path, parts, of=None, **options):
    with open_sink(path, layer() if of is None else of, **options) as sink:
        for part in parts:
            sink.write(part)
    return sink


def contents(folder: Path):
    return {part.name: part.read_bytes() for part in folder.iterdir()}


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("crs", ["EPSG:32614", None, "EPSG:4326", "+proj=tmerc +lat_0=3 +lon_0=-99.5 +ellps=bessel"])
def test_tables_keep_crs_geometry_and_attributes(tmp_path, suffix, crs):
    path = tmp_path / f"out{suffix}"
    given_ = features(50, crs)
    if crs == "EPSG:4326":
        given_ = Features(
            given_.pixels, shapely.transform(given_.pixels, lambda p: p * 1e-5 + [179.99, 45]), given_.columns
        )
    write(path, [given_], of=layer(crs))
    found = read(path)
    if suffix == ".fgb":
        order = [np.flatnonzero(found["score"] == score)[0] for score in given_.columns["score"]]
        found = found.iloc[order].reset_index(drop=True)
    assert found.columns.tolist() == [*COLUMNS, "geometry"]
    for name, values in given_.columns.items():
        assert found[name].tolist() == values.tolist()
    assert found.crs == (None if crs is None else pyproj.CRS(crs)) or suffix == ".shp"
    assert shapely.equals(found.geometry.to_numpy(), given_.geometries).all()
    assert np.abs(shapely.area(found.geometry.to_numpy()) - shapely.area(given_.geometries)).max() < 1e-9


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_portions_do_not_change_the_bytes(tmp_path, suffix, small_batches):
    whole = features(300)
    ways = {
        "once": [whole],
        "again": [whole],
        "one by one": list(whole.pieces(1)),
        "sevens": list(whole.pieces(7)),
        "uneven": [whole.rows(0, 0), whole.rows(0, 129), whole.rows(129, 130), whole.rows(130, 300)],
    }
    for name, parts in ways.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / f"out{suffix}", parts)
    first = contents(tmp_path / "once")
    assert len(first) == (5 if suffix == ".shp" else 1)
    for name in ways:
        assert contents(tmp_path / name) == first, name


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_many_objects_in_many_batches_are_all_there(tmp_path, suffix, small_batches):
    path = tmp_path / f"out{suffix}"
    write(path, features(1000).pieces(99))
    assert sorted(read(path)["score"]) == sorted(features(1000).columns["score"])
    if suffix == ".parquet":
        assert pq.ParquetFile(path).metadata.num_row_groups == 16


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_objects(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write(path, [])
    if suffix in TABLES:
        found = read(path)
        assert (len(found), found.columns.tolist()) == (0, [*COLUMNS, "geometry"])
        assert found.crs == "EPSG:32614"
    elif FORMATS[suffix] == "geojsonseq":
        assert path.read_bytes() == b""
    else:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["annotations" if FORMATS[suffix] == "coco" else "features"] == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_number_is_no_value(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    odd = features(4)
    odd.columns["area_m2"][:] = [np.nan, np.inf, -np.inf, 1.5]
    odd.columns["scene"] = np.array([None, float("nan"), "x\udcff", "y"], dtype=object)
    write(path, [odd])
    assert b"nan" not in path.read_bytes().lower() or suffix == ".fgb"
    if suffix in TABLES:
        found = read(path).sort_values("area_m2")
        assert found["area_m2"].notna().tolist() == [True, False, False, False]
        assert set(found["scene"].dropna()) == {"x?", "y"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_objects_without_area_are_left_out_and_counted(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    some = features(5)
    empty = np.array([shapely.Polygon(), None], dtype=object)
    some.geometries[[1, 3]] = empty
    some.pixels[[1, 3]] = empty
    assert write(path, [some]).dropped == 2
    if suffix in TABLES:
        assert len(read(path)) == 3


def test_elevations_are_left_out(tmp_path):
    some = features(3)
    raised = Features(shapely.force_3d(some.pixels, 1.0), shapely.force_3d(some.geometries, 9.0), some.columns)
    for suffix in SUFFIXES:
        write(tmp_path / f"flat{suffix}", [some])
        write(tmp_path / f"raised{suffix}", [raised])
        if suffix in (".geojson", ".parquet", ".coco.json"):  # the others hold their own name
            assert (tmp_path / f"flat{suffix}").read_bytes() == (tmp_path / f"raised{suffix}").read_bytes()
        if suffix in TABLES:
            assert not read(tmp_path / f"raised{suffix}").geometry.has_z.any()


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".shp"])
@pytest.mark.parametrize(
    "crs", ["EPSG:3857", "EPSG:4326", "EPSG:2056", "+proj=utm +zone=15 +datum=WGS84", CRS.from_epsg(4326)]
)
def test_another_crs(tmp_path, suffix, crs):
    path = tmp_path / f"out{suffix}"
    some = features(20)
    write(path, [some], crs=crs)
    found = read(path).sort_values("score")
    frame = gpd.GeoDataFrame({"score": some.columns["score"]}, geometry=some.geometries, crs="EPSG:32614")
    expected = frame.to_crs(pyproj.CRS.from_user_input(crs)).sort_values("score")
    assert found.crs.to_epsg() == pyproj.CRS.from_user_input(crs).to_epsg()
    pairs = zip(found.geometry, expected.geometry, strict=True)
    assert max(one.symmetric_difference(other).area / other.area for one, other in pairs) < 1e-9


def test_crs_that_cannot_be(tmp_path):
    cases = [
        (".geojson", layer(), "EPSG:3857", "WGS 84"),
        (".geojsonl", layer(), "EPSG:32633", "WGS 84"),
        (".gpkg", layer(), "EPSG:99999999", "is no CRS"),
        (".gpkg", layer(), "nonsense", "is no CRS"),
        (".gpkg", layer(None), "EPSG:4326", "no georeference"),
        (".coco.json", layer(), "EPSG:4326", "pixels"),
    ]
    for suffix, of, crs, reason in cases:
        with pytest.raises(UsageError, match=reason) as raised:
            write(tmp_path / f"out{suffix}", [], of=of, crs=crs)
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="WGS 84"), open_sink(None, layer(), crs="EPSG:3857"):
        pass
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out.geojson", [features(3)], crs="EPSG:4326")


def test_where_the_crs_is_not_defined(tmp_path):
    local = Layer(CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'), "s", 9, 9, CLASSES, COLUMNS)
    with pytest.raises(D2DetError, match="no way leads from site"):
        write(tmp_path / "out.geojson", [features(3)], of=local)
    write(tmp_path / "out.gpkg", [features(3)], of=local)
    far = features(3)
    far = Features(far.pixels, shapely.transform(far.geometries, lambda points: points * 1e9), far.columns)
    with pytest.raises(D2DetError, match="not defined"):
        write(tmp_path / "far.geojson", [far])
    assert [part.name for part in tmp_path.iterdir()] == ["out.gpkg"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("after", [0, 1, 500])
def test_an_interrupted_block_leaves_nothing(tmp_path, suffix, interrupt, after, small_batches):
    path = tmp_path / f"out{suffix}"
    write(path, [features(2)])
    before, threads = contents(tmp_path), threading.active_count()
    with pytest.raises(interrupt), open_sink(path, layer(), overwrite=True) as sink:  # noqa: PT012
        sink.write(features(after))
        raise interrupt
    assert contents(tmp_path) == before
    assert threading.active_count() == threads


def flood(path):
    with open_sink(path, layer(), overwrite=True) as sink:
        for number in range(300):
            sink.write(features(64, seed=number))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [1000, 100_000, 300_000])
def test_a_disk_that_fills_up_stops_the_producer(tmp_path, suffix, room, small_batches):
    """Also where GDAL gives up in its thread, after some batches: nobody waits for ever."""
    path = tmp_path / f"out{suffix}"
    write(path, [features(2)])
    before, started = contents(tmp_path), time.monotonic()
    with no_file_beyond(room), pytest.raises(D2DetError, match="cannot be written") as raised:
        flood(path)
    assert str(raised.value).startswith(str(path))
    assert time.monotonic() - started < 20
    assert contents(tmp_path) == before


def test_wrong_columns_are_a_bug_of_the_caller(tmp_path):
    some = features(2)
    wrong = Features(some.pixels, some.geometries, {"class": some.columns["class"]})
    with pytest.raises(ValueError, match="columns"):
        write(tmp_path / "out.gpkg", [wrong])


def test_format_by_name(tmp_path):
    write(tmp_path / "out.txt", [features(2)], format="GeoJSON")
    assert json.loads((tmp_path / "out.txt").read_text(encoding="utf-8"))["type"] == "FeatureCollection"
    with pytest.raises(OutputExistsError):
        write(tmp_path / "out.txt", [], format="geojson")
    with pytest.raises(UsageError, match="there are geojson, gpkg"):
        write(tmp_path / "out.txt", [], format="kml")
    with pytest.raises(UsageError, match=r"must be called out\.shp"):
        write(tmp_path / "out.txt", [], format="shapefile")


def test_names_of_a_shapefile(tmp_path):
    columns = {"longitude_of_centre": float, "longitude_of_corner": float, "Longitude_": float, "größe_in_m2": float}
    some = features(2)
    values = {name: np.array([index, 0.5]) for index, name in enumerate(columns)}
    of = Layer(layer().crs, "s", 9, 9, CLASSES, columns)
    write(tmp_path / "out.shp", [Features(some.pixels, some.geometries, values)], of=of)
    found = read(tmp_path / "out.shp")
    assert found.columns.tolist() == ["longitude_", "longitud_1", "Longitud_2", "größe_in", "geometry"]
    assert found.iloc[0, :4].tolist() == [0, 1, 2, 3]
    assert (tmp_path / "out.cpg").read_text() == "UTF-8"
    assert "UTM_Zone_14N" in (tmp_path / "out.prj").read_text()


def test_geopackage_opens_styled(tmp_path):
    write(tmp_path / "out.gpkg", [features(9)])
    database = sqlite3.connect(tmp_path / "out.gpkg")
    rows = database.execute(
        "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
    ).fetchall()
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT count(*) FROM rtree_out_geom").fetchall() == [(9,)]
    kinds = {row[0] for row in database.execute("SELECT DISTINCT substr(geom, 41, 5) FROM out")}
    assert kinds == {b"\x01\x06\x00\x00\x00"}  # MultiPolygons, every one
    database.close()
    ((table, column, default, text),) = rows
    assert (table, column, default) == ("out", "geom", 1)
    qml = ElementTree.fromstring(text)  # noqa: S314
    assert qml.tag == "qgis"
    assert qml.find("renderer-v2").get("attr") == "class"
    categories = qml.findall("renderer-v2/categories/category")
    assert [item.get("value").split() for item in categories] == [name.split() for name in CLASSES]
    symbols = {item.get("name"): item for item in qml.findall("renderer-v2/symbols/symbol")}
    assert [item.get("symbol") for item in categories] == list(symbols)
    colours = [item.find("layer/Option/Option[@name='outline_color']").get("value") for item in symbols.values()]
    assert len(set(colours)) == 3
    assert {"class", "score"} <= set(qml.find("labeling/settings/text-style").get("fieldName").split('"'))


def test_geoparquet_says_what_it_holds(tmp_path):
    some = features(9)
    write(tmp_path / "out.parquet", [some])
    said = json.loads(pq.read_metadata(tmp_path / "out.parquet").metadata[b"geo"])
    assert (said["version"], said["primary_column"]) == ("1.1.0", "geometry")
    column = said["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon", "Polygon"])
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32614}
    assert column["bbox"] == list(shapely.total_bounds(some.geometries))


def test_lines_arrive_on_standard_output(capfdbinary):
    with open_sink(None, layer()) as sink:
        sink.write(features(2))
        first = capfdbinary.readouterr().out
        assert [json.loads(line)["properties"]["class"] for line in first.splitlines()] == list(CLASSES[:2])
        sink.write(features(3).rows(2, 3))
    assert json.loads(capfdbinary.readouterr().out)["geometry"]["type"] == "MultiPolygon"


SCRIPT = """
import sys
from pathlib import Path
from d2det_geo.vector.sinks import open_sink
from tests.layers import features, layer
path = None if sys.argv[1] == "-" else Path(sys.argv[1])
with open_sink(path, layer()) as sink:
    for _ in range(int(sys.argv[2])):
        sink.write(features(3000))
        print("written", file=sys.stderr, flush=True)
print("after", file=sys.stderr)
"""


def start(*arguments, **options):
    folders = (".", "cli", "cuda_ops")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders)}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT, **options)


def test_a_reader_that_leaves_ends_it_quietly():
    process = start("-", "10000", stdout=subprocess.PIPE)
    head = process.stdout.readline()
    process.stdout.close()
    assert json.loads(head)["type"] == "Feature"
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert set(told.split()) == {"written", "after"}
    assert told.count("written") < 10000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_standard_output_is_told():
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        process = start("-", "100", stdout=full)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "D2DetError: standard output: cannot be written (No space left on device" in told


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_ctrl_c_while_it_writes_leaves_nothing(tmp_path, suffix):
    process = start(str(tmp_path / f"out{suffix}"), "100000", stdout=subprocess.DEVNULL)
    for _ in range(15):  # well into the batches
        process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "stem", ["gpkg", "gpkg_a", "GPKG_a", "layer_styles", "Layer_Styles", "sqlite_a", "ogr_empty_table"]
)
def test_names_that_geopackages_reserve(tmp_path, capfd, stem):
    path = tmp_path / f"{stem}.gpkg"
    write(path, [features(9)])
    assert pyogrio.list_layers(path)[:, 0].tolist() == [f"d2det_{stem}", "layer_styles"]
    assert len(pyogrio.read_dataframe(path, layer=f"d2det_{stem}")) == 9
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("names", [["geometry"], ["Geom"], ["FID"], ["Class", "class"]])
def test_names_that_tables_cannot_hold(tmp_path, suffix, names):
    if suffix == ".shp" and len(names) > 1:
        pytest.skip("numbers them")
    of = Layer(layer().crs, "s", 9, 9, CLASSES, dict.fromkeys(["score", *names], str))
    with pytest.raises(UsageError, match=f"columns {', '.join(names)}: .*; rename them"):
        write(tmp_path / f"out{suffix}", [], of=of)
    assert not contents(tmp_path)
    write(tmp_path / "out.geojson", [], of=of)
