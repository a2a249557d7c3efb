"""The geo protocol: what is left out and why, ranges of size, places of errors, and a slow second implementation."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.errors import InputError, OutputExistsError
from d2det_geo.metrics.ground import score_geo
from d2det_geo.pipeline.error_layer import COLOURS
from d2det_geo.pipeline.evaluate import evaluate_files
from d2det_geo.pipeline.manifest import SCHEMA
from d2det_geo.pipeline.scene_image import SceneImage

UTM = "EPSG:32635"
ORIGIN = np.array([500_000.0, 6_651_000.0])  # on the central meridian: m of the file are m on the ground
GSD = 0.5


def layer(path: Path, rows: list[tuple[float, ...]], crs: str = UTM, **columns: Any) -> Path:
    """Write boxes (x, y, width, height), m east and north of ORIGIN."""
    x, y, width, height = np.array(rows, np.float64).reshape(-1, 4).T
    shapes = shapely.transform(shapely.box(x, y, x + width, y + height), lambda points: points + ORIGIN)
    gpd.GeoDataFrame(columns, geometry=shapes, crs=UTM).to_crs(crs).to_file(path)
    return path


def scene(path: Path, valid: np.ndarray, **profile: Any) -> Path:
    """Write a scene whose upper left corner is 100 m north of ORIGIN; what is not valid is nodata."""
    height, width = valid.shape
    place = Affine(GSD, 0, ORIGIN[0], 0, -GSD, ORIGIN[1] + 100)
    options = {"count": 3, "dtype": "uint8", "nodata": 0, "crs": UTM, "transform": place, **profile}
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, **options) as file:
        file.write(np.where(valid, 90, 0).astype(np.uint8)[None].repeat(3, axis=0))
    return path


# Four truths: found, missed, found loosely (IoU 0.6), found below; and a detection of nothing.
TRUTH = [(10, 10, 10, 10), (30, 10, 10, 10), (50, 10, 10, 10), (70, 10, 10, 10)]
FOUND = [(10, 10, 10, 10), (50, 10, 10, 6), (70, 10, 10, 10), (10, 60, 10, 10)]
SCORES = [0.9, 0.8, 0.1, 0.7]


@pytest.fixture
def files(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", TRUTH, **{"class": ["roof"] * 4})
    return truth, layer(tmp_path / "found.gpkg", FOUND, **{"class": ["roof"] * 4, "score": SCORES})


def counts(report) -> tuple[int, ...]:
    return tuple(report.counts[key] for key in ("truths", "truths_ignored", "predictions", "predictions_ignored"))


# --- what is left out ----------------------------------------------------------------------------------------------


def test_areas_to_ignore(files, tmp_path):
    # Covers the missed one by 5/10, the one found loosely not, the detection of nothing by 6/10.
    areas = layer(tmp_path / "not.gpkg", [(34.9, 0, 10.1, 30), (0, 64, 90, 20)], "EPSG:4326")
    report = evaluate_files(*files, ignore_area=areas)
    assert counts(report) == (3, 1, 3, 1)
    assert report.metrics["ap50"] == 1.0
    less = layer(tmp_path / "less.gpkg", [(35.1, 0, 10, 30), (0, 65.1, 90, 20)])
    assert counts(evaluate_files(*files, ignore_area=less)) == (4, 0, 4, 0)


def test_nodata_and_outside_of_the_scene_are_ignored(files, tmp_path):
    # 40 x 60 m; rows from 100 m north down to 40; columns up to 75 m. Image from x = 34.5 on.
    valid = np.ones((200, 150), bool)
    valid[:, :69] = False
    image = scene(tmp_path / "scene.tif", valid)
    report = evaluate_files(*files, scene=image)
    # Left of 34.5: the first truth and its detection, the detection of nothing. The missed one is on it by 5.5/10.
    # The fourth is inside the scene by 5/10.
    assert counts(report) == (3, 1, 2, 2)
    assert report.metrics["recall"] == pytest.approx(2 / 3)
    valid[:, :71] = False  # 4.5/10
    assert counts(evaluate_files(*files, scene=scene(tmp_path / "less.tif", valid))) == (2, 2, 2, 2)


def test_the_scene_may_be_in_another_crs(files, tmp_path):
    valid = np.ones((200, 150), bool)
    valid[:, :69] = False
    image = scene(tmp_path / "scene.tif", valid)
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)  # straight here, on the central meridian
    (west, east), (north, south) = to_degrees.transform(*(ORIGIN[:, None] + [[0, 75], [100, 0]]))
    place = Affine((east - west) / 150, 0, west, 0, (south - north) / 200, north)
    turned = scene(tmp_path / "degrees.tif", valid, crs="EPSG:4326", transform=place)
    assert counts(evaluate_files(*files, scene=turned)) == counts(evaluate_files(*files, scene=image))


def test_a_scene_without_georeference_does_not_go_with_files_that_have_one(files, tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        image = scene(tmp_path / "plain.tif", np.ones((9, 9), bool), crs=None, transform=Affine.identity())
    with pytest.raises(InputError, match=r"plain.tif: has no georeference, and the files compared have one"):
        evaluate_files(*files, scene=image)


def test_a_large_scene_is_read_coarsely(tmp_path, monkeypatch):
    valid = np.zeros((400, 600), bool)
    valid[100:300, 200:500] = True
    path = scene(tmp_path / "scene.tif", valid)
    exact = SceneImage.read(path)
    monkeypatch.setattr("d2det_geo.pipeline.scene_image._CELLS", 400 * 600 / 16)
    monkeypatch.setattr("d2det_geo.pipeline.scene_image._STRIP_PX", 150 * 30)
    coarse = SceneImage.read(path)
    assert (exact.valid.shape, coarse.valid.shape) == ((400, 600), (100, 150))
    boxes = shapely.box(*np.array([[210, 110, 250, 140], [190, 110, 210, 140], [0, 0, 50, 50], [590, 0, 650, 40]]).T)
    for image in (exact, coarse):
        np.testing.assert_allclose(image.shares(boxes), [1, 0.5, 0, 0], atol=0.01)
    near = coarse.near_edge(np.array([[240.0, 140, 250, 150], [203, 140, 210, 150], [490, 150, 497, 160]]))
    assert near.tolist() == [False, True, True]
    plain = tmp_path / "plain.tif"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        scene(plain, valid, crs=None, transform=Affine.identity())
    np.testing.assert_allclose(SceneImage.read(plain).shares(boxes), [1, 0.5, 0, 0], atol=0.02)


def test_thin_objects_have_a_share_too(tmp_path):
    valid = np.ones((40, 40), bool)
    valid[:, 20:] = False
    image = SceneImage.read(scene(tmp_path / "scene.tif", valid))
    slanted = shapely.Polygon([(10, 10), (30, 33), (30, 33.0001), (10, 10.0001)])
    dot = shapely.box(19.4, 5, 19.5, 5.1)
    assert image.shares(np.array([slanted, dot], object)).tolist() == [0.5, 1.0]
    assert image.shares(np.zeros(0, object)).shape == (0,)


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_sizes_by_hand(tmp_path):
    # Truths of 100, 100 and 400 m2; detections: of nothing, 36 and 400 m2; of the first and the third, exact.
    truth = layer(tmp_path / "truth.gpkg", [(0, 0, 10, 10), (30, 0, 10, 10), (60, 0, 20, 20)])
    rows = [(0, 50, 6, 6), (0, 80, 20, 20), (0, 0, 10, 10), (60, 0, 20, 20)]
    found = layer(tmp_path / "found.gpkg", rows, score=[0.9, 0.85, 0.8, 0.7])
    report = evaluate_files(truth, found, sizes=(0, 50, 200))
    # Of 0 to 50 there is no truth. Of 50 to 200 the wrong ones are too small and too large to count: 51
    # recalls at 1. Of 200 and more the large one is wrong, and the first.
    assert np.isnan(report.metrics["ap_0-50"])
    assert report.metrics["ap_50-200"] == pytest.approx(51 / 101)
    assert report.metrics["ap_200-"] == 0.5
    assert report.per_class["object"]["ap_200-"] == 0.5
    assert [report.counts[f"truths_{name}"] for name in ("0-50", "50-200", "200-")] == [0, 2, 1]
    document = report.to_json()
    assert document["metrics"]["ap_0-50"] is None
    assert document["settings"]["area_ranges"]["200-"] == [200.0, "inf"]


def test_sizes_through_the_command(files):
    arguments = ["evaluate", "--truth", str(files[0]), "--pred", str(files[1]), "--size-bins", "0,50,200"]
    shown = CliRunner().invoke(app, [*arguments, "--fail-under", "ap_50-200=0.9"])
    assert shown.exit_code == 6
    assert "ap_0-50  ap_50-200  ap_200-" in shown.stdout


# --- scores by other names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["confidence", "probability"])
def test_scores_of_other_tools(files, tmp_path, name):
    other = layer(tmp_path / "other.geojson", FOUND, "EPSG:4326", **{name: SCORES, "note": ["x"] * 4})
    report = evaluate_files(files[0], other)
    assert report.metrics == evaluate_files(*files).metrics
    assert f"{other}: has no attribute 'score'; '{name}' is taken for it" in report.notices
    both = layer(tmp_path / "both.gpkg", FOUND, score=SCORES, confidence=[0.5] * 4)
    assert evaluate_files(files[0], both).notices == ()
    wrong = layer(tmp_path / "wrong.gpkg", FOUND, **{name: [0.1, None, 0.2, 0.3]})
    with pytest.raises(InputError, match=rf"wrong.gpkg: feature 1 has no finite '{name}'"):
        evaluate_files(files[0], wrong)


# --- the layer of errors -------------------------------------------------------------------------------------------


def errors(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_file(path, layer=path.stem)


def test_the_layer_of_errors(files, tmp_path):
    out = tmp_path / "errors.gpkg"
    areas = layer(tmp_path / "not.gpkg", [(25, 0, 20, 30)])
    report = evaluate_files(*files, errors=out, ignore_area=areas, score=0.5)
    rows = errors(out)
    assert rows.crs.to_epsg() == 32635
    judged = [tuple(row) for row in rows[["side", "verdict", "reason", "score"]].fillna(-1).itertuples(index=False)]
    assert judged == [
        ("prediction", "TP", "", 0.9),
        ("prediction", "TP", "", 0.8),
        ("prediction", "FP", "background", 0.7),
        ("truth", "ignored", "in an area to ignore", -1),
        ("truth", "FN", "score too low", -1),
    ]
    np.testing.assert_allclose(rows["iou"], [1, 0.6, 0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(rows["area_m2"], [100, 60, 100, 100, 100], rtol=2e-3)  # UTM's scale is 0.9996
    expected = shapely.box(10, 10, 20, 20)
    moved = shapely.transform(rows.geometry[0], lambda points: points - ORIGIN)
    assert shapely.area(shapely.symmetric_difference(moved, expected)) < 0.02  # 0.1 mm off
    assert f"{out}: 1 predictions below the score of 0.5 are not in it" in report.notices
    assert report.metrics["precision"] == pytest.approx(2 / 3)
    assert report.metrics["recall"] == pytest.approx(2 / 3)


def test_the_layer_of_errors_is_styled_and_the_same_every_time(files, tmp_path):
    outs = [tmp_path / "one" / "errors.gpkg", tmp_path / "two" / "errors.gpkg"]
    for out in outs:
        out.parent.mkdir()
        evaluate_files(*files, errors=out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with closing(sqlite3.connect(outs[0])) as database:
        ((style, default),) = database.execute("SELECT styleQML, useAsDefault FROM layer_styles")
    assert default
    assert 'attr="verdict"' in style
    for name, colour in COLOURS.items():
        assert f'value="{name}"' in style
        assert ",".join(map(str, colour)) in style
    with pytest.raises(OutputExistsError, match=r"errors.gpkg: exists already"):
        evaluate_files(*files, errors=outs[0])
    evaluate_files(*files, errors=outs[0], overwrite=True)


def test_causes_of_errors(tmp_path):
    truth = layer(
        tmp_path / "truth.gpkg", [(0, 0, 10, 10), (30, 0, 10, 10), (60, 0, 9, 9)], **{"class": ["a", "b", "a"]}
    )
    found = [(0, 0, 10, 10), (0, 0, 10, 9), (30, 0, 10, 10), (60, 0, 9, 3)]
    columns = {"class": ["a", "a", "a", "a"], "score": [0.9, 0.8, 0.7, 0.6]}
    evaluate_files(truth, layer(tmp_path / "found.gpkg", found, **columns), errors=tmp_path / "e.gpkg", score=0.5)
    rows = errors(tmp_path / "e.gpkg")
    assert rows["reason"].tolist() == ["", "duplicate", "other class", "badly placed", "other class", "badly placed"]
    assert rows["verdict"].tolist() == ["TP", "FP", "FP", "FP", "FN", "FN"]
    assert rows["class"].tolist() == ["a", "a", "a", "a", "b", "a"]


def test_a_layer_of_nothing_is_written(tmp_path):
    for name in ("truth", "found"):
        (tmp_path / f"{name}.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    evaluate_files(tmp_path / "truth.geojson", tmp_path / "found.geojson", errors=tmp_path / "e.gpkg")
    assert len(errors(tmp_path / "e.gpkg")) == 0


def test_classes_that_never_meet_are_errors_in_the_layer(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", [(0, 0, 10, 10)], **{"class": ["roof"]})
    found = layer(tmp_path / "found.gpkg", [(0, 0, 10, 10)], **{"class": ["building"], "score": [0.9]})
    evaluate_files(truth, found, errors=tmp_path / "e.gpkg")
    rows = errors(tmp_path / "e.gpkg")
    assert rows[["verdict", "reason"]].to_numpy().tolist() == [["FP", "class not in the truth"], ["FN", "other class"]]


def test_the_iou_of_a_hit_is_that_with_its_own_object(tmp_path):
    # The second detection lies best on the first truth, which is taken; it finds the second.
    truth = layer(tmp_path / "truth.gpkg", [(0, 0, 10, 10), (0, 3, 10, 10)], **{"class": ["a", "a"]})
    found = layer(tmp_path / "found.gpkg", [(0, 0, 10, 10), (0, 1.25, 10, 10)], score=[0.9, 0.8])
    evaluate_files(truth, found, errors=tmp_path / "e.gpkg")
    rows = errors(tmp_path / "e.gpkg")
    assert rows["verdict"].tolist() == ["TP", "TP"]
    np.testing.assert_allclose(rows["iou"], [1, 8.25 / 11.75], atol=1e-4)


def test_regions_and_what_lies_on_ignored_objects(tmp_path):
    truth = layer(
        tmp_path / "truth.gpkg", [(0, 0, 10, 10), (50, 0, 20, 20), (0, 40, 10, 10)], **{"class": ["a", "unclear", "a"]}
    )
    found = layer(tmp_path / "found.gpkg", [(52, 2, 9, 9), (0, 40, 10, 10)], score=[0.9, 0.8])
    aoi = layer(tmp_path / "aoi.gpkg", [(-5, -5, 100, 40)])
    # Inside the AOI by less than half, and it finds an object that is outside, too.
    report = evaluate_files(truth, found, ignore=("unclear",), aoi=aoi, errors=tmp_path / "e.gpkg")
    assert counts(report) == (1, 1, 0, 2)
    rows = errors(tmp_path / "e.gpkg")
    assert rows[["side", "class", "verdict", "reason"]].to_numpy().tolist() == [
        ["prediction", "a", "ignored", "in an ignore region"],
        ["prediction", "a", "ignored", "outside the area of interest"],
        ["truth", "a", "FN", "nothing there"],
        ["truth", "ignore region", "ignored", "ignore region"],
        ["truth", "a", "ignored", "outside the area of interest"],
    ]


def manifest(found: Path, **changes: Any) -> None:
    """Say that a scene of 200 x 200 px at 0.5 m was predicted in chips of 64 grid px that share 32, at 1 m/px."""
    content = {
        "schema": SCHEMA,
        "scene": {"path": "/data/scene.tif", "width": 200, "height": 200},
        "georeference": {"crs": UTM, "transform": [GSD, 0, ORIGIN[0], 0, -GSD, ORIGIN[1] + 100]},
        "grid": {"width": 100, "height": 100, "chip_size": 64, "overlap": 32},
        "counts": {"capped_chips": 0},
        **changes,
    }
    found.with_name(found.name + ".manifest.json").write_text(json.dumps(content))


def test_errors_near_seams_and_edges(tmp_path):
    # Chips start at 0, 32, 36 grid px and end at 64, 96, 100: seams at 32, 36, 64, 96 m from the left and the top,
    # that is 68, 64, 36, 4 m north of ORIGIN. Near is up to 4 grid px, here 4 m.
    rows = [
        (20, 10, 6, 6),
        (20, 10.1, 7.9, 6),
        (20, 10, 8.1, 6),
        (10, 45, 6, 6),
        (10, 75, 6, 26),
        (93, 10, 8, 8),
        (70, 90, 6, 6.1),
    ]
    truth = layer(tmp_path / "truth.gpkg", [(20, 45, 6, 6)])
    found = layer(tmp_path / "found.gpkg", rows, score=[0.5] * len(rows))
    manifest(found)
    evaluate_files(truth, found, errors=tmp_path / "e.gpkg")
    near = errors(tmp_path / "e.gpkg")["near"].fillna("").tolist()
    assert near == ["", "", "seam", "", "edge", "edge", "edge", ""]


def test_capped_chips_and_odd_manifests_are_told(files):
    manifest(files[1], counts={"capped_chips": 3})
    assert any("can tell in 3 chips; some that are missed" in notice for notice in evaluate_files(*files).notices)
    manifest(files[1], grid={"width": 0})
    (notice,) = evaluate_files(*files).notices
    assert notice.endswith(
        "found.gpkg.manifest.json: does not say how the scene was cut, so no error is blamed on seams"
    )


def test_the_page_of_a_scene(files, tmp_path):
    image = scene(tmp_path / "scene.tif", np.ones((200, 200), bool))
    manifest(files[1])
    evaluate_files(*files, scene=image, page=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "seam between chips" in text
    assert "edge of the image" in text


# --- a slow second implementation ----------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """Small triangles and squares on a lattice, so that exact and equal overlaps are common."""

    def side(most):
        count = draw(st.integers(0, most))
        places = [(draw(st.integers(0, 2)), draw(st.integers(0, 1))) for _ in range(count)]
        kinds = [draw(st.sampled_from(["square", "triangle", "wide"])) for _ in range(count)]
        return [outline(kind, 1.0 * x, 5.0 * y) for kind, (x, y) in zip(kinds, places, strict=True)]

    truths, found = side(7), side(9)
    labels = [draw(st.integers(-1, 1)) for _ in truths], [draw(st.integers(0, 1)) for _ in found]
    ignored = [draw(st.booleans()) and draw(st.booleans()) for _ in truths]
    scores = [draw(st.sampled_from([0.2, 0.4, 0.4, 0.8])) for _ in found]
    neutral = [draw(st.booleans()) and draw(st.booleans()) for _ in found]
    return truths, labels[0], ignored, found, labels[1], scores, neutral


def outline(kind: str, x: float, y: float) -> shapely.Polygon:
    corners = {
        "square": [(0, 0), (4, 0), (4, 4), (0, 4)],
        "triangle": [(0, 0), (4, 0), (0, 4)],
        "wide": [(0, 0), (5, 0), (5, 4), (0, 4)],
    }[kind]
    return shapely.Polygon([(x + a, y + b) for a, b in corners])


def slow_match(case, threshold: float) -> tuple[list[int], list[bool]]:
    """Follow COCO's rule object by object."""
    truths, labels, ignored, found, found_labels, scores, neutral = case
    regions = shapely.union_all([shape for shape, label in zip(truths, labels, strict=True) if label == REGION])
    took, aside, taken = [-1] * len(found), [False] * len(found), set()
    for p in sorted(range(len(found)), key=lambda row: -scores[row]):
        best, best_rank = -1, (False, threshold, -1)
        for t, shape in enumerate(truths):
            if labels[t] != found_labels[p] or t in taken:
                continue
            shared = shape.intersection(found[p]).area
            iou = shared / (shape.area + found[p].area - shared)
            rank = (not ignored[t], iou, t)
            if iou >= threshold and (best < 0 or rank > best_rank):
                best, best_rank = t, rank
        took[p] = best
        inside = regions.intersection(found[p]).area / found[p].area >= 0.5
        aside[p] = ignored[best] if best >= 0 else neutral[p] or inside
        taken.add(best)
    return took, aside


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_matching_equals_a_slow_one(case):
    truths, labels, ignored, found, found_labels, scores, neutral = case
    images = Images(np.array(["a"], object), np.ones(1, np.int64), np.zeros((1, 2), np.int64))

    def annotations(shapes, labels, **more):
        outlines = np.array([*shapes, None], object)[:-1]
        boxes = shapely.bounds(outlines).reshape(-1, 4)
        rows = np.zeros(len(shapes), np.int64)
        return Annotations(images, ("a", "b"), rows, boxes, np.array(labels, np.int64), outlines=outlines, **more)

    flags = np.array(ignored, bool) | (np.array(labels, np.int64) == REGION)
    truth = annotations(truths, labels, ignored=flags)
    predictions = annotations(found, found_labels, ignored=np.zeros(len(found), bool), scores=np.array(scores, float))
    verdicts = score_geo(truth, predictions, neutral=np.array(neutral, bool)).verdicts
    for row, threshold in enumerate(verdicts.thresholds):
        took, aside = slow_match(case, threshold)
        assert verdicts.found[row].tolist() == took
        assert verdicts.ignored[row].tolist() == aside


