"""COCO JSON out, read back by pycocotools."""

import json

import numpy as np
import pytest
import shapely
from pycocotools import mask
from pycocotools.coco import COCO
from shapely import MultiPolygon, Polygon, box

from d2det_geo.vector import coco as writer
from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.sinks import open_sink
from tests.layers import CLASSES, features, layer


def written(folder, shapes, width=60, height=50):
    shapes = np.array(shapes, dtype=object)
    columns = {"class": np.full(len(shapes), "a", dtype=object), "score": np.linspace(0, 1, len(shapes))}
    of = Layer(None, "s.tif", width, height, ("b", "a"), {"class": str, "score": float})
    with open_sink(folder / "out.coco.json", of) as sink:
        sink.write(Features(shapes, shapes, columns))
    return folder / "out.coco.json", sink


def test_pycocotools_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_ROWS", 7)
    some = features(40)
    with open_sink(tmp_path / "out.coco.json", layer()) as sink:
        sink.write(some)
    found = COCO(tmp_path / "out.coco.json")
    assert found.loadImgs(1) == [{"id": 1, "file_name": "scène 1.tif", "width": 4000, "height": 3000}]
    assert [row["name"] for row in found.loadCats(found.getCatIds())] == list(CLASSES)
    rows = found.loadAnns(sorted(found.getAnnIds()))
    assert [row["id"] for row in rows] == list(range(1, 41))
    assert [CLASSES[row["category_id"] - 1] for row in rows] == some.columns["class"].tolist()
    assert [row["score"] for row in rows] == some.columns["score"].tolist()
    assert {(row["image_id"], row["iscrowd"]) for row in rows} == {(1, 0)}
    for row, shape in zip(rows, some.pixels, strict=True):
        x, y, width, height = row["bbox"]
        assert np.abs(np.array([x, y, x + width, y + height]) - shape.bounds).max() < 0.0021
        assert row["area"] == pytest.approx(shape.area, abs=1e-3)
        outlines = [Polygon(np.reshape(ring, (-1, 2))) for ring in row["segmentation"]]
        assert all(outline.is_valid for outline in outlines)
        assert shapely.union_all(outlines).symmetric_difference(shape).area < 0.0021 * shape.length
        runs = found.annToRLE(row)
        assert mask.area(runs) == pytest.approx(shape.area, rel=0.15)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' masks, decoded
def test_holes(tmp_path):
    """Of one hole, of many beside and above each other, and of a hole with an object in it."""
    sieve = box(5, 5, 45, 45)
    for x in range(8, 42, 6):
        for y in range(8, 42, 6):
            sieve = sieve - box(x, y, x + 3.5, y + 3.5)
    nest = MultiPolygon([box(0, 0, 20, 20) - box(4, 4, 16, 16), box(8, 8, 12, 12)])
    shapes = [box(0, 0, 10, 10) - box(3, 3, 7, 7), sieve, nest]
    path, _ = written(tmp_path, shapes)
    found = COCO(path)
    for row, shape in zip(found.loadAnns([1, 2, 3]), shapes, strict=True):
        pieces = [Polygon(np.reshape(ring, (-1, 2))) for ring in row["segmentation"]]
        assert shapely.union_all(pieces).symmetric_difference(shape).area < 1e-6
        assert sum(piece.area for piece in pieces) == pytest.approx(shape.area)  # none lies on another
        cells = found.annToMask(row)
        y, x = np.mgrid[:50, :60] + 0.5
        inside = shapely.contains_xy(shape, x, y)
        away = shapely.distance(shape.boundary, shapely.points(x, y)) > 1
        assert (cells.astype(bool) == inside)[away].all()
    assert len(found.loadAnns([2])[0]["segmentation"]) == 7  # a cut for each column of holes


def test_points_are_not_repeated(tmp_path):
    path, sink = written(tmp_path, [box(1, 2, 4, 6), box(7, 7, 7.0001, 9)])
    (row,) = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    assert sorted(zip(row["segmentation"][0][::2], row["segmentation"][0][1::2], strict=True)) == [
        (1, 2),
        (1, 6),
        (4, 2),
        (4, 6),
    ]
    assert (row["bbox"], row["area"]) == ([1, 2, 3, 4], 12)
    assert sink.dropped == 1
