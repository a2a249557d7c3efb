import json
import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from d2det_geo.errors import InputError, UsageError
from d2det_geo.pipeline.evaluate import evaluate_files
from d2det_geo.vector.writers import write_objects

UTM = "EPSG:32635"
ORIGIN = np.array([500_000.0, 6_651_000.0])  # on the central meridian (27 E), close to 60 N


def layer(path: Path, rows, crs=UTM, **columns) -> Path:
    """Write boxes (x, y, width, height), m from ORIGIN, reprojected to ``crs``."""
    x, y, width, height = np.array(rows, np.float64).reshape(-1, 4).T
    shapes = shapely.transform(shapely.box(x, y, x + width, y + height), lambda points: points + ORIGIN)
    gpd.GeoDataFrame(columns, geometry=shapes, crs=UTM).to_crs(crs).to_file(path)
    return path


TRUTH = [(0, 0, 12, 8), (40, 0, 12, 8), (80, 0, 10, 10)]
# Right; nowhere near; right up to IoU 9.3 / 12 = 0.775, which is not within rounding of a threshold.
FOUND = [(0, 0, 12, 8), (200, 90, 12, 8), (40, 0, 9.3, 8)]
SCORES = [0.9, 0.8, 0.7]


@pytest.fixture
def files(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", TRUTH, **{"class": ["building"] * 3})
    return truth, layer(tmp_path / "found.gpkg", FOUND, **{"class": ["building"] * 3, "score": SCORES})


def test_metrics_by_hand(files, tmp_path):
    report = evaluate_files(*files)
    # Two of three found, ranked right, wrong, right: 34 recalls (0 .. 0.33) at 1, 33 (0.34 .. 0.66) at 2/3.
    assert report.metrics["ap50"] == pytest.approx((34 + 33 * 2 / 3) / 101, abs=1e-12)
    assert report.metrics["f1"] == pytest.approx(2 / 3)
    assert report.metrics["score_threshold"] == 0.7
    assert report.counts == {
        "images": 1,
        "truths": 3,
        "truths_ignored": 0,
        "predictions": 3,
        "predictions_ignored": 0,
        "predictions_capped": 0,
        "ignore_regions": 0,
    }
    assert (report.protocol, report.iou, report.notices) == ("geo", "segm", ())
    at = evaluate_files(*files, score=0.85)
    assert (at.metrics["precision"], at.metrics["recall"], at.metrics["f1"]) == (1.0, 1 / 3, 0.5)
    assert at.metrics["ap"] == report.metrics["ap"]


def test_json_has_the_keys_of_the_contract(files):
    document = evaluate_files(*files).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema_version"] == 2
    keys = ["ap", "ap50", "ap75", "precision", "recall", "f1", "score_threshold"]
    assert list(document["metrics"]) == keys
    assert document["per_class"]["building"] == {
        **document["metrics"],
        "truths": 3,
        "truths_ignored": 0,
        "predictions": 3,
        "predictions_ignored": 0,
    }


@pytest.mark.parametrize(
    ("crs", "suffix"),
    [("EPSG:4326", ".shp"), ("EPSG:3857", ".gpkg"), ("EPSG:32636", ".shp"), ("EPSG:3301", ".geojson")],
)
def test_the_crs_of_the_files_changes_nothing(files, tmp_path, crs, suffix):
    truth = layer(tmp_path / f"another{suffix}", TRUTH, "EPSG:4326")
    found = layer(tmp_path / f"found{suffix}", FOUND, crs, score=SCORES)
    assert evaluate_files(truth, found).metrics == evaluate_files(*files).metrics
    assert evaluate_files(truth, found, iou="bbox").metrics == evaluate_files(*files, iou="bbox").metrics


def test_geojson_is_read_as_written(tmp_path):
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)

    def write(name, rows, **properties):
        features = []
        for x, y, width, height in rows:
            ring = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
            ring = [to_degrees.transform(*(ORIGIN + corner)) for corner in ring]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        path = tmp_path / name
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return path

    truth, found = write("truth.geojson", TRUTH), write("found.geojson", TRUTH[:2], **{"class": "roof", "score": 0.6})
    report = evaluate_files(truth, found)
    assert report.metrics["ap"] == pytest.approx(67 / 101)  # recalls 0 .. 0.66
    assert list(report.per_class) == ["roof"]
    empty = write("none.geojson", [])
    nothing = evaluate_files(truth, empty)
    assert (nothing.metrics["ap"], nothing.metrics["recall"]) == (0, 0)
    assert nothing.to_json()["metrics"]["precision"] is None
    assert any("precision is undefined" in notice for notice in nothing.notices)
    undefined = evaluate_files(empty, found)
    assert set(undefined.to_json()["metrics"].values()) == {None}
    assert any("the truth has no objects: the metrics are undefined" in notice for notice in undefined.notices)
    assert evaluate_files(empty, empty).notices == ("the truth has no objects: the metrics are undefined",)


