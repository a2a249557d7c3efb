import json

import geopandas as gpd
import pyogrio
import pytest
import rasterio.crs
import shapely
from shapely import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from d2det_geo.errors import InputError
from d2det_geo.vector.readers import read_aoi, read_objects, reading_notices
from d2det_geo.vector.writers import write_objects

UTM = rasterio.crs.CRS.from_epsg(32614)
BOWTIE = Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])


def save(path, geometries, crs="EPSG:32614", **columns):
    frame = gpd.GeoDataFrame(columns or {"class": list("abcdefgh")[: len(geometries)]}, geometry=geometries, crs=crs)
    pyogrio.write_dataframe(frame, path, geometry_type="Unknown" if path.suffix == ".gpkg" else None)
    return path


def message(path, crs=None, read=read_objects):
    with pytest.raises(InputError) as raised:
        read(path, crs=crs)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert raised.value.exit_code == 4
    return text


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb", ".geojson"])
def test_every_format_in_the_callers_crs(tmp_path, suffix):
    shapes = [box(600_000, 3_000_000, 600_010, 3_000_020), box(600_030, 3_000_000, 600_035, 3_000_002)]
    crs = "EPSG:4326" if suffix == ".geojson" else "EPSG:32614"
    frame = gpd.GeoDataFrame({"class": ["b", "a"], "height": [3, 5]}, geometry=shapes, crs=32614).to_crs(crs)
    pyogrio.write_dataframe(frame, tmp_path / f"in{suffix}")
    found = read_objects(tmp_path / f"in{suffix}", crs=UTM).sort_values("height")
    assert found.crs == "EPSG:32614"
    assert found[["class", "height"]].to_numpy().tolist() == [["b", 3], ["a", 5]]
    # GDAL writes 7 digits of GeoJSON, which is a centimetre.
    assert shapely.hausdorff_distance(found.geometry.to_numpy(), shapes).max() < 0.02
    assert found.attrs == {"repaired": 0, "dropped": 0, "dropped_at": [], "crs_assumed": False, "pixels_assumed": False}


def test_without_crs_the_files_own_is_kept(tmp_path):
    path = save(tmp_path / "in.gpkg", [box(0, 0, 1, 2)], crs="EPSG:3857")
    assert read_objects(str(path)).crs == "EPSG:3857"


def test_invalid_outlines_are_repaired_and_rows_without_polygons_dropped(tmp_path):
    mixed = GeometryCollection([box(10, 0, 12, 3), LineString([(0, 0), (9, 9)]), MultiPolygon([box(20, 0, 21, 1)])])
    flat = Polygon([(0, 0), (5, 0), (9, 0)])
    path = save(tmp_path / "in.gpkg", [BOWTIE, None, mixed, Point(1, 1), flat, box(30, 0, 31, 2)])
    found = read_objects(path)
    assert found["class"].tolist() == ["a", "c", "f"]
    assert found.index.tolist() == [0, 1, 2]
    assert found.is_valid.all()
    assert found.area.tolist() == [8, 7, 2]
    assert set(found.geom_type) <= {"Polygon", "MultiPolygon"}
    assert found.attrs == {
        "repaired": 1,
        "dropped": 3,
        "dropped_at": [1, 3, 4],
        "crs_assumed": False,
        "pixels_assumed": False,
    }


def test_z_is_dropped(tmp_path):
    path = save(tmp_path / "in.gpkg", [shapely.force_3d(box(0, 0, 3, 2), 7)])
    assert not read_objects(path).has_z.any()


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson"])
def test_empty_file_gives_no_rows(tmp_path, suffix):
    frame = gpd.GeoDataFrame({"class": ["a"], "score": [0.5]}, geometry=[box(0, 0, 1, 1)], crs=32614).iloc[:0]
    write_objects(frame, tmp_path / f"in{suffix}", overwrite=False)
    found = read_objects(tmp_path / f"in{suffix}", crs=UTM)
    assert len(found) == 0
    assert found.crs == "EPSG:32614"
    assert suffix == ".geojson" or found.columns.tolist() == ["class", "score", "geometry"]
    assert "no polygons" in message(tmp_path / f"in{suffix}", UTM, read_aoi)


def test_shapefile_without_prj_is_taken_to_be_in_the_scenes_crs(tmp_path):
    path = save(tmp_path / "in.shp", [box(0, 0, 3, 2)])
    path.with_suffix(".prj").unlink()
    assert read_objects(path).crs is None
    found = read_objects(path, crs=UTM)
    assert found.crs == "EPSG:32614"
    assert found.attrs["crs_assumed"]
    assert found.total_bounds.tolist() == [0, 0, 3, 2]


def test_geojson_in_pixels_has_no_crs(tmp_path):
    frame = gpd.GeoDataFrame(geometry=[box(0, 0, 300, 200)])
    write_objects(frame, tmp_path / "in.geojson", overwrite=False)
    assert read_objects(tmp_path / "in.geojson").crs is None
    assert "not longitude and latitude" in message(tmp_path / "in.geojson", UTM)