# --- intervals -----------------------------------------------------------------------------------------------------


def test_intervals_are_of_blocks_of_ground(tmp_path):
    # Twelve places 100 m apart, of which every third is found: each block holds one truth, and maybe its detection,
    # which lies beyond the border of the block by some metres.
    places = [(100.0 * number + 1, 1, 10, 10) for number in range(12)]
    truth = layer(tmp_path / "truth.gpkg", [*places, (9000, 0, 10, 10)])
    shifted = [(x - 2, y, width, height) for x, y, width, height in places[::3]]
    found = layer(tmp_path / "found.gpkg", shifted, score=[0.9] * 4)
    aoi = layer(tmp_path / "aoi.gpkg", [(-50, -50, 1300, 100)])
    options = {"aoi": aoi, "ci": 90, "block": 100.0}
    report = evaluate_files(truth, found, **options)
    assert report.metrics["recall"] == pytest.approx(1 / 3)
    intervals = report.intervals
    assert (intervals["level"], intervals["unit"], intervals["block"]) == (90, "block", 100)
    # The frame is centred on the objects, so its blocks are no multiples of 100 from ORIGIN; each object has its own.
    assert intervals["units"] == 12
    low, high = intervals["metrics"]["recall"]
    # Of 12 draws a third hits: 0.05 and 0.95 quantiles of a binomial of 12 and 1/3 are 1 and 7, or nearly.
    assert (low, high) == (pytest.approx(1 / 12, abs=1 / 12), pytest.approx(7 / 12, abs=1 / 12))
    assert intervals["metrics"]["precision"] == [1.0, 1.0]
    assert evaluate_files(truth, found, **options).intervals == intervals
    wider = evaluate_files(truth, found, **{**options, "block": 600.0})
    assert wider.intervals["units"] <= 3
    assert any("blocks only: they say little" in notice for notice in wider.notices)
    default = evaluate_files(truth, found, aoi=aoi, ci=95)
    assert default.intervals["block"] == pytest.approx(np.sqrt(1110 * 10) / 10, rel=0.05)


def test_intervals_without_truth_are_undefined(files, tmp_path):
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    for pair in ((empty, files[1]), (files[0], empty), (empty, empty)):
        document = evaluate_files(*pair, ci=95).to_json()
        json.dumps(document, allow_nan=False)
    assert set(map(tuple, document["intervals"]["metrics"].values())) == {(None, None)}
