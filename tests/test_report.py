"""The report page: its numbers, its safety, its pictures, and how a browser shows it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from d2det_geo.annotations import Annotations
from d2det_geo.errors import D2DetError
from d2det_geo.metrics.breakdown import STEPS, break_down
from d2det_geo.metrics.compared import compare
from d2det_geo.metrics.errors import errors_of
from d2det_geo.pipeline.evaluation import Evaluation, Report
from d2det_geo.pipeline.report import write_report
from d2det_geo.pipeline.report.html import element, number
from d2det_geo.pipeline.report.page import page
from d2det_geo.pipeline.report.regions import worst_regions
from tests.judged import images, judged, objects, random_set

HOSTILE = '</script><script>document.title="broken into"</script>'
CLASSES = (HOSTILE, "var(--accent)", """<a href="https://evil.example">truck & "long" 'n' <b>wide</b></a>""")


def report_of(evaluation: Evaluation, **more: Any) -> Report:
    outcome = evaluation.outcome
    numbers = (outcome.metrics, outcome.counts, outcome.per_class)
    return Report(outcome.protocol, "bbox", *numbers, evaluation.notices, outcome.settings, **more)


def evaluation_of(truth: Annotations, predictions: Annotations, **more: Any) -> Evaluation:
    return Evaluation(truth, predictions, judged(truth, predictions, score=0.4), **more)


def renamed(folder: Path | None = None, seed: int = 3, count: int = 6) -> Evaluation:
    """A set whose classes, images and notices try to break out of the page."""
    truth, predictions = random_set(seed, count=count)
    names = np.array([f"{index} <b onclick='x'>.png" for index in range(count)], dtype=object)
    of = replace(truth.images, names=names, tags={"<i>night</i>": np.arange(count) % 2 == 0}, gsd_m=np.full(count, 0.2))
    truth, predictions = (replace(side, images=of, classes=CLASSES) for side in (truth, predictions))
    return evaluation_of(truth, predictions, images=folder, notices=(HOSTILE,))


def write_images(folder: Path, evaluation: Evaluation) -> None:
    folder.mkdir()
    for name, (width, height) in zip(evaluation.truth.images.names, evaluation.truth.images.sizes, strict=True):
        Image.new("RGB", (int(width), int(height)), (90, 100, 80)).save(folder / str(name))


@dataclass
class Parsed(HTMLParser):
    """What a page is made of."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def values(self, name: str) -> dict[str, str]:
        return {str(attrs["id"]): str(attrs[name]) for _, attrs in self.tags if attrs.get("id") and attrs.get(name)}


