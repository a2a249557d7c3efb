"""Scenes that the antimeridian runs through, in CRSs that end there and in such that run on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from d2det_geo.data.truth import ClassMap
from d2det_geo.data.vector import labelled_scene
from d2det_geo.metrics.geo import frame_for
from d2det_geo.model.bundle import read_card
from d2det_geo.pipeline.evaluate import evaluate_files
from d2det_geo.pipeline.predict import predict_scene
from d2det_geo.pipeline.selftest.oracle import Oracle
from d2det_geo.pipeline.tile import tile_scene
from d2det_geo.raster.geodesy import axis_gsd_m
from d2det_geo.vector.turns import turn_of, turned_to

WriteRaster = Callable[..., Path]  # the fixture of conftest.py

WIDTH, HEIGHT = 240, 160
LAT = -17.0
TURN = 2 * np.pi * 6_378_137  # of EPSG:3857, m
WEST, ACROSS, EAST, SOUTH = (20, 20, 60, 50), (100, 30, 150, 62), (180, 20, 215, 60), (30, 110, 200, 140)


def around(crs: str, step: float, longitude: float = 180.0) -> Affine:
    """Put column 120 on a meridian and row 80 on 17 S; ``step`` is in units of the CRS."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, LAT)
    return Affine(step, 0, x - WIDTH / 2 * step, 0, -step, y + HEIGHT / 2 * step)


PLACES = {
    "utm 60": ("EPSG:32760", around("EPSG:32760", 1.0)),
    "utm 1": ("EPSG:32701", around("EPSG:32701", 1.0)),
    "179 to 181": ("EPSG:4326", around("EPSG:4326", 1e-5)),
    "-181 to -179": ("EPSG:4326", around("EPSG:4326", 1e-5, -180)),
    "web mercator": ("EPSG:3857", around("EPSG:3857", 1.0)),
    "web mercator, west": ("EPSG:3857", Affine.translation(-TURN, 0) @ around("EPSG:3857", 1.0)),
    "turned": ("EPSG:3857", around("EPSG:3857", 1.0) @ Affine.rotation(14, (WIDTH / 2, HEIGHT / 2))),
}


def scene(write_raster: WriteRaster, place: str) -> Path:
    crs, transform = PLACES[place]
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    for x1, y1, x2, y2 in (WEST, ACROSS, EAST, SOUTH):
        image[:, y1:y2, x1:x2] = 255
    return write_raster(image, crs=crs, transform=transform)


def lon_lat(box: tuple[int, ...], place: str) -> shapely.Polygon:
    """Outline a box on the ground, in longitudes from 0 to 360."""
    crs, transform = PLACES[place]
    x1, y1, x2, y2 = box
    x, y = np.array([transform @ corner for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]).T
    longitude, latitude = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return shapely.Polygon(np.column_stack([longitude % 360, latitude]))


def split(outline: shapely.Polygon) -> shapely.MultiPolygon:
    """Cut along 180 degrees, as RFC 7946 asks for."""
    west, east = (shapely.intersection(outline, shapely.box(start, -90, start + 180, 90)) for start in (0, 180))
    return shapely.MultiPolygon([west, shapely.affinity.translate(east, -360)])


def write_geojson(path: Path, *outlines: shapely.Geometry) -> Path:
    features = [
        {"type": "Feature", "properties": {"class": "target"}, "geometry": shapely.geometry.mapping(outline)}
        for outline in outlines
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def predicted(path: Path, aoi: Path | None = None) -> gpd.GeoDataFrame:
    return predict_scene(path, Oracle(read_card("buildings")), gsd="native", aoi=aoi, chip_size=96, overlap=32)


def bounds_px(frame: gpd.GeoDataFrame, transform: Affine) -> NDArray[np.float64]:
    a, b, c, d, e, f = (~transform)[:6]
    pixels = shapely.transform(
        frame.geometry.to_numpy(),
        lambda p: np.column_stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f]),
    )
    return np.array(sorted(map(tuple, shapely.bounds(pixels))))


# Ground sample distance and areas


@pytest.mark.parametrize(
    ("crs", "elsewhere", "step"),
    [
        (32760, (32759, 174), 1.0),
        (32701, (32702, -174), 1.0),
        (4326, (4326, 20), 1e-5),
        (3857, (3857, 20), 1.0),
    ],
)
def test_pixels_are_as_long_as_anywhere_on_the_parallel(crs: int, elsewhere: tuple[int, int], step: float) -> None:
    here = axis_gsd_m(CRS.from_epsg(crs), around(f"EPSG:{crs}", step), WIDTH, HEIGHT)
    zone, longitude = elsewhere
    there = axis_gsd_m(CRS.from_epsg(zone), around(f"EPSG:{zone}", step, longitude), WIDTH, HEIGHT)
    assert here == pytest.approx(there, rel=1e-8)
    assert here is not None
    assert 0.9 < here[0] < 1.2


@pytest.mark.parametrize("place", PLACES)
def test_objects_lie_and_measure_what_they_do(write_raster: WriteRaster, place: str) -> None:
    found = predicted(scene(write_raster, place))
    assert bounds_px(found, PLACES[place][1]) == pytest.approx(np.array([WEST, SOUTH, ACROSS, EAST]), abs=1e-6)
    geod = pyproj.Geod(ellps="WGS84")
    areas = [abs(geod.geometry_area_perimeter(lon_lat(box, place))[0]) for box in (WEST, ACROSS, EAST, SOUTH)]
    assert sorted(found["area_m2"]) == pytest.approx(sorted(areas), abs=0.02)