def test_areas_are_those_of_the_ground_at_high_latitudes(tmp_path):
    # Between the parallels 40 and 70 N the sphere's area goes with the sine: 40 to 54 N holds 56 % of it,
    # while EPSG:3857 would draw it as 37 %, no match at any threshold.
    def zone(name, north):
        shape = shapely.segmentize(shapely.box(20, 40, 22, north), 0.05)
        frame = gpd.GeoDataFrame({"score": [0.9]}, geometry=[shape], crs="EPSG:4326")
        frame.to_crs("EPSG:3857").to_file(tmp_path / name)
        return tmp_path / name

    report = evaluate_files(zone("truth.gpkg", 70), zone("found.gpkg", 54))
    assert report.metrics["ap50"] == 1.0
    assert report.metrics["ap"] == pytest.approx(0.2)  # at IoU 0.50 and 0.55


def test_boxes_are_north_up_on_the_ground(tmp_path):
    diamond = shapely.Polygon([(0, -20), (20, 0), (0, 20), (-20, 0)])  # half of its box
    for name, shape in (("diamond", diamond), ("square", diamond.envelope)):
        placed = shapely.transform(shape, lambda points: points + ORIGIN)
        frame = gpd.GeoDataFrame({"score": [0.9]}, geometry=[placed], crs=UTM).to_crs("EPSG:4326")
        frame.to_file(tmp_path / f"{name}.gpkg")
    pair = tmp_path / "diamond.gpkg", tmp_path / "square.gpkg"
    assert evaluate_files(*pair).metrics["ap75"] == 0
    assert evaluate_files(*pair, iou="bbox").metrics["ap75"] == 1


def test_the_aoi_rule_by_hand(files, tmp_path):
    aoi = layer(tmp_path / "aoi.gpkg", [(-5, -5, 50.1, 50)], "EPSG:4326")
    # The AOI ends at x = 45.1 m. Truth: the first whole, the second 5.1/12 inside (ignored), the third outside.
    # Found: right; far outside (ignored); 5.1/9.3 inside but on an ignored truth (ignored).
    report = evaluate_files(*files, aoi=aoi)
    assert (report.metrics["ap"], report.metrics["precision"], report.metrics["recall"]) == (1.0, 1.0, 1.0)
    assert [report.counts[key] for key in ("truths", "truths_ignored", "predictions", "predictions_ignored")] == [
        1,
        2,
        1,
        2,
    ]
    wider = layer(tmp_path / "wider.gpkg", [(-5, -5, 51.1, 50)], UTM)  # the second is 6.1/12 inside: it counts whole
    report = evaluate_files(*files, aoi=wider)
    assert (report.counts["truths"], report.metrics["recall"], report.metrics["ap75"]) == (2, 1.0, 1.0)
    nowhere = layer(tmp_path / "nowhere.gpkg", [(900, 900, 5, 5)])
    report = evaluate_files(*files, aoi=nowhere)
    assert report.to_json()["metrics"]["recall"] is None
    assert "all 3 objects of the truth are ignored: the metrics are undefined" in report.notices