def parsed(text: str) -> Parsed:
    parser = Parsed()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_numbers_on_the_page_are_those_of_the_outcome(tmp_path: Path) -> None:
    evaluation = renamed()
    report = report_of(evaluation, intervals={"level": 95, "unit": "image", "metrics": {"ap": [0.5, 0.75]}})
    write_report(evaluation, report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = parsed(text).values("data-value")
    for key in ("ap", "ap50", "precision", "recall", "f1"):
        assert float(shown[f"metric-{key}"]) == evaluation.outcome.metrics[key]
        assert f">{evaluation.outcome.metrics[key]:.3f}</b>" in text
    assert "[0.500, 0.750]" in text
    areas = (
        break_down(compare(evaluation.truth, evaluation.predictions, evaluation.outcome, "bbox")).mean().mean(axis=1)
    )
    steps = re.search(r"<caption>Mean of all classes</caption>.*?</table>", text, re.DOTALL)
    assert steps is not None
    assert [float(value) for value in re.findall(r'data-value="([^"]+)"', steps[0])][::2] == areas.tolist()
    for key in ("greedy, the best free truth", "crowds absorb detections", "101-point", "image and class"):
        assert key in text


def test_the_page_loads_nothing_and_what_users_name_is_text(tmp_path: Path) -> None:
    evaluation = renamed(tmp_path / "set")
    write_images(tmp_path / "set", evaluation)
    text = page(evaluation, report_of(evaluation), {})
    found = parsed(text)
    assert "default-src 'none'" in text
    for tag, attributes in found.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("data:image/jpeg;base64,", "#"))
    styles = "".join(data for tag, data in found.text if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles
    # The page's own scripts, the data of three charts, and no other.
    assert [attributes.get("type") for tag, attributes in found.tags if tag == "script"].count(None) == 2
    assert [attributes.get("type") for tag, attributes in found.tags if tag == "script"].count("application/json") == 3
    assert all("<" not in data for tag, data in found.text if tag == "script" and data.startswith('{"views"'))
    words = [data for tag, data in found.text if tag not in {"script", "style"}]
    assert any(HOSTILE in data for data in words)
    assert any("<i>night</i>" in data for data in words)
    assert any("<b onclick='x'>" in str(attributes.get("alt")) for tag, attributes in found.tags if tag == "img")


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    evaluation = renamed(tmp_path / "set")
    write_images(tmp_path / "set", evaluation)
    for name in ("first.html", "second.html"):
        write_report(evaluation, report_of(evaluation), tmp_path / name)
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_a_page_that_cannot_be_written_says_so_and_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    evaluation = renamed()
    with pytest.raises(D2DetError, match="its folder does not exist"):
        write_report(evaluation, report_of(evaluation), tmp_path / "none" / "page.html")
    old = tmp_path / "page.html"
    old.write_text("old")
    with pytest.raises(KeyError):
        write_report(replace(evaluation, outcome=replace(evaluation.outcome, settings={})), report_of(evaluation), old)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("empty", ["truth", "predictions", "both", "images"])
def test_empty_sets_have_a_page_without_a_number_that_means_nothing(empty: str) -> None:
    truth, predictions = random_set(3, count=0 if empty == "images" else 4)
    nothing = np.zeros(0, np.intp)
    truth = truth.rows(nothing) if empty in {"truth", "both"} else truth
    predictions = predictions.rows(nothing) if empty in {"predictions", "both"} else predictions
    evaluation = evaluation_of(truth, predictions)
    metrics = {**evaluation.outcome.metrics, "ap": math.nan, "score_threshold": math.nan}
    evaluation = replace(evaluation, outcome=replace(evaluation.outcome, metrics=metrics))
    text = page(evaluation, report_of(evaluation), {})
    parsed(text)
    assert ">n/a</b>" in text
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text):
        json.loads(data, parse_constant=pytest.fail)


def test_a_set_without_classes_has_a_page() -> None:
    truth, predictions = (replace(side.rows(np.zeros(0, np.intp)), classes=()) for side in random_set(3))
    evaluation = evaluation_of(truth, predictions)
    parsed(page(evaluation, report_of(evaluation), {}))


def test_kinds_of_classes_are_those_of_the_truth() -> None:
    of = images()
    truth = objects(of, [(0, 0, 20, 20, 60, 60, 0), (0, 1, 100, 20, 140, 60, 0), (0, 2, 100, 70, 140, 90, 0)])
    predictions = objects(of, [(0, 0, 100, 20, 140, 60, 0.9), (0, 0, 20, 20, 60, 60, 0.8)], scored=True)
    told = "The truth names no supercategories, so Sim equals Loc."
    evaluation = evaluation_of(truth, predictions)
    assert told in page(evaluation, report_of(evaluation), {})
    kinds = ("vehicle", "vehicle", "person")
    evaluation = evaluation_of(replace(truth, supercategories=kinds), predictions)
    text = page(evaluation, report_of(evaluation), {})
    assert told not in text
    judgement = compare(evaluation.truth, predictions, evaluation.outcome, "bbox")
    areas = break_down(judgement, kinds).mean().mean(axis=1)
    assert areas[3] > areas[2]
    steps = re.search(r"<caption>Mean of all classes</caption>.*?</table>", text, re.DOTALL)
    assert steps is not None
    assert [float(value) for value in re.findall(r'data-value="([^"]+)"', steps[0])][::2] == areas.tolist()


def pictures_of(text: str) -> list[tuple[str, Image.Image]]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', text)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found]