def test_pixels_are_taken_from_files_that_say_nothing_else(tmp_path):
    for name, corner, assumed in (("large.geojson", (300, 200), False), ("small.geojson", (30, 20), True)):
        write_objects(gpd.GeoDataFrame(geometry=[box(0, 0, *corner)]), tmp_path / name, overwrite=False)
        found = read_objects(tmp_path / name, crs="pixels")
        assert found.crs is None
        assert found.total_bounds.tolist() == [0, 0, *corner]
        assert found.attrs["pixels_assumed"] == assumed
        assert len(reading_notices(found, name)) == assumed
    path = save(tmp_path / "in.shp", [box(0, 0, 3, 2)])
    path.with_suffix(".prj").unlink()
    assert not read_objects(path, crs="pixels").attrs["pixels_assumed"]
    assert read_objects(save(tmp_path / "none.gpkg", []), crs="pixels").crs is None


@pytest.mark.parametrize("name", ["in.gpkg", "in.shp", "in.fgb"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32614"])
def test_a_crs_does_not_lead_to_pixels(tmp_path, name, crs):
    path = save(tmp_path / name, [box(0, 0, 3, 2)], crs=crs)
    assert "has no georeference; give it in pixels" in message(path, "pixels")


def test_geojson_is_on_the_ground_when_it_says_so(tmp_path):
    path = save(tmp_path / "in.geojson", [box(0, 0, 3, 2)], crs="EPSG:4326")  # GDAL writes a crs member
    assert "is in WGS 84, and what it goes with has no georeference" in message(path, "pixels")
    feature = {"type": "Feature", "properties": {"crs": "local"}, "geometry": shapely.geometry.mapping(box(0, 0, 3, 2))}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert read_objects(path, crs="pixels").attrs["pixels_assumed"]
    sequence = tmp_path / "in.geojsonl"
    sequence.write_text(json.dumps(feature) + "\n" + json.dumps(feature) + "\n")
    assert len(read_objects(sequence, crs="pixels")) == 2


def test_layer_with_polygons_is_found(tmp_path):
    path = tmp_path / "in.gpkg"
    points = gpd.GeoDataFrame({"kind": ["p"]}, geometry=[Point(1, 1)], crs=32614)
    areas = gpd.GeoDataFrame({"kind": ["a"]}, geometry=[box(0, 0, 3, 2)], crs=32614)
    pyogrio.write_dataframe(points, path, layer="first")
    pyogrio.write_dataframe(areas, path, layer="second", append=True)
    assert read_objects(path)["kind"].tolist() == ["a"]
    pyogrio.write_dataframe(areas, path, layer="third", append=True)
    assert "several layers of polygons (second, third)" in message(path)


def test_unreadable_files(tmp_path):
    good = save(tmp_path / "good.gpkg", [box(0, 0, 1, 1)]).read_bytes()
    collection = json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"}]})
    contents = {
        "zero.geojson": b"",
        "zero.gpkg": b"",
        "text.gpkg": b"good morning",
        "cut.gpkg": good[:4000],
        "cut.geojson": collection[:40].encode(),
        "coco.json": b'{"images": [], "annotations": [], "categories": []}',
        "bare.shp": b"\x00\x00\x27\x0a",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert "cannot be read as a vector file" in message(tmp_path / name), name
    assert "no such file" in message(tmp_path / "missing.gpkg")
    assert "is a folder" in message(tmp_path)


def test_files_without_polygons(tmp_path):
    assert "found Point" in message(save(tmp_path / "points.gpkg", [Point(1, 2), Point(3, 4)]))
    assert "found no geometry" in message(save(tmp_path / "nothing.gpkg", [None, None]))
    (tmp_path / "table.csv").write_text("class,score\na,1\n")
    assert "found no geometry" in message(tmp_path / "table.csv")


def test_coordinates_the_target_crs_does_not_know(tmp_path):
    path = save(tmp_path / "in.gpkg", [box(600_000, 3_000_000, 600_010, 3_000_020)], crs="EPSG:4326")
    assert "check its coordinates" in message(path, UTM)


def test_aoi_is_the_union(tmp_path):
    path = save(tmp_path / "aoi.gpkg", [box(0, 0, 4, 3), box(2, 0, 6, 3), box(10, 0, 11, 5)])
    aoi = read_aoi(path, UTM).area
    assert aoi.area == 18 + 5
    assert aoi.geom_type == "MultiPolygon"
    assert aoi.is_valid


def test_points_are_called_points_also_when_they_have_to_be_reprojected(tmp_path):
    frame = gpd.GeoDataFrame(geometry=[shapely.Point(85.519, 27.634)], crs=4326)
    pyogrio.write_dataframe(frame, tmp_path / "points.geojson")
    with pytest.raises(InputError, match=r"holds no polygon with an area \(found Point\)"):
        read_objects(tmp_path / "points.geojson", crs=UTM)
