"""Every protocol through the command, on files as they are released; the golden cases where files can hold them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_cli.score_tables import _drawn, print_scores
from d2det_geo.metrics.protocol_names import NAMES
from d2det_geo.metrics.protocols import PROTOCOLS
from d2det_geo.pipeline.evaluate import evaluate_files
from d2det_geo.pipeline.evaluate_options import FORMATS_OF

GOLDEN = Path(__file__).parent / "golden/protocols"
KEYS = [
    "schema_version",
    "protocol",
    "iou",
    "settings",
    "files",
    "metrics",
    "counts",
    "per_class",
    "intervals",
    "notices",
]
SETTINGS = {
    "iou_thresholds",
    "operating_iou",
    "max_dets",
    "cap_is_per",
    "area_ranges",
    "matching",
    "ignore_rule",
    "integral",
}
COUNTS = {
    "images",
    "truths",
    "truths_ignored",
    "predictions",
    "predictions_ignored",
    "predictions_capped",
    "ignore_regions",
}


def golden(name: str) -> dict[str, Any]:
    (path,) = GOLDEN.glob(f"{name}*.json")
    return json.loads(path.read_text())


def lines(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def run(truth: Path, pred: Path, protocol: str, *more: str) -> Any:
    arguments = ["evaluate", "--truth", str(truth), "--pred", str(pred), "--protocol", protocol, *more]
    return CliRunner().invoke(app, arguments)


def report(truth: Path, pred: Path, protocol: str, *more: str) -> dict[str, Any]:
    result = run(truth, pred, protocol, "--json", *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- one small set a protocol --------------------------------------------------------------------------------------


def uavdt(folder: Path, case: dict[str, Any]) -> tuple[Path, Path]:
    name = case["sequence"]
    lines(folder / f"GT/{name}_gt_whole.txt", case["gt_whole"])
    lines(folder / f"GT/{name}_gt_ignore.txt", case.get("gt_ignore", []))
    lines(folder / f"found/{name}.txt", case["detections"])
    return folder / "GT", folder / "found"


def dota2(folder: Path) -> tuple[Path, Path]:
    case = golden("08")
    for name, rows in case["gt"].items():
        lines(folder / f"labelTxt/{name}.txt", ["imagesource:GoogleEarth", "gsd:0.5", *rows])
    lines(folder / "found/Task2_ship.txt", case["detections"])
    return folder / "labelTxt", folder / "found"


def dota1(folder: Path) -> tuple[Path, Path]:
    lines(folder / "labelTxt/P1.txt", ["0 0 20 0 20 10 0 10 ship 0", "40 40 60 40 60 50 40 50 plane 0"])
    lines(folder / "found/Task1_ship.txt", ["P1 0.9 0 0 20 0 20 10 0 10"])
    lines(folder / "found/Task1_plane.txt", ["P1 0.8 40 40 60 40 60 44 40 44"])  # IoU 0.4
    return folder / "labelTxt", folder / "found"


def visdrone(folder: Path) -> tuple[Path, Path]:
    case = golden("10")
    lines(folder / "annotations/a.txt", case["gt"])
    lines(folder / "found/a.txt", case["detections"])
    return folder / "annotations", folder / "found"


def coco(folder: Path, case: dict[str, Any]) -> tuple[Path, Path]:
    truth = {key: case[key] for key in ("images", "categories", "annotations")}
    names = {image["id"]: {"file_name": f"{image['id']}.png"} for image in truth["images"]}
    truth["images"] = [{**names[image["id"]], **image} for image in truth["images"]]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(case["detections"]))
    return folder / "truth.json", folder / "found.json"


def voc(folder: Path) -> tuple[Path, Path]:
    def thing(name: str, box: tuple[int, int, int, int], difficult: int = 0) -> str:
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"

    size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
    for number, things in enumerate(
        ([thing("cat", (1, 1, 10, 10)), thing("dog", (21, 1, 30, 10))], [thing("cat", (1, 1, 10, 10), 1)])
    ):
        text = f"<annotation><filename>{number}.jpg</filename>{size}{''.join(things)}</annotation>"
        lines(folder / f"Annotations/{number}.xml", [text])
    rows = [
        (1, 1, [0, 0, 10, 10], 0.9),
        (1, 2, [20, 0, 10, 5], 0.8),
        (2, 1, [0, 0, 10, 10], 0.7),
        (1, 2, [60, 60, 9, 9], 0.6),
    ]
    results = [dict(zip(("image_id", "category_id", "bbox", "score"), row, strict=True)) for row in rows]
    (folder / "found.json").write_text(json.dumps(results))
    return folder / "Annotations", folder / "found.json"


def geo(folder: Path) -> tuple[Path, Path]:
    def features(shapes: list[tuple[float, dict[str, Any]]]) -> str:
        def square(x: float) -> list[list[float]]:
            return [[x, 50], [x + 0.001, 50], [x + 0.001, 50.001], [x, 50.001], [x, 50]]

        rows = [
            {"type": "Feature", "properties": values, "geometry": {"type": "Polygon", "coordinates": [square(x)]}}
            for x, values in shapes
        ]
        return json.dumps({"type": "FeatureCollection", "features": rows})

    (folder / "truth.geojson").write_text(features([(8.0, {"class": "roof"}), (8.01, {"class": "roof"})]))
    (folder / "found.geojson").write_text(features([(8.0, {"confidence": 0.9}), (8.02, {"confidence": 0.4})]))
    return folder / "truth.geojson", folder / "found.geojson"


SETS = {
    "coco": (lambda folder: coco(folder, golden("06a")), ["--iou", "bbox"], 0.55),
    "isaid": (lambda folder: coco(folder, golden("06a")), ["--iou", "bbox"], 0.55),
    "uavdt": (lambda folder: uavdt(folder, golden("07a")), [], 0.5),
    "uavdt-voc07": (lambda folder: uavdt(folder, golden("07b")), [], 1 / 3),
    "uavdt-coco3": (lambda folder: uavdt(folder, golden("07a")), [], (51 + 50 * 2 / 5) / 101 / 2),
    "uavdt-coco1": (lambda folder: uavdt(folder, golden("07a")), [], (34 + 67 / 2) / 101),
    "dota-task1": (dota1, [], 0.5),
    "dota-task2": (dota2, [], 6 / 11),
    "visdrone": (visdrone, [], 1.0),
    "voc": (voc, [], 1.0),
    "geo": (geo, [], 51 / 101),
}


def test_every_protocol_is_here():
    assert sorted(SETS) == sorted(FORMATS_OF) == [*NAMES] == sorted([*PROTOCOLS, "geo"])


def test_help_names_every_protocol_and_imports_no_protocol():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom d2det_cli.main import app\n"
        "print(CliRunner(env={'COLUMNS': '200'}).invoke(app, ['evaluate', '--help']).stdout)\n"
        "print([name for name in ('numpy', 'hotcoco', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    shown = "".join(done.stdout.replace("│", "").split())  # names are wrapped
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize("protocol", SETS)
def test_a_report_of_every_protocol(protocol, tmp_path):
    write, more, expected = SETS[protocol]
    document = report(*write(tmp_path), protocol, *more)
    assert list(document) == KEYS
    assert (document["schema_version"], document["protocol"], document["intervals"]) == (2, protocol, None)
    assert set(document["settings"]) >= SETTINGS
    assert document["settings"]["iou"] == document["iou"]
    assert set(document["counts"]) >= COUNTS
    assert set(document["metrics"]) >= {"ap", "precision", "recall", "f1", "score_threshold"}
    for values in document["per_class"].values():
        assert set(values) >= {"ap", "precision", "recall", "f1", "truths", "predictions"}
    for role, name in zip(("truth", "predictions"), FORMATS_OF[protocol], strict=True):
        assert document["files"][role]["format"] == name
    assert document["metrics"]["ap"] == pytest.approx(expected, abs=1e-9)


# --- golden cases and other numbers by hand ------------------------------------------------------------------------


def test_uavdt_by_hand(tmp_path):
    files = uavdt(tmp_path, golden("07a"))
    official = report(*files, "uavdt")
    assert official["metrics"]["ap_percent"] == 50.0
    assert (official["counts"]["images"], official["counts"]["ignore_regions"]) == (1007, 2)
    assert any("lacks" in notice for notice in official["notices"])
    assert len(official["notices"]) == len(set(official["notices"]))
    # All boxes are exact. One class: right .95, wrong .90 .85 .80, right .70 .60 of 3, so 34 recalls at 1, 67 at 1/2.
    one = report(*files, "uavdt-coco1")
    assert one["metrics"]["ap"] == pytest.approx((34 + 67 / 2) / 101, abs=1e-9)
    # Three: the truck is called a car. Cars: right .95, wrong three times, right .70 of 2; trucks 0; no bus.
    three = report(*files, "uavdt-coco3")
    assert three["metrics"]["ap"] == pytest.approx((51 + 50 * 2 / 5) / 101 / 2, abs=1e-9)
    assert three["per_class"]["bus"]["ap"] is None


def test_uavdt_matching_by_hand(tmp_path):
    files = uavdt(tmp_path, golden("07b"))
    assert report(*files, "uavdt")["metrics"]["ap_percent"] == 100.0
    assert report(*files, "uavdt-voc07")["metrics"]["ap_percent"] == pytest.approx(33.33)


@pytest.mark.parametrize(("version", "expected"), [("1.0", 6 / 11), ("1.5", 7 / 11), ("2.0", 7 / 11)])
def test_dota_versions(version, expected, tmp_path):
    document = report(*dota2(tmp_path), "dota-task2", "--dota-version", version)
    assert document["metrics"]["ap"] == pytest.approx(expected, abs=1e-12)
    assert document["settings"]["version"] == version
    assert ("by the rules of 1.5" in document["settings"]["ignore_rule"]) == (version == "2.0")


@pytest.mark.parametrize(
    ("case", "more", "expected"),
    [
        ("02", ["--max-dets", "1,10,1000"], 1.0),
        ("02", ["--max-dets", "1,10,100"], 84 / 101),
        ("03", [], 1.0),
        ("04", [], 0.834983498349835),
        ("05a", [], 0.5),
        ("05b", [], 1.0),
        ("05c", [], 0.5),
        ("06b", [], 1.0),
        ("06c", [], 1.0),
    ],
)
def test_golden_cases_of_coco(case, more, expected, tmp_path):
    files = coco(tmp_path, golden(case))
    document = report(*files, "coco", "--iou", "bbox", *more)
    assert document["metrics"]["ap"] == pytest.approx(expected, abs=1e-9)


def test_the_key_ignore_does_nothing_as_in_pycocotools_and_is_told(tmp_path):
    case = golden("06b")
    truth, found = coco(tmp_path, {**case, "detections": case["detections"][:1]})
    document = report(truth, found, "coco", "--iou", "bbox")
    assert document["metrics"]["ap"] == pytest.approx(51 / 101, abs=1e-9)
    assert "1 annotations say ignore: 1 and stay objects" in document["notices"][0]


# --- what stops, what is told, what fails --------------------------------------------------------------------------


def results(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "other.json"
    path.write_text(json.dumps(rows))
    return path


def row(**values: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 40], "score": 0.5, **values}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row(image_id=7)], r"other.json: results\[1\].image_id: the truth has no image with id 7"),
        ([row(category_id=9)], r"other.json: results\[0\].category_id: the truth has no category with id 9"),
        ([row(score=float("nan"))], r"other.json: results\[0\].score must be a number .* got nan"),
        ([row(bbox=[0, 0, -4, 4])], r"other.json: results\[0\].bbox"),
        (
            [row(bbox=[9000, 50, 40, 40]), row(bbox=[0, 7000, 9, 9]), row()],
            r"other.json: 2 of 3 detections lie beside their image \(the first is object 0, .* of 2000 x 2000 px\);"
            r" are they in another frame",
        ),
    ],
)
def test_bad_results_name_file_and_row(rows, message, tmp_path):
    truth, _ = coco(tmp_path, golden("06a"))
    result = run(truth, results(tmp_path, rows), "coco", "--iou", "bbox")
    assert (result.exit_code, result.stdout) == (4, "")
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_empty_detections_are_a_zero_that_is_told(tmp_path):
    truth, _ = coco(tmp_path, golden("06a"))
    document = report(truth, results(tmp_path, []), "coco", "--iou", "bbox")
    assert (document["metrics"]["ap"], document["metrics"]["recall"], document["metrics"]["precision"]) == (0, 0, None)
    assert "there are no predictions: nothing is found, and precision is undefined" in document["notices"]


def test_empty_truth_is_undefined(tmp_path):
    case = golden("06a")
    truth, found = coco(tmp_path, {**case, "annotations": []})
    document = report(truth, found, "coco", "--iou", "bbox")
    assert document["metrics"]["ap"] is None
    assert "the truth has no objects: the metrics are undefined" in document["notices"]


def test_nothing_in_common_is_told(tmp_path):
    case = golden("05a")
    case["categories"].append({"id": 2, "name": "plane"})
    truth, _ = coco(tmp_path, case)
    elsewhere = report(truth, results(tmp_path, [row(image_id=1)]), "coco", "--iou", "bbox")
    assert any(notice.startswith("no image has both truth and detections") for notice in elsewhere["notices"])
    other = report(truth, results(tmp_path, [row(image_id=2, category_id=2)]), "coco", "--iou", "bbox")
    told = "no class has both truth (ship) and detections (plane); --class-map renames classes"
    assert told in other["notices"]
    beside = report(
        truth, results(tmp_path, [row(image_id=2), row(image_id=2, bbox=[-50, 0, 50, 9])]), "coco", "--iou", "bbox"
    )
    assert any("1 detections lie beside their image; the first is object 1" in notice for notice in beside["notices"])


def test_classes_are_renamed_in_every_protocol(tmp_path):
    truth, found = visdrone(tmp_path)
    assert (
        sorted(report(truth, found, "visdrone", "--class-map", "car=vehicle,bus=vehicle")["per_class"])[-1] == "vehicle"
    )
    ignoring = report(truth, found, "visdrone", "--ignore", "bus")
    assert ignoring["counts"]["ignore_regions"] == 2
    assert "predictions of classes that mean ignore region are left out: 1 of bus" in ignoring["notices"]
    assert (
        "class rules name lorry, which neither file has"
        in report(truth, found, "visdrone", "--class-map", "lorry=")["notices"]
    )


def test_gates_of_all_and_of_one_class(tmp_path):
    files = dota1(tmp_path)
    passed = run(*files, "dota-task1", "--fail-under", "ship.ap=0.9", "--fail-under", "ap=0.5")
    assert passed.exit_code == 0, passed.stderr
    failed = run(*files, "dota-task1", "--fail-under", "plane.ap=0.5", "--fail-under", "ap=0.6")
    assert failed.exit_code == 6
    assert failed.stderr.splitlines()[-1] == "d2det: error: below the bar: plane.ap 0.0000 < 0.5, ap 0.5000 < 0.6"
    unknown = run(*files, "dota-task1", "--fail-under", "boat.ap=0.5")
    assert unknown.exit_code == 2
    assert "--fail-under boat.ap: no such metric; there are ap, " in unknown.stderr
    assert "CLASS.METRIC (plane, baseball-diamond," in unknown.stderr
    assert run(*files, "dota-task1", "--fail-under", "ap").exit_code == 2


@pytest.mark.parametrize(
    ("protocol", "more", "message"),
    [
        ("map", [], "--protocol map: is unknown; choose one of coco, "),
        ("uavdt", ["--iou", "segm"], "--iou segm: protocol uavdt compares by bbox"),
        ("uavdt", ["--max-dets", "100"], "--max-dets: protocol uavdt has no such setting"),
        ("coco", ["--max-dets", "100,10"], "--max-dets 100,10: give rising numbers"),
        ("coco", ["--max-dets", "a"], "--max-dets a: give whole numbers with commas"),
        ("coco", ["--max-dets", "nan"], "--max-dets nan: give whole numbers with commas"),
        ("coco", ["--max-dets", "inf"], "--max-dets inf: give whole numbers with commas"),
        ("coco", ["--max-dets", "1.9,10.5,100"], "--max-dets 1.9,10.5,100: give whole numbers with commas"),
        ("geo", ["--size-bins", "a"], "--size-bins a: give numbers with commas"),
        ("dota-task1", ["--dota-version", "3.0"], "--dota-version 3.0: choose one of 1.0, 1.5, 2.0"),
        ("coco", ["--split", "test"], "--split is for files of format uavdt, not of coco; leave it out"),
        ("coco", ["--class-names", "a,b"], "--class-names is for files of format dota, vector, voc, yolo, not of coco"),
        ("coco", ["--class-field", "kind"], "--class-field is for files of format vector, not of coco"),
        ("voc", ["--scene", "a.tif"], "--scene is for files of format vector, not of voc and coco"),
        ("geo", ["--images", "."], "--images is for image sets: protocol geo does not read it"),
        ("geo", ["--split", "test"], "--split is for image sets"),
        ("geo", ["--class-names", "a"], "--class-names is for image sets"),
        ("coco", ["--size-bins", "0,50"], "--size-bins needs protocol geo"),
        ("coco", ["--ignore-area", "a.gpkg"], "--ignore-area needs protocol geo"),
        ("coco", ["--block", "5"], "--block needs protocol geo"),
        ("coco", ["--dota-version", "1.5"], "--dota-version: protocol coco has no such setting"),
        ("coco", ["--aoi", "a.gpkg"], "aoi needs protocol geo"),
        ("coco", ["--errors", "a.gpkg"], "errors needs protocol geo"),
        ("coco", ["--truth-format", "word"], "format 'word' cannot be read as truth; choose one of coco, "),
        ("coco", ["--ci", "100"], "--ci 100.0: give a percentage"),
        ("geo", ["--truth-format", "coco"], "protocol geo compares vector files"),
        ("geo", ["--size-bins", "50,0"], "--size-bins 50.0,0.0: give areas in m2 that rise"),
        ("geo", ["--block", "0"], "--block 0.0: give a positive number"),
        ("geo", ["--errors", "a.geojson"], "--errors a.geojson: the layer is a GeoPackage"),
    ],
)
def test_options_that_make_no_sense(protocol, more, message, tmp_path):
    result = run(tmp_path / "a", tmp_path / "b", protocol, *more)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("protocol", [name for name in SETS if name != "isaid"])
def test_missing_files_are_one_line(protocol, tmp_path):
    write, more, _ = SETS[protocol]
    truth, found = write(tmp_path)
    for files in ((tmp_path / "gone", found), (truth, tmp_path / "gone")):
        result = run(*files, protocol, *more)
        assert (result.exit_code, result.stdout) == (4, "")
        assert result.stderr.startswith(f"d2det: error: {tmp_path / 'gone'}")
        assert result.stderr.count("\n") == 1


def test_scores_are_printed_before_a_page_that_fails(tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no page")

    monkeypatch.setattr("d2det_geo.pipeline.evaluate.write_report", fail)
    result = run(*coco(tmp_path, golden("06a")), "coco", "--iou", "bbox", "--report", str(tmp_path / "p.html"))
    assert result.exit_code != 0
    assert "0.5500" in result.stdout


def test_nothing_is_written_over_what_is_read(tmp_path):
    # A page has to be called .html; these hold JSON all the same.
    truth, found = (path.rename(path.with_suffix(".html")) for path in coco(tmp_path, golden("06a")))
    before = truth.read_bytes(), found.read_bytes()
    (tmp_path / "link.html").symlink_to(truth)
    for path, role in ((truth, "--truth"), (found, "--pred"), (tmp_path / "link.html", "--truth")):
        result = run(truth, found, "coco", "--iou", "bbox", "--report", str(path), "--overwrite")
        assert result.exit_code == 2
        assert f"--report {path}: is the file of {role}; give the output a path of its own" in result.stderr
    assert (truth.read_bytes(), found.read_bytes()) == before
    files, out = geo(tmp_path), tmp_path / "e.gpkg"
    for name in ("scene", "aoi", "ignore-area"):
        result = run(*files, "geo", f"--{name}", str(out), "--errors", str(out), "--overwrite")
        assert (result.exit_code, out.exists()) == (2, False)
        assert f"--errors {out}: is the file of --{name}" in result.stderr


def test_objects_of_score_zero_alone_still_count_in_the_ap_of_visdrone(tmp_path):
    lines(tmp_path / "annotations/a.txt", ["0,0,10,10,0,4,0,0"])
    lines(tmp_path / "found/a.txt", ["50,50,10,10,0.9,4,-1,-1"])
    document = report(tmp_path / "annotations", tmp_path / "found", "visdrone")
    assert (document["metrics"]["ap"], document["metrics"]["recall"]) == (0.0, None)
    told = "ap and ar of visdrone still ask for 1 of them; the other metrics are undefined"
    assert any(notice.endswith(told) for notice in document["notices"])
    assert not any(notice.endswith(": the metrics are undefined") for notice in document["notices"])


def test_predictions_that_precision_leaves_out_are_told(tmp_path):
    case = golden("05a")
    case["categories"].append({"id": 2, "name": "plane"})
    truth, _ = coco(tmp_path, case)
    found = results(tmp_path, [row(image_id=2, category_id=2)])
    (notice,) = [text for text in report(truth, found, "coco", "--iou", "bbox")["notices"] if "class plane" in text]
    assert notice == (
        "the truth has no objects of class plane: their 1 predictions are counted under that class, and in none of the "
        "metrics; among errors they are 'class not in the truth', beside precision"
    )


def test_the_page_of_a_set(tmp_path):
    page = tmp_path / "page.html"
    files = visdrone(tmp_path)
    assert run(*files, "visdrone", "--report", str(page)).exit_code == 0
    assert "visdrone" in page.read_text()
    assert run(*files, "visdrone", "--report", str(page)).exit_code == 5
    assert run(*files, "visdrone", "--report", str(page), "--overwrite").exit_code == 0
    assert run(*files, "visdrone", "--report", str(tmp_path / "no/page.html")).exit_code == 1


def test_golden_case_of_isaid(tmp_path):
    document = report(*coco(tmp_path, golden("01")), "isaid", "--iou", "bbox")
    metrics = {
        name: document["metrics"][name] for name in ("ap", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_1000")
    }
    expected = golden("01")["expected"]
    assert metrics == pytest.approx(
        {
            **{f"ap_{name}" if name != "all" else "ap": value for name, value in expected["AP"].items()},
            "ar_1": expected["AR"]["all@1"],
            "ar_1000": expected["AR"]["all@1000"],
        },
        abs=1e-9,
    )


def test_files_are_named_with_their_checksums(tmp_path):
    truth, found = coco(tmp_path, golden("06a"))
    files = report(truth, found, "coco", "--iou", "bbox")["files"]
    checksum = hashlib.sha256(found.read_bytes()).hexdigest()
    assert files["predictions"] == {"name": "found.json", "format": "coco", "sha256": checksum}
    assert report(*visdrone(tmp_path), "visdrone")["files"]["truth"] == {
        "name": "annotations",
        "format": "visdrone",
        "sha256": None,
    }


def test_intervals_by_image(tmp_path):
    case = golden("05a")
    case["images"] = [{"id": number, "width": 100, "height": 100} for number in range(1, 31)]
    box = {"category_id": 1, "bbox": [0, 0, 40, 40]}
    case["annotations"] = [
        {"id": number, "image_id": number, "area": 1600, "iscrowd": 0, **box} for number in range(1, 31)
    ]
    case["detections"] = [{"image_id": number, "score": 0.9, **box} for number in range(1, 16)]
    files = coco(tmp_path, case)
    document = report(*files, "coco", "--iou", "bbox", "--ci", "95")
    assert (document["intervals"]["unit"], document["intervals"]["units"]) == ("image", 30)
    low, high = document["intervals"]["metrics"]["recall"]
    assert low < document["metrics"]["recall"] == 0.5 < high
    assert low == pytest.approx(0.5 - 1.96 * (0.25 / 30) ** 0.5, abs=0.04)  # a mean of 30 draws
    shown = run(*files, "coco", "--iou", "bbox", "--ci", "95").stdout.splitlines()
    assert [line.split("  ")[0] for line in shown[1:4]] == ["all", "95 % from", "95 % to"]


def test_a_terminal_gets_a_table(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("d2det_cli.score_tables._drawn", lambda report: shown.append(report) or True)
    truth, found = coco(tmp_path, golden("06a"))
    scores = evaluate_files(truth, found, protocol="coco", iou="bbox")
    print_scores(scores)
    assert shown == [scores]


@pytest.mark.parametrize(("width", "drawn"), [(200, True), (30, False)])
def test_a_table_needs_room(width, drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    scores = evaluate_files(*coco(tmp_path, golden("06a")), protocol="coco", iou="bbox")
    assert _drawn(scores) is drawn
    assert ("0.5500" in capsys.readouterr().out) is drawn