def test_pictures_show_what_is_right_wrong_and_missed(tmp_path: Path) -> None:
    of = images(2, (200, 100))
    truth = objects(of, [(1, 0, 20, 20, 60, 60, 0), (1, 0, 100, 20, 140, 60, 0)])
    predictions = objects(of, [(1, 0, 20, 20, 60, 60, 0.9), (1, 0, 150, 70, 190, 95, 0.9)], scored=True)
    evaluation = evaluation_of(truth, predictions, images=tmp_path / "set")
    write_images(tmp_path / "set", evaluation)
    ((alt, picture),) = pictures_of(page(evaluation, report_of(evaluation), {}))
    assert alt == (
        "frame001.png, 200 x 100 px: 1 right detections (solid blue), 1 wrong ones (dashed orange),"
        " 1 missed objects (dotted yellow)"
    )
    pixels = np.asarray(picture.convert("RGB"), np.int64)
    for (x1, y1, x2, y2), colour in (
        ((20, 20, 60, 60), (86, 180, 233)),
        ((100, 20, 140, 60), (255, 237, 80)),
        ((150, 70, 190, 95), (255, 107, 26)),
    ):
        ring = np.ones(pixels.shape[:2], bool)
        ring[y1 + 2 : y2 - 1, x1 + 2 : x2 - 1] = False
        ring[: y1 - 1] = ring[y2 + 2 :] = ring[:, : x1 - 1] = ring[:, x2 + 2 :] = False
        near = np.abs(pixels[ring] - colour).max(axis=1) < 60
        assert near.mean() > 0.2, colour