# Vector files from RFC 7946, whose longitudes end at 180


@pytest.mark.parametrize("place", PLACES)
def test_an_aoi_split_at_the_antimeridian_lands_on_the_scene(
    write_raster: WriteRaster, tmp_path: Path, place: str
) -> None:
    parts = split(lon_lat((5, 5, 235, 100), place))
    path = scene(write_raster, place)
    for name, outlines in (("one.geojson", [parts]), ("two.geojson", list(parts.geoms))):
        found = predicted(path, aoi=write_geojson(tmp_path / name, *outlines))
        assert bounds_px(found, PLACES[place][1]) == pytest.approx(np.array([WEST, ACROSS, EAST]), abs=1e-6)
    west_only = predicted(path, aoi=write_geojson(tmp_path / "west.geojson", parts.geoms[0]))
    assert bounds_px(west_only, PLACES[place][1])[0] == pytest.approx(WEST, abs=1e-6)
    assert EAST[0] not in bounds_px(west_only, PLACES[place][1]).round()


@pytest.mark.parametrize("place", PLACES)
def test_labels_split_at_the_antimeridian_are_whole_on_the_scene(
    write_raster: WriteRaster, tmp_path: Path, place: str
) -> None:
    outlines = [lon_lat(WEST, place), split(lon_lat(ACROSS, place)), lon_lat(EAST, place)]
    labels = write_geojson(tmp_path / "labels.geojson", *outlines)
    path = scene(write_raster, place)
    image = labelled_scene(path, labels, class_map=ClassMap(("target",)))
    # The cut follows the ground's longitudes, and adds two points that a straight edge in UTM misses by a hair.
    assert image.truth.boxes == pytest.approx(np.array([WEST, ACROSS, EAST]), abs=1e-4)
    assert image.truth.polygons is not None
    assert shapely.area(image.truth.polygons) == pytest.approx([1200, 1600, 1400], rel=1e-6)
    tile_scene(path, tmp_path / "chips", labels=labels, chip_size=400, overlap=0)
    rows = json.loads((tmp_path / "chips" / "annotations.json").read_text())["annotations"]
    assert [row["bbox"] for row in rows] == [
        pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.01) for x1, y1, x2, y2 in (WEST, ACROSS, EAST)
    ]


@pytest.mark.parametrize("boxes", [(WEST, ACROSS, EAST), (ACROSS,)])
@pytest.mark.parametrize("place", PLACES)
def test_evaluation_sees_the_same_objects_on_both_sides(
    write_raster: WriteRaster, tmp_path: Path, place: str, boxes: tuple[tuple[int, ...], ...]
) -> None:
    outlines = [lon_lat(box, place) for box in boxes]
    truth = write_geojson(
        tmp_path / "t.geojson", *(split(o) if o.bounds[2] > 180 > o.bounds[0] else o for o in outlines)
    )
    found = predicted(scene(write_raster, place))
    rows = [np.abs(bounds_px(found.iloc[[i]], PLACES[place][1])[0] - box).max() < 1 for box in boxes for i in range(4)]
    kept = found[np.array(rows).reshape(len(boxes), 4).any(axis=0)]
    kept.to_file(tmp_path / "p.gpkg")
    aoi = write_geojson(tmp_path / "aoi.geojson", split(lon_lat((5, 5, 235, 100), place)))
    report = evaluate_files(truth, tmp_path / "p.gpkg", aoi=aoi)
    assert report.counts["truths"] == len(boxes)
    assert (report.metrics["ap75"], report.metrics["f1"]) == (1, 1)


def test_the_frame_of_an_evaluation_is_where_a_split_object_is() -> None:
    halves = split(shapely.box(179.99, 0, 180.02, 0.01))
    frame = frame_for(gpd.GeoDataFrame(geometry=[halves], crs=4326))
    x, y = pyproj.Transformer.from_crs(4326, frame, always_xy=True).transform(180, 0)
    assert np.hypot(x, y) < 5000


# Where coordinates start again


@pytest.mark.parametrize(
    ("crs", "x", "turn"),
    [
        (4326, 180.0, 360.0),
        (4326, 12.0, 360.0),
        (3857, 2e7, TURN),
        (3395, 0.0, TURN),
        (6933, 1e7, None),
        (32633, 5e5, None),
        (3413, 0.0, None),
        (3035, 4e6, None),
    ],
)
def test_only_cylinders_start_again(crs: int, x: float, turn: float | None) -> None:
    found = turn_of(pyproj.CRS(crs), (x - 1, -1.0, x + 1, 1.0))
    if crs == 6933:  # equal-area: as long a turn along each parallel, on its own sphere
        turn = 2 * 17_367_530.445
    assert found == (None if turn is None else pytest.approx(turn, rel=1e-9))


def test_far_objects_and_empty_ones_stay() -> None:
    far, empty = shapely.box(10, 0, 11, 1), shapely.Polygon()
    near = shapely.box(-179.9, 0, -179.8, 1)
    moved = turned_to(np.array([far, empty, None, near], dtype=object), pyproj.CRS(4326), (179.0, 0.0, 181.0, 2.0))
    assert moved[0] == far
    assert moved[1].is_empty
    assert moved[3].bounds == pytest.approx((180.1, 0, 180.2, 1))
