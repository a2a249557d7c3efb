"""The report page of one class and of a hundred: what is shown, what is folded, and how strongly."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.calibration import calibrate
from d2det_geo.pipeline.evaluation import Evaluation, Report
from d2det_geo.pipeline.report.charts import COLOURS, calibration_traces, precision_traces
from d2det_geo.pipeline.report.page import page
from d2det_geo.pipeline.report.strokes import outlines_of
from d2det_geo.runs import runs_of
from tests.judged import images, judged, objects

MANY = 100


def page_of(truth: Annotations, predictions: Annotations, **more: Any) -> str:
    outcome = judged(truth, predictions)
    per_class = {
        name: {**values, "ap": place / MANY if values["truths"] else np.nan}
        for place, (name, values) in enumerate(outcome.per_class.items())
    }
    evaluation = Evaluation(truth, predictions, replace(outcome, per_class=per_class), **more)
    report = Report("coco", "bbox", outcome.metrics, outcome.counts, per_class, (), outcome.settings)
    return page(evaluation, report, {})


def table_of(text: str, caption: str) -> list[list[str]]:
    found = re.search(f"<caption>{re.escape(caption)}</caption>.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert found is not None, caption
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", found[1])]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in rows]


def views_of(text: str, name: str) -> dict[str, list[dict[str, Any]]]:
    data = re.search(f'id="{name}-data">(.*?)</script>', text)
    options = re.search(f'<select id="{name}-view">(.*?)</select>', text)
    assert data is not None
    names = re.findall(r"<option[^>]*>(.*?)</option>", options[1]) if options else ["all"]
    return dict(zip(names, json.loads(data[1])["views"], strict=True))


def crowded(classes: int) -> str:
    """Each class twice in its own row; every third detected as the class before, one class without objects."""
    of = images(1, (200, 20 * classes))
    names = tuple(f"class {label:03}" for label in range(classes))
    rows = [(0, label, x, 20 * label, x + 10, 20 * label + 10, 0) for label in range(classes - 1) for x in (0, 50)]
    said = [(0, label - (label % 3 == 2 and x == 0), x, *rest, 0.5) for _, label, x, *rest, _ in rows]
    truth, predictions = objects(of, rows), objects(of, said, scored=True)
    return page_of(replace(truth, classes=names), replace(predictions, classes=names))


def test_of_many_classes_the_worst_come_first_and_the_rest_is_folded() -> None:
    text = crowded(MANY)
    assert [row[0] for row in table_of(text, "The 10 classes of lowest AP")] == [f"class {n:03}" for n in range(10)]
    every = [row[0] for row in table_of(text, "Each class by itself")]
    assert every == [*(f"class {n:03}" for n in reversed(range(MANY - 1))), "class 099"]
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "Each class by itself" not in shown
    assert "Confusion matrix" not in shown
    assert shown.count("<tr>") < 80
    for long in ("Each class by itself", "Confusion matrix"):
        assert re.search(f'class="[^"]*long"><caption>{long}', text)


def test_the_classes_confused_most_are_listed_and_a_matrix_shows_no_zeros() -> None:
    text = crowded(MANY)
    assert table_of(text, "Most frequent confusions")[:2] == [
        ["class 002", "class 001", "1", "0.500"],
        ["class 005", "class 004", "1", "0.500"],
    ]
    matrix = table_of(text, "Confusion matrix")
    assert (len(matrix), {len(row) for row in matrix}) == (MANY + 1, {MANY + 2})
    assert matrix[2][1:5] == ["", "1", "1", ""]
    assert "0" not in {cell for row in matrix for cell in row[1:]}
    assert "Most frequent confusions" not in crowded(3)


def test_a_legend_names_no_more_curves_than_can_be_told_apart() -> None:
    views = views_of(crowded(MANY), "precision")
    names = list(views)
    assert names[1:3] == ["The 8 classes of lowest AP at IoU 0.5", "All 99 classes at IoU 0.5"]
    worst, crowd = views[names[1]], views[names[2]]
    assert len({line["line"]["color"] for line in worst}) == len(worst) == COLOURS
    assert "class 002" in {line["name"] for line in worst}
    assert "class 003" not in {line["name"] for line in worst}
    assert len(crowd) == MANY - 1
    assert not any(line["showlegend"] for line in crowd)
    few = views_of(crowded(4), "precision")
    assert list(few)[1] == "All classes at IoU 0.5"
    assert not any("showlegend" in line for line in few["All classes at IoU 0.5"])


def test_no_curve_fades_away() -> None:
    traces = precision_traces(np.ones((10, 101)), [f"{n}" for n in range(10)], 0)
    assert min(trace["opacity"] for trace in traces) >= 0.5
    assert traces[0]["opacity"] == 1


def test_the_width_of_a_bar_grows_with_its_detections() -> None:
    scores = np.array([0.05] * 11 + [0.95] * 1288)
    calibration = calibrate(scores, np.ones(len(scores), bool))
    assert calibration is not None
    thin, wide = calibration_traces(calibration)[0]["width"]
    assert thin < wide / 4
    assert wide == pytest.approx(0.092)


def test_background_is_as_strong_as_its_share_of_the_detections() -> None:
    of = images()
    truth = objects(of, [(0, 0, 20 * n, 0, 20 * n + 10, 10, 0) for n in range(9)])
    said = [*((0, 0, 20 * n, 0, 20 * n + 10, 10, 0.9) for n in range(8)), (0, 0, 0, 50, 10, 60, 0.9)]
    truth, predictions = (replace(side, classes=("building",)) for side in (truth, objects(of, said, scored=True)))
    text = page_of(truth, predictions)
    cells = re.findall(r'<span(?: class="(\w+)")? style="--share:([\d.]+)">(\d+)</span>', text)
    assert cells == [("right", "0.8889", "8"), ("", "0.1111", "1"), ("", "0.1111", "1")]


def test_what_is_at_no_place_is_elsewhere() -> None:
    of = images()
    truth = objects(of, [(0, 0, 0, 0, 10, 10, 0), (0, 0, 50, 50, 60, 60, 0), (0, 0, 80, 50, 90, 60, 0)])
    predictions = objects(of, [(0, 0, 50, 50, 60, 60, 0.9), (0, 0, 190, 90, 200, 100, 0.9)], scored=True)
    assert [row[:1] + row[1:3] + row[4:6] for row in table_of(page_of(truth, predictions), "Errors by place")] == [
        ["image edge", "0", "1", "0", "1"],
        ["elsewhere", "1", "1", "1", "0"],
        ["anywhere", "1", "2", "1", "1"],
    ]


def test_masks_are_drawn_along_their_pixels(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30] = mask[:, 10:30] = True
    mask[18:22, 18:22] = False
    outlines = np.array([runs_of(mask, 100, 20)], object)
    truth = objects(images(), [(0, 0, 100, 20, 140, 60, 0)], outlines=outlines)
    (drawn,) = outlines_of(truth, np.array([0]))
    cross = shapely.box(110, 20, 130, 60) | shapely.box(100, 30, 140, 50)
    assert drawn.equals(cross - shapely.box(118, 38, 122, 42))
    Image.new("RGB", (200, 100), (90, 100, 80)).save(tmp_path / "frame000.png")
    predictions = replace(truth.rows(np.zeros(0, np.intp)), scores=np.zeros(0), outlines=None)
    text = page_of(truth, predictions, images=tmp_path)
    picture = re.search(r"data:image/jpeg;base64,([^\"]+)", text)
    assert picture is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture[1]))).convert("RGB"), np.int64)
    yellow = np.abs(pixels - (255, 237, 80)).max(axis=2) < 60
    assert yellow[28:33, 100:140].sum() > 20
    assert not yellow[18:26, 98:106].any()