def test_of_a_large_image_the_parts_with_most_errors_are_shown_and_read_alone(tmp_path: Path) -> None:
    of = images(1, (4000, 2400))
    rng = np.random.default_rng(1)
    corners = [*rng.uniform((2500, 900), (3100, 1500), (5, 2)).tolist(), [10.0, 10.0]]
    truth = objects(of, [(0, 0, x, y, x + 20, y + 20, 0) for x, y in corners])
    predictions = objects(of, [(0, 0, 3900, 2300, 3950, 2350, 0.9)], scored=True)
    evaluation = evaluation_of(truth, predictions, images=tmp_path)
    with rasterio.open(
        tmp_path / "frame000.tif", "w", driver="GTiff", width=4000, height=2400, count=3,
        dtype="uint8", tiled=True, blockxsize=256, blockysize=256,
    ) as out:  # fmt: skip
        ramp = np.broadcast_to(np.arange(4000) // 16, (3, 2400, 4000))
        out.write(ramp.astype(np.uint8))
    named = replace(of, names=np.array(["frame000.tif"], dtype=object))
    evaluation = replace(evaluation, truth=replace(truth, images=named), predictions=replace(predictions, images=named))
    found = pictures_of(page(evaluation, report_of(evaluation), {}))
    assert [picture.size for _, picture in found] == [(800, 800)] * len(found)
    assert "from (2400, 800)" in found[0][0]
    assert "0 right detections (solid blue), 0 wrong ones (dashed orange), 5 missed" in found[0][0]
    assert abs(int(np.asarray(found[0][1])[700, 400, 0]) - (2400 + 400) // 16) < 8


def test_many_images_give_twelve_pictures_each_of_another(tmp_path: Path) -> None:
    evaluation = renamed(seed=5, count=20)
    compared = compare(evaluation.truth, evaluation.predictions, evaluation.outcome, "bbox")
    errors = errors_of(compared)
    boxes = evaluation.truth.boxes, evaluation.predictions.boxes
    regions = worst_regions(compared, errors, lambda image: (200, 100), boxes)
    counts = errors.per_image(evaluation.truth, evaluation.predictions)
    assert len({region.image for region in regions}) == len(regions) == 12
    assert [region.wrong + region.missed for region in regions] == sorted(counts, reverse=True)[:12]


def test_an_image_that_is_missing_or_outside_of_its_folder_is_told_and_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "secret.png")
    evaluation = renamed(folder, seed=5, count=2)
    names = np.array(["../secret.png", "none.png"], dtype=object)
    of = replace(evaluation.truth.images, names=names)
    evaluation = replace(
        evaluation,
        truth=replace(evaluation.truth, images=of),
        predictions=replace(evaluation.predictions, images=of),
    )
    text = page(evaluation, report_of(evaluation), {})
    assert pictures_of(text) == []
    assert "Images with errors that could not be read: 2, such as ../secret.png." in text


def test_frames_of_the_newer_packaging_are_found(tmp_path: Path) -> None:
    evaluation = renamed(tmp_path, seed=5, count=1)
    (tmp_path / "M0203/img1").mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(tmp_path / "M0203/img1/img000001.jpg")
    of = replace(
        evaluation.truth.images,
        names=np.array(["M0203/img000001.jpg"], dtype=object),
        groups=np.array(["M0203"], dtype=object),
    )
    evaluation = replace(
        evaluation,
        truth=replace(evaluation.truth, images=of),
        predictions=replace(evaluation.predictions, images=of),
    )
    ((alt, _),) = pictures_of(page(evaluation, report_of(evaluation), {}))
    assert "M0203/img000001.jpg" in alt


def test_of_the_ground_the_scene_is_shown_in_its_pixels(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=300, height=200, count=3, dtype="uint8",
        crs="EPSG:32632", transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000),
    ) as out:  # fmt: skip
        out.write(np.full((3, 200, 300), 90, np.uint8))
    of = images(1, (0, 0))
    # In m, y to the north: the middle of the scene is the origin.
    truth = objects(of, [(0, 0, -70, 40, -60, 45, 0), (0, 0, 10, 0, 20, 10, 0)])
    predictions = objects(of, [(0, 0, -70, 40, -60, 45, 0.9)], scored=True)
    evaluation = evaluation_of(truth, predictions, scene=tmp_path / "scene.tif")
    outcome = replace(evaluation.outcome, protocol="geo")
    to_scene = lambda points: np.column_stack([150 + 2 * points[:, 0], 100 - 2 * points[:, 1]])  # noqa: E731
    evaluation = replace(evaluation, outcome=outcome, to_scene=to_scene)
    flags = np.array([True, False]), np.array([True])
    text = page(evaluation, report_of(evaluation), {"near a seam": flags})
    ((alt, picture),) = pictures_of(text)
    assert "1 right detections (solid blue), 0 wrong ones (dashed orange), 1 missed" in alt
    blue = np.argwhere(np.abs(np.asarray(picture, np.int64) - (86, 180, 233)).max(axis=2) < 40)
    assert np.abs(blue.min(axis=0) - (10, 10)).max() <= 2
    assert np.abs(blue.max(axis=0) - (20, 30)).max() <= 2
    assert "near a seam" in text
    assert "image edge" not in text


def test_markup_is_escaped_unless_it_is_markup() -> None:
    assert element("p", "<", element("b", "&"), title='"') == '<p title="&quot;">&lt;<b>&amp;</b></p>'
    assert element("img", alt="", hidden=True, class_=None, data_x=1) == '<img alt="" hidden data-x="1">'
    assert [number(value) for value in (0.12345, 1_234_567, math.nan, math.inf)] == [
        "0.123",
        "1\u202f234\u202f567",
        "n/a",
        "∞",
    ]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH to look at the page")
Browse = Callable[..., tuple[str, list[str]]]


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    profile = tmp_path_factory.mktemp("profile")

    def run(path: Path, *options: str) -> tuple[str, list[str]]:
        """Open a page; return what it wrote and the messages of its console."""
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--no-first-run", "--hide-scrollbars", "--allow-file-access-from-files",
            "--enable-logging=stderr", f"--user-data-dir={profile}", *options, path.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    evaluation = renamed(folder / "set")
    write_images(folder / "set", evaluation)
    write_report(evaluation, report_of(evaluation), folder / "page.html")
    return folder / "page.html"


