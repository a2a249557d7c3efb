"""GeoJSON: what RFC 7946 asks, at the antimeridian, at the poles, and for what is small or crooked."""

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.grid import on_grid
from d2det_geo.vector.rings import rings_of
from d2det_geo.vector.sinks import open_sink

FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(folder: Path, geometries, crs, columns=None, types=None):
    """Write geometries and give the parsed features, and how many were dropped."""
    shapes = np.array(geometries, dtype=object)
    layer = Layer(None if crs is None else pyproj.CRS(crs), "s.tif", 9, 9, ("a",), types or {})
    with open_sink(folder / "out.geojson", layer, overwrite=True) as sink:
        sink.write(Features(shapes, shapes, columns or {}))
    return json.loads((folder / "out.geojson").read_text(encoding="utf-8"))["features"], sink.dropped


def shapes_of(found):
    shapes = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in found])
    for shape, feature in zip(shapes, found, strict=True):
        assert shape.is_valid
        polygons = feature["geometry"]["coordinates"]
        for shell, *holes in polygons if shape.geom_type == "MultiPolygon" else [polygons]:
            assert shapely.LinearRing(shell).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        x_min, y_min, x_max, y_max = shape.bounds
        assert x_min >= -180
        assert x_max <= 180
        assert y_min >= -90
        assert y_max <= 90
    return shapes


def area_m2(shape):
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(shape))[0])


def spot(lon, lat, *, size=100.0, crs=None, holes=()):
    """Give a square about a place, in a CRS centred there or in ``crs``; ``size`` in metres."""
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    return box(x - size / 2, y - size / 2, x + size / 2, y + size / 2).difference(MultiPolygon(list(holes)))


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:32601", "EPSG:32760", "EPSG:32701", "EPSG:3832"])
@pytest.mark.parametrize("lat", [0.0, 16.7, -65.0])
def test_utm_zones_at_the_antimeridian(tmp_path, crs, lat):
    middle = spot(180, lat, size=1000, crs=crs)
    ring = middle.difference(middle.centroid.buffer(200))
    aside = MultiPolygon([spot(179.99, lat, crs=crs), spot(-179.99, lat, crs=crs)])
    found, _ = written(tmp_path, [middle, ring, spot(179.9, lat, crs=crs), spot(-179.9, lat, crs=crs), aside], crs)
    shapes = shapes_of(found)
    assert [len(shapely.get_parts(shape)) for shape in shapes] == [2, 2, 1, 1, 2]
    for shape in shapes:
        assert all(x_max - x_min < 1 for x_min, _, x_max, _ in shapely.bounds(shapely.get_parts(shape)))
    scale = area_m2(shapes[0]) / middle.area
    assert scale == pytest.approx(1 / pyproj.Proj(crs).get_factors(180, lat).areal_scale, rel=2e-4)
    assert area_m2(shapes[1]) / ring.area == pytest.approx(scale, rel=2e-4)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4269", "OGC:CRS84", "+proj=longlat +ellps=GRS80"])
def test_longitudes_that_run_on(tmp_path, crs):
    """A scene in degrees may go on beyond 180; EPSG:4326 says latitude first, its files do not."""
    shapes = [
        box(179.9, 10, 180.2, 11),
        box(180.5, 10, 181, 11),
        box(-180.5, 10, -179, 11),
        box(100, 0, 300, 1),
        box(170, 5, 180, 6),
        Polygon(box(179, 0, 181, 2).exterior, [box(179.5, 0.5, 180.5, 1.5).exterior.coords]),
    ]
    found, _ = written(tmp_path, shapes, crs)
    expected = [
        MultiPolygon([box(179.9, 10, 180, 11), box(-180, 10, -179.8, 11)]),
        box(-179.5, 10, -179, 11),
        MultiPolygon([box(179.5, 10, 180, 11), box(-180, 10, -179, 11)]),
        MultiPolygon([box(100, 0, 180, 1), box(-180, 0, -60, 1)]),
        box(170, 5, 180, 6),
        MultiPolygon(
            [box(179, 0, 180, 2) - box(179.5, 0.5, 180, 1.5), box(-180, 0, -179, 2) - box(-180, 0.5, -179.5, 1.5)]
        ),
    ]
    for one, other in zip(shapes_of(found), expected, strict=True):
        assert one.symmetric_difference(other).area < 1e-5


