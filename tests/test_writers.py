import hashlib
import json
import sqlite3
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box

from d2det_geo.errors import D2DetError, OutputExistsError, UsageError
from d2det_geo.vector.writers import FORMATS, atomic_path, check_output, write_objects
from tests.layers import no_file_beyond

SUFFIXES = [
    suffix for suffix, name in FORMATS.items() if name != "coco"
]  # which is of pixels, and has tests of its own
COLUMNS = ["class", "score", "area_m2"]


def objects(crs="EPSG:32614"):
    """Give a polygon with a hole and one of two parts, the shells clockwise, as a south-up map might."""
    ring = Polygon([(0, 0), (0, 7), (10, 7), (10, 0)], [[(2, 2), (4, 2), (4, 5), (2, 5)]])
    pair = MultiPolygon([box(30, 0, 40, 5), box(50, 0, 60, 5)])
    geometries = shapely.transform([ring, pair], lambda points: points + ([600_000, 3_000_000] if crs else 0))
    values = {"class": ["building", "dépôt"], "score": [0.5, 0.25], "area_m2": [64.0, 100.25]}
    return gpd.GeoDataFrame(values, geometry=geometries, crs=crs)


def read(path: Path) -> gpd.GeoDataFrame:
    """Read a file with another library; a GPKG has its style in a second layer."""
    if path.suffix == ".parquet":
        return gpd.read_parquet(path)
    if path.suffix == ".fgb":  # which is sorted by place
        return gpd.read_file(path).sort_values("score", ascending=False, ignore_index=True)
    return gpd.read_file(path, layer=path.stem if path.suffix == ".gpkg" else None)