HARNESS = """<!doctype html><body style="margin:0">
<iframe id="wide" src="page.html" style="width:1280px;height:900px"></iframe>
<iframe id="narrow" src="page.html" style="width:400px;height:900px"></iframe>
<script>
const seen = {};
const look = (frame) => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const first = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const table = page.querySelector("#classes ~ .scroll table");
  const sorted = [];
  for (const heading of [1, 1, 0]) {
    table.tHead.rows[0].cells[heading + (heading ? 1 : 0)].querySelector("button").click();
    sorted.push(first(table));
  }
  const select = page.getElementById("precision-view");
  const plot = page.getElementById("precision");
  const before = plot.data.length;
  select.value = "1";
  select.dispatchEvent(new view.Event("change"));
  seen[frame.id] = {
    title: page.title,
    overflow: page.documentElement.scrollWidth - view.innerWidth,
    plots: [...page.querySelectorAll(".plot")].map((part) => [part.id, part.querySelectorAll("svg .trace").length,
      Math.round(part.querySelector("svg").getBoundingClientRect().width - part.clientWidth)]),
    pictures: [...page.images].map((image) => image.complete && image.naturalWidth),
    sorted, lines: [before, plot.data.length],
    names: [...plot.querySelectorAll(".legendtext")].map((name) => name.textContent),
    links: page.querySelectorAll("svg a").length, strokes: plot._fullData.map((line) => line.line.color),
    ap: page.getElementById("metric-ap").textContent,
    paper: view.getComputedStyle(page.body).backgroundColor,
  };
};
addEventListener("load", () => {
  try { document.querySelectorAll("iframe").forEach(look); } catch (error) { seen.error = String(error); }
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
  document.body.append(out);
});
</script>"""


@needs_chromium
def test_a_browser_draws_all_of_it_wide_and_narrow_without_a_complaint(browse: Browse, shown: Path) -> None:
    harness = shown.with_name("harness.html")
    harness.write_text(HARNESS)
    text, console = browse(harness, "--dump-dom")
    assert console == []
    written = re.search(r'<pre id="seen">([^<]+)</pre>', text)
    assert written is not None
    seen = json.loads(base64.b64decode(written[1]))
    assert set(seen) == {"wide", "narrow"}, seen
    for frame in seen.values():
        assert frame["title"] == "coco: d2det evaluation"
        assert frame["overflow"] <= 0
        assert {name for name, _, _ in frame["plots"]} == {"breakdown", "precision", "calibration"}
        assert all(lines >= 2 and wider == 0 for _, lines, wider in frame["plots"])
        assert frame["pictures"] == [200] * 5
        assert frame["lines"] == [2, 3]
        assert frame["names"] == list(CLASSES)
        assert frame["links"] == 0
        assert frame["strokes"] == ["#1f6fb2", "#d55e00", "#008f6b"]
        assert frame["ap"] == "0.625"
        assert frame["paper"] == "rgb(255, 255, 255)"
        falling, rising, by_name = frame["sorted"]
        assert falling == list(CLASSES[::-1])
        assert rising == list(CLASSES)
        assert sorted(by_name) == sorted(CLASSES)


@needs_chromium
def test_the_browser_would_complain_of_anything_loaded(browse: Browse, shown: Path) -> None:
    leaking = shown.with_name("leaking.html")
    leak = '<img src="https://example.org/pixel.png" alt=""><script>fetch("https://example.org")</script>'
    leaking.write_text(shown.read_text(encoding="utf-8").replace("</main>", f"{leak}</main>"), encoding="utf-8")
    _, console = browse(leaking, "--dump-dom")
    assert sum("violates the following Content Security Policy directive" in line for line in console) >= 2


@needs_chromium
def test_the_page_is_dark_where_the_reader_likes(browse: Browse, shown: Path, tmp_path: Path) -> None:
    options = ("--blink-settings=preferredColorScheme=0", "--window-size=800,900")
    _, console = browse(shown, *options, f"--screenshot={tmp_path / 'dark.png'}")
    assert console == []
    with Image.open(tmp_path / "dark.png") as picture:
        assert np.asarray(picture.convert("L")).mean() < 80


def test_the_steps_of_the_breakdown_have_colours_in_the_style() -> None:
    style = files("d2det_geo.pipeline.report").joinpath("page.css").read_text(encoding="utf-8")
    for step in STEPS:
        assert style.count(f"--{step.lower()}:") == 2