def test_ignore_classes_are_regions_for_every_class(tmp_path):
    truth = layer(
        tmp_path / "truth.gpkg",
        [*TRUTH, (190, 80, 15, 40), (205, 80, 3, 40)],
        kind=["house", "house", "ruin", "unclear", "unclear"],
    )
    found = layer(tmp_path / "found.gpkg", FOUND, **{"class": ["house"] * 3, "score": SCORES})
    options = {"class_field": "kind", "class_map": {"ruin": ""}}
    # The wrong one, 200 to 212 m, lies by 8/12 in the two regions together, and by less than half in each.
    ignoring = evaluate_files(truth, found, **options, ignore=("unclear",))
    assert (ignoring.metrics["ap50"], ignoring.metrics["precision"]) == (1.0, 1.0)
    assert ignoring.counts == {
        "images": 1,
        "truths": 2,
        "truths_ignored": 0,
        "predictions": 2,
        "predictions_ignored": 1,
        "predictions_capped": 0,
        "ignore_regions": 2,
    }
    assert list(ignoring.per_class) == ["house"]
    counting = evaluate_files(truth, found, **options)
    assert counting.metrics["ap50"] < 0.6


def test_classes_are_merged_by_name(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", TRUTH, **{"class": ["car", "truck", "tree"]})
    found = layer(tmp_path / "found.gpkg", TRUTH, **{"class": ["truck", "car", "boat"], "score": SCORES})
    assert evaluate_files(truth, found).metrics["ap"] == 0
    report = evaluate_files(truth, found, class_map={"car": "vehicle", "truck": "vehicle", "tree": ""})
    assert (report.metrics["ap"], list(report.per_class)) == (1.0, ["boat", "vehicle"])
    assert report.per_class["boat"]["predictions"] == 1
    assert math.isnan(report.per_class["boat"]["ap"])
    assert any("no objects of class boat" in notice for notice in report.notices)
    typo = evaluate_files(truth, found, class_map={"cra": "vehicle"}, ignore=("wood",))
    assert "class rules name cra, wood, which neither file has" in typo.notices


def test_a_file_without_classes_takes_the_only_one(files, tmp_path):
    plain = layer(tmp_path / "plain.gpkg", TRUTH)
    assert list(evaluate_files(plain, files[1]).per_class) == ["building"]
    report = evaluate_files(files[0], plain)
    assert (report.metrics["ap"], report.metrics["score_threshold"]) == (1.0, 1.0)
    assert [notice for notice in report.notices if notice.endswith("every prediction scores 1.0")]
    assert list(evaluate_files(plain, plain).per_class) == ["object"]
    several = layer(tmp_path / "several.gpkg", TRUTH, **{"class": ["car", "truck", "tree"]})
    for pair in ((plain, several), (several, plain)):
        with pytest.raises(
            InputError, match=r"plain.gpkg: has no attribute 'class', nor any other, to tell car, tree, truck apart"
        ):
            evaluate_files(*pair)
    merged = evaluate_files(plain, several, class_map=dict.fromkeys(("car", "truck", "tree"), "thing"))
    assert list(merged.per_class) == ["thing"]


def test_predictions_elsewhere_are_pointed_out(files, tmp_path):
    far = layer(tmp_path / "far.gpkg", [(5000, 0, 12, 8)], score=[0.9])
    report = evaluate_files(files[0], far)
    assert report.metrics["recall"] == 0
    assert [notice for notice in report.notices if "do not overlap anywhere" in notice]


def test_invalid_polygons_are_repaired_and_counted(files, tmp_path):
    x, y = ORIGIN
    bow_tie = shapely.Polygon([(x, y), (x + 12, y + 8), (x + 12, y), (x, y + 8)])
    gpd.GeoDataFrame({"score": [0.9]}, geometry=[bow_tie], crs=UTM).to_file(tmp_path / "bow.gpkg")
    report = evaluate_files(files[0], tmp_path / "bow.gpkg")
    assert report.counts["predictions"] == 1
    assert [notice for notice in report.notices if notice.endswith("bow.gpkg: 1 invalid polygons repaired")]


def test_pixel_coordinates_are_compared_as_they_are(tmp_path):
    for name in ("truth.gpkg", "found.gpkg"):
        frame = gpd.GeoDataFrame({"score": [0.9]}, geometry=[shapely.box(1000, 2000, 1020, 2030)])
        with pytest.warns(UserWarning, match="crs"):
            frame.to_file(tmp_path / name)
    report = evaluate_files(tmp_path / "truth.gpkg", tmp_path / "found.gpkg")
    assert report.metrics["ap"] == 1.0
    assert report.notices == ("neither file has a CRS: compared in their own coordinates",)
    with pytest.raises(InputError, match=r"placed.gpkg: is in WGS 84 .*, and what it goes with has no georeference"):
        evaluate_files(tmp_path / "truth.gpkg", layer(tmp_path / "placed.gpkg", FOUND))


def test_whether_geojson_is_in_pixels_shows_in_the_pair(tmp_path):
    far, near = shapely.box(1000, 2000, 1020, 2030), shapely.box(10, 20, 30, 50)
    for name, shapes in (("far", [near, far]), ("near", [near])):
        frame = gpd.GeoDataFrame({"class": "roof", "score": 0.9}, geometry=shapes, index=range(len(shapes)))
        write_objects(frame, tmp_path / f"{name}.geojson", overwrite=False)
    (tmp_path / "aoi.geojson").write_text(json.dumps(shapely.geometry.mapping(shapely.box(0, 0, 80, 80))))
    far, near = tmp_path / "far.geojson", tmp_path / "near.geojson"
    for pair, recall, precision in (((far, near), 0.5, 1.0), ((near, far), 1.0, 0.5)):
        report = evaluate_files(*pair)
        assert (report.metrics["recall"], report.metrics["precision"]) == (recall, precision)
        assert [notice for notice in report.notices if notice.startswith(f"{near}: may be longitude")]
        limited = evaluate_files(*pair, aoi=tmp_path / "aoi.geojson")
        assert limited.metrics["f1"] == 1.0
        assert [notice for notice in limited.notices if notice.startswith(f"{tmp_path / 'aoi.geojson'}: may be")]
    with pytest.raises(InputError, match=r"aoi.gpkg: is in WGS 84 .* has no georeference"):
        evaluate_files(far, near, aoi=layer(tmp_path / "aoi.gpkg", TRUTH))


def test_an_aoi_without_crs_has_no_place_among_files_with_one(files, tmp_path):
    aoi = layer(tmp_path / "aoi.shp", TRUTH)
    aoi.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match=r"aoi.shp: has no CRS, unlike the files compared"):
        evaluate_files(*files, aoi=aoi)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score": [0.9, None, 0.7]}, "feature 1 has no finite 'score'"),
        ({"score": ["high", "low", "low"]}, "'score' is not a number"),
        ({"class": ["a", "b", None]}, "feature 2 has no 'class'"),
        ({"class": ["a", "", "c"]}, "feature 1 has no 'class'"),
    ],
)
def test_bad_attributes_are_named(files, tmp_path, columns, message):
    bad = layer(tmp_path / "bad.gpkg", FOUND, **columns)
    with pytest.raises(InputError, match=rf"bad.gpkg: .*{message}"):
        evaluate_files(files[0], bad)