def digest(folder: Path):
    return {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in folder.iterdir()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_objects(objects(), path, overwrite=False)
    found = read(path)
    assert found.columns.tolist() == [*COLUMNS, "geometry"]
    assert found[COLUMNS].to_numpy().tolist() == objects()[COLUMNS].to_numpy().tolist()
    assert found.crs == ("EPSG:4326" if FORMATS[suffix].startswith("geojson") else "EPSG:32614")
    difference = found.to_crs("EPSG:32614").geometry.symmetric_difference(objects().geometry)
    assert difference.area.max() < (1 if FORMATS[suffix].startswith("geojson") else 1e-6)  # 7 digits are a centimetre


@pytest.mark.parametrize("suffix", [".geojson", ".json"])
def test_geojson_is_rfc_7946(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_objects(objects(), path, overwrite=False)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    assert not {"crs", "name"} & set(document)  # neither RFC 7946 nor the objects know the name of the file
    ring, pair = (feature["geometry"] for feature in document["features"])
    assert [ring["type"], pair["type"]] == ["Polygon", "MultiPolygon"]
    assert document["features"][1]["properties"] == {"class": "dépôt", "score": 0.25, "area_m2": 100.25}
    shell, hole = (shapely.LinearRing(points) for points in ring["coordinates"])
    assert shell.is_ccw
    assert not hole.is_ccw
    corner = pyproj.Transformer.from_crs(32614, 4326, always_xy=True).transform(600_000, 3_000_000)
    assert np.abs(np.array(shell.coords) - corner).max(axis=1).min() < 1e-7
    digits = [len(str(value).partition(".")[2]) for point in ring["coordinates"][0] for value in point]
    assert max(digits) <= 7


def test_geojson_splits_at_the_antimeridian(tmp_path):
    frame = gpd.GeoDataFrame(geometry=[box(-50, 0, 90, 40)], crs="+proj=tmerc +lon_0=180 +datum=WGS84")
    write_objects(frame, tmp_path / "out.geojson", overwrite=False)
    (found,) = gpd.read_file(tmp_path / "out.geojson").geometry
    west, east = sorted(found.geoms, key=lambda part: part.bounds[0])
    assert (west.bounds[0], east.bounds[2]) == (-180, 180)
    assert max(west.bounds[2] + 180, 180 - east.bounds[0]) < 0.001


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_are_written_as_they_are(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_objects(objects(crs=None), path, overwrite=False)
    found = read(path)
    assert shapely.equals(found.geometry.to_numpy(), objects(crs=None).geometry.to_numpy()).all()
    if FORMATS[suffix].startswith("geojson"):
        assert '"crs"' not in path.read_text(encoding="utf-8")
    else:
        assert found.crs is None
        assert not path.with_suffix(".prj").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32614", None])
def test_same_frame_same_bytes(tmp_path, suffix, crs, monkeypatch):
    for name, clock in [("first", "2021-03-04T05:06:07.000Z"), ("second", "2033-10-11T12:13:14.000Z")]:
        (tmp_path / name).mkdir()
        monkeypatch.setenv("OGR_CURRENT_DATE", clock)
        write_objects(objects(crs), tmp_path / name / f"out{suffix}", overwrite=False)
    assert digest(tmp_path / "first") == digest(tmp_path / "second")


def test_gpkg_and_dbf_carry_the_fixed_date(tmp_path):
    write_objects(objects(), tmp_path / "out.gpkg", overwrite=False)
    write_objects(objects(), tmp_path / "out.shp", overwrite=False)
    with sqlite3.connect(tmp_path / "out.gpkg") as database:
        ((name, changed, kind),) = database.execute(
            "select table_name, last_change, geometry_type_name"
            " from gpkg_contents join gpkg_geometry_columns using (table_name)"
        )
    database.close()
    assert (name, changed, kind) == ("out", "2000-01-01T00:00:00.000Z", "MULTIPOLYGON")
    assert tuple((tmp_path / "out.dbf").read_bytes()[1:4]) == (100, 1, 1)  # years since 1900, month, day
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32614", None])
def test_no_objects_is_a_valid_file(tmp_path, suffix, crs):
    path = tmp_path / f"none{suffix}"
    write_objects(objects(crs).iloc[:0], path, overwrite=False)
    if FORMATS[suffix] == "geojsonseq":  # of no lines, which GDAL cannot tell from no format
        assert path.read_bytes() == b""
        return
    found = read(path)
    assert len(found) == 0
    if FORMATS[suffix].startswith("geojson"):
        assert json.loads(path.read_text(encoding="utf-8"))["features"] == []
    else:
        assert found.columns.tolist() == [*COLUMNS, "geometry"]
        assert found.crs == crs


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_geometry_type_does_not_depend_on_the_objects(tmp_path, rows):
    for suffix, kind in [(".gpkg", "MultiPolygon"), (".fgb", "MultiPolygon"), (".shp", "Polygon")]:
        write_objects(objects().iloc[:rows], tmp_path / f"out{suffix}", overwrite=True)
        assert pyogrio.list_layers(tmp_path / f"out{suffix}").tolist()[0] == ["out", kind]


def test_shapefile_has_its_parts_and_says_utf8(tmp_path):
    write_objects(objects(), tmp_path / "out.shp", overwrite=False)
    assert sorted(digest(tmp_path)) == ["out.cpg", "out.dbf", "out.prj", "out.shp", "out.shx"]
    assert (tmp_path / "out.cpg").read_text() == "UTF-8"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_output_needs_overwrite(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_objects(objects(), path, overwrite=False)
    before = digest(tmp_path)
    with pytest.raises(OutputExistsError, match="pass --overwrite") as raised:
        write_objects(objects().iloc[:1], path, overwrite=False)
    assert raised.value.exit_code == 5
    assert digest(tmp_path) == before
    write_objects(objects().iloc[:1], path, overwrite=True)
    assert len(read(path)) == 1


def test_a_part_of_a_shapefile_counts_as_existing(tmp_path):
    (tmp_path / "out.dbf").write_bytes(b"someone's table")
    with pytest.raises(OutputExistsError, match=r"out\.dbf"):
        check_output(tmp_path / "out.shp", overwrite=False)


def test_overwriting_leaves_no_stale_part(tmp_path):
    path = tmp_path / "out.shp"
    write_objects(objects(), path, overwrite=False)
    (tmp_path / "out.qix").write_bytes(b"index of the old file")
    (tmp_path / "out.gpkg-wal").write_bytes(b"log of another file")
    write_objects(objects(crs=None), path, overwrite=True)
    assert sorted(digest(tmp_path)) == ["out.cpg", "out.dbf", "out.gpkg-wal", "out.shp", "out.shx"]


def test_unknown_suffix_lists_the_known(tmp_path):
    for name in ("out.kmz", "out"):
        with pytest.raises(UsageError, match=r"\.geojson, \.json, \.gpkg, \.shp") as raised:
            check_output(tmp_path / name, overwrite=True)
        assert raised.value.exit_code == 2
    check_output(tmp_path / "OUT.GeoJSON", overwrite=False)


def test_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.gpkg").mkdir()
    for path in (tmp_path / "missing" / "out.gpkg", tmp_path / "file" / "out.gpkg", tmp_path / "folder.gpkg"):
        with pytest.raises(D2DetError) as raised:
            write_objects(objects(), path, overwrite=True)
        assert raised.value.exit_code == 1
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_check_output_leaves_nothing(tmp_path):
    (tmp_path / "old.shp").write_bytes(b"old")
    (tmp_path / "old.prj").write_bytes(b"old")
    for name in ("new.gpkg", "old.shp"):
        check_output(tmp_path / name, overwrite=True)
    assert sorted(digest(tmp_path)) == ["old.prj", "old.shp"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_objects(objects(), path, overwrite=False)
    before = digest(tmp_path)
    many = gpd.GeoDataFrame(pd.concat([objects()] * 200, ignore_index=True))
    many["noise"] = np.random.default_rng(0).random(len(many))  # which no compression makes small
    with no_file_beyond(4096), pytest.raises(D2DetError, match="cannot be written") as raised:
        write_objects(many, path, overwrite=True)
    assert str(raised.value).startswith(str(path))
    assert digest(tmp_path) == before


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ZeroDivisionError])
def test_atomic_path_is_all_or_nothing(tmp_path, interrupt):
    path = tmp_path / "out.json"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".json"
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise interrupt

    with pytest.raises(interrupt):
        write_half()
    assert [(part.name, part.read_text()) for part in tmp_path.iterdir()] == [("out.json", "old")]
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert [(part.name, part.read_text()) for part in tmp_path.iterdir()] == [("out.json", "new")]


@pytest.mark.parametrize(("name", "stale"), [("W.GPKG", "W.GPKG-wal"), ("W.SHP", "W.QIX"), ("W.SHP", "W.qix")])
def test_stale_parts_go_whatever_the_case(tmp_path, name, stale):
    (tmp_path / stale).write_bytes(b"of another file")
    with pytest.raises(OutputExistsError):
        write_objects(objects(), tmp_path / name, overwrite=False)
    write_objects(objects(), tmp_path / name, overwrite=True)
    assert not (tmp_path / stale).exists()
    assert len(pyogrio.read_dataframe(tmp_path / name, layer="W")) == len(objects())


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".parquet"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(tmp_path, suffix, there):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / f"real{suffix}", tmp_path / f"link{suffix}"
    if there:
        write_objects(objects().iloc[:1], target, overwrite=False)
    link.symlink_to(target)
    write_objects(objects(), link, overwrite=there)
    assert link.is_symlink()
    assert len(read(target)) == len(objects())
    assert {part.name.partition(".")[0] for part in tmp_path.rglob("*")} == {"store", "link", "real"}


def test_classes_of_coco_that_are_numbers(tmp_path):
    frame = gpd.GeoDataFrame({"class": [2, 1]}, geometry=[box(0, 0, 9, 9), box(4, 4, 8, 8)])
    write_objects(frame, tmp_path / "out.coco.json", overwrite=False)
    written = json.loads((tmp_path / "out.coco.json").read_text())
    assert written["categories"] == [{"id": 1, "name": "1"}, {"id": 2, "name": "2"}]
    assert [one["category_id"] for one in written["annotations"]] == [2, 1]


def test_an_object_without_geometry_has_no_size(tmp_path):
    frame = gpd.GeoDataFrame({"class": ["a", "a", "a"]}, geometry=[box(0, 0, 9, 7), Polygon(), None])
    write_objects(frame, tmp_path / "out.coco.json", overwrite=False)
    written = json.loads((tmp_path / "out.coco.json").read_text())
    assert (written["images"][0]["width"], written["images"][0]["height"]) == (9, 7)
    assert len(written["annotations"]) == 1
    write_objects(frame.iloc[1:], tmp_path / "none.coco.json", overwrite=False)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet", ".shp"])
def test_what_is_missing_is_no_value(tmp_path, suffix):
    frame = gpd.GeoDataFrame(
        {
            "text": pd.array(["a", pd.NA], "string"),
            "any": ["a", pd.NA],
            "count": pd.array([1, pd.NA], "Int64"),
            "when": pd.to_datetime(["2020-01-01", None]),
        },
        geometry=[box(0, 0, 9, 7), box(1, 1, 2, 2)],
        crs="EPSG:4326",
    )
    write_objects(frame, tmp_path / f"out{suffix}", overwrite=False)
    back = read(tmp_path / f"out{suffix}")
    assert back[["text", "any", "count"]].iloc[0].tolist() == ["a", "a", 1]
    assert back[["text", "any", "count", "when"]].iloc[1].isna().all()