@pytest.mark.parametrize(("crs", "sign"), [("EPSG:3413", 1), ("EPSG:32661", 1), ("EPSG:3031", -1), ("EPSG:32761", -1)])
def test_poles(tmp_path, crs, sign):
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(0, 90 * sign)
    disc = shapely.Point(x, y).buffer(1e6, quad_segs=90)
    around = disc - shapely.Point(x, y).buffer(5e5, quad_segs=90)
    beside = shapely.Point(x + 3e5, y + 1e5).buffer(1e5, quad_segs=90)
    found, _ = written(tmp_path, [disc, around, beside], crs)
    shapes = shapes_of(found)
    assert shapes[0].bounds[0::2] == (-180, 180)
    assert (shapes[0].bounds[3] if sign > 0 else shapes[0].bounds[1]) == 90 * sign
    back = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    for shape, other in zip(shapes, [disc, around, beside], strict=True):
        inside = np.random.default_rng(0).uniform(-1.1e6, 1.1e6, (400, 2)) + np.array([x, y])
        lon, lat = back.transform(*inside.T, direction="INVERSE")
        near = shapely.distance(other.boundary, shapely.points(inside)) < 2e4
        assert (shapely.contains_xy(shape, lon, lat) == shapely.contains_xy(other, inside))[~near].all()


@pytest.mark.parametrize("crs", [2193, 3006, 4326, 31370, 2180, 32614])
def test_order_of_axes(tmp_path, crs):
    """Many CRSs name north first; coordinates of vectors and rasters are east first all the same."""
    area = pyproj.CRS(crs).area_of_use
    lon, lat = (area.west + area.east) / 2, (area.south + area.north) / 2
    size = 1e-3 if crs == 4326 else 100
    found, _ = written(tmp_path, [spot(lon, lat, size=size, crs=f"EPSG:{crs}")], crs)
    ((shape,),) = (shapes_of(found),)
    assert shape.centroid.distance(shapely.Point(lon, lat)) < 1e-4


def test_a_crs_without_code(tmp_path):
    crs = "+proj=omerc +lat_0=40 +lonc=-100 +alpha=30 +gamma=0 +k=1 +x_0=1000 +y_0=2000 +ellps=GRS80"
    found, _ = written(tmp_path, [spot(-100, 40, crs=crs)], crs)
    (shape,) = shapes_of(found)
    assert shape.centroid.distance(shapely.Point(-100, 40)) < 1e-6
    assert area_m2(shape) == pytest.approx(1e4, rel=3e-4)


def test_what_is_smaller_than_the_last_decimal_is_dropped_and_counted(tmp_path):
    speck = box(0, 0, 2e-8, 2e-8)
    line = box(0, 0, 1, 3e-8)
    holed = box(5, 5, 6, 6) - box(5.5, 5.5, 5.5 + 2e-8, 5.5 + 2e-8)
    parts = MultiPolygon([box(0, 0, 1, 1), box(3, 3, 3 + 1e-8, 4)])
    found, dropped = written(tmp_path, [speck, holed, line, parts], "EPSG:4326")
    assert dropped == 2
    one, other = shapes_of(found)
    assert one.equals(box(5, 5, 6, 6))
    assert other.equals(box(0, 0, 1, 1))


def test_what_would_cross_itself_when_rounded(tmp_path):
    """A hole and a notch end a billionth of a degree from a side."""
    pin = Polygon([(0, 0), (1, 0), (1, 1), (0.3, 1e-9), (0, 1)])
    holed = box(0, 0, 1, 1) - box(0.2, 1e-9, 0.4, 0.4)
    needle = Polygon([(0, 0), (1, 1e-8), (2, 0), (1, 0.5)])
    for shape in shapes_of(written(tmp_path, [pin, holed, needle], "EPSG:4326")[0]):
        assert shape.area > 0.4