def test_a_named_class_field_must_exist(files):
    with pytest.raises(
        InputError, match=r"truth.gpkg: has no attribute 'kind', only class; name another with --class-field"
    ):
        evaluate_files(*files, class_field="kind")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "map"}, "--protocol map: is unknown; choose one of coco, dota-task1, .*, geo, .*, voc"),
        ({"iou": "mask"}, "--iou mask: protocol geo compares by segm or bbox"),
        ({"protocol": "uavdt", "iou": "segm"}, "protocol uavdt compares by bbox"),
        ({"score": math.nan}, "--score nan: give a finite number"),
        ({"protocol": "coco", "aoi": Path("a.geojson")}, "--aoi needs protocol geo"),
        ({"protocol": "coco", "max_dets": (1.5, 10)}, "--max-dets 1.5,10: give rising numbers"),
        ({"protocol": "coco", "max_dets": (math.nan,)}, "--max-dets nan: give rising numbers"),
        ({"protocol": "coco", "sizes": (0, 50)}, "--size-bins needs protocol geo"),
    ],
)
def test_options_that_make_no_sense(files, options, message):
    with pytest.raises(UsageError, match=message):
        evaluate_files(*files, **options)


BAD_FILES = {
    "missing.json": None,
    "empty.json": b"",
    "cut.json": b'{"images": [{"id": 1}, ',
    "binary.json": bytes(range(256)),
    "deep.json": b"[" * 100_000,
    "other.json": b'{"key": 7}',
}