def test_outlines_that_cross_themselves_are_repaired(tmp_path):
    bow = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    found, dropped = written(tmp_path, [bow, Polygon([(0, 0), (1, 1), (2, 2)])], "EPSG:4326")
    assert dropped == 1
    assert shapes_of(found)[0].area == pytest.approx(0.5)


def test_values_of_all_kinds(tmp_path):
    types = {'a"b': str, "x%s": float, "n": int, "yes": bool, "odd": str}
    columns = {
        'a"b': np.array(['q"\\', "a,b\n\t\x00", "日本\u2028"], dtype=object),
        "x%s": np.array([1e-7, np.nan, 3.0]),
        "n": np.array([1, -2, 2**60]),
        "yes": np.array([True, False, True]),
        "odd": np.array([None, float("nan"), "\udc80"], dtype=object),
    }
    found, _ = written(tmp_path, [box(0, 0, 1, 1)] * 3, "EPSG:4326", columns, types)
    assert [feature["properties"] for feature in found] == [
        {'a"b': 'q"\\', "x%s": 1e-7, "n": 1, "yes": True, "odd": None},
        {'a"b': "a,b\n\t\x00", "x%s": None, "n": -2, "yes": False, "odd": None},
        {'a"b': "日本\u2028", "x%s": 3.0, "n": 2**60, "yes": True, "odd": "?"},
    ]


corner = st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
rings = st.lists(corner, min_size=3, max_size=12)


@FOLDER
@given(st.lists(rings, min_size=1, max_size=6))
def test_any_outline_becomes_a_valid_one_of_the_same_area(outlines):
    """Integers and floats, crossing themselves, touching, of no area: what comes out is valid at 3 decimals."""
    shapes = np.array([Polygon(ring).buffer(0) for ring in outlines], dtype=object)
    parts = shapely.get_parts(shapes)
    gridded = on_grid(rings_of(parts), 3)
    assert (gridded.xy == np.rint(gridded.xy)).all()
    found = gridded.moved(gridded.xy / 1000).polygons()
    assert shapely.is_valid(found).all()
    loss = np.abs(shapely.area(found) - shapely.area(parts))
    assert (loss <= shapely.length(parts) * 1e-3 + 1e-5).all()


@FOLDER
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=8), min_size=1, max_size=9)
)
def test_raw_rings_on_a_coarse_grid(outlines):
    """Few places, so that sides overlap, fold back and meet in corners; the quick test must not call them sound."""
    shapes = np.array([Polygon(ring) for ring in outlines], dtype=object)
    found = on_grid(rings_of(shapes), 0)
    again = found.polygons()
    assert shapely.is_valid(again).all()
    valid = shapely.is_valid(shapes)
    assert shapely.equals(again[valid], shapes[valid]).all()


@FOLDER
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-80, 80),
    size=st.floats(1, 5000),
    turn=st.floats(0, 360),
)
def test_objects_survive_to_a_centimetre(tmp_path, lon, lat, size, turn):
    crs = f"+proj=tmerc +lat_0={lat} +lon_0={lon} +datum=WGS84"
    shape = shapely.affinity.rotate(Polygon([(0, 0), (3, 0), (3, 2), (1, 2), (1, 1), (0, 1)]), turn)
    shape = shapely.affinity.scale(shape, size / 3, size / 3)
    found, dropped = written(tmp_path, [shape], crs)
    assert dropped == 0
    (out,) = shapes_of(found)
    points = shapely.get_coordinates(out)
    back = np.column_stack(pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*points.T))
    corners = shapely.points(shapely.get_coordinates(shape))
    # A side is straight on either map, but not on both: 5 km bend by half a metre at 80 degrees.
    bend = 0.008 + size**2 * np.tan(np.radians(abs(lat))) / 5e7
    assert shapely.distance(shapely.multipoints(shapely.points(back)), corners).max() < 0.008
    assert shapely.distance(shape.boundary, shapely.points(back)).max() < bend