@pytest.mark.parametrize("protocol", ["geo", "coco"])
@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("role", ["truth", "pred"])
def test_bad_files_are_one_line(files, tmp_path, protocol, name, role):
    bad = tmp_path / name
    if BAD_FILES[name] is not None:
        bad.write_bytes(BAD_FILES[name])
    good = {"truth": files[0], "pred": files[1]} if protocol == "geo" else coco_files(tmp_path)
    with pytest.raises(InputError) as caught:
        evaluate_files(**(good | {role: bad}), protocol=protocol, iou="bbox")
    assert str(caught.value).startswith(f"{bad}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"is a folder|Is a directory"):
        evaluate_files(**(good | {role: tmp_path}), protocol=protocol, iou="bbox")


def coco_files(folder: Path) -> dict[str, Path]:
    boxes = [[0, 0, 40, 40], [200, 0, 40, 40]]
    truth = {
        "images": [{"id": 5, "file_name": "a.png", "height": 300, "width": 400}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "truck"}],
        "annotations": [
            {"id": index, "image_id": 5, "category_id": 1 + index, "bbox": box} for index, box in enumerate(boxes)
        ],
    }
    results = [
        {"image_id": 5, "category_id": 2, "bbox": box, "score": 0.5 + index / 4} for index, box in enumerate(boxes)
    ]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    return {"truth": folder / "truth.json", "pred": folder / "results.json"}


def test_coco_end_to_end(tmp_path):
    files = coco_files(tmp_path)
    report = evaluate_files(**files, protocol="coco", iou="bbox")
    scores = (report.metrics["ap"], report.per_class["truck"]["ap"], report.per_class["car"]["ap"])
    assert scores == pytest.approx((0.5, 1.0, 0.0), abs=1e-12)
    assert (report.metrics["precision"], report.metrics["recall"], report.metrics["score_threshold"]) == (
        1.0,
        0.5,
        0.75,
    )
    merged = evaluate_files(**files, protocol="coco", iou="bbox", class_map={"car": "vehicle", "truck": "vehicle"})
    assert merged.metrics["ap"] == pytest.approx(1.0)
    dropped = evaluate_files(**files, protocol="coco", iou="bbox", class_map={"car": "", "van": ""})
    assert (dropped.counts["truths"], dropped.notices) == (1, ("class rules name van, which neither file has",))
    ignoring = evaluate_files(**files, protocol="coco", iou="bbox", ignore=["car"])
    assert (ignoring.metrics["ap"], ignoring.counts["ignore_regions"]) == (pytest.approx(1.0), 1)
    assert ignoring.counts["predictions_ignored"] == 1
    with pytest.raises(
        InputError, match=r"truth.json: object 0 \(of image a.png\) has a box and no outline; .* --iou bbox"
    ):
        evaluate_files(**files, protocol="coco")
