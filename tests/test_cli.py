"""The command line from outside: exit codes, exact messages, streams, and nothing half-written."""

import errno
import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from shapely import Polygon, box
from typer.testing import CliRunner

from d2det_cli import failures, gates, say, texts
from d2det_cli.main import app
from d2det_geo import __version__
from d2det_geo.config import load_config
from d2det_geo.errors import D2DetError
from d2det_geo.model.bundle import build_from_card, save_bundle
from d2det_geo.pipeline.card import describe
from d2det_geo.town import make_town
from d2det_geo.vector.output import FORMATS

ROOT = Path(__file__).parents[1]
CHECKOUT = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
CRS = "EPSG:32645"
GSD_M = 0.15
WIDTH, HEIGHT = 200, 150  # px
CONFIG = """\
classes: [building]
bundle: {name: tiny}
data: {chip_size: 128, overlap: 32, train: [{kind: town, towns: 1, size: 256}]}
model: {backbone: mobilenet_v2, channels: 32, dlr_convs: 1, dlr_channels: 32, classifier_width: 32, offset_width: 32,
        mask_iou_width: 32}
inference: {rpn_pre_nms: 100, rpn_post_nms: 20}
run: {steps: 400, batch_size: 1}
"""


def write_raster(path, values, *, crs=CRS, **profile):
    """Write ``[C, H, W]`` values of any type as a GeoTIFF."""
    count, height, width = values.shape
    place = {"crs": crs, "transform": Affine(GSD_M, 0, 334_000, 0, -GSD_M, 3_065_000)} if crs else {}
    profile |= {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype, **place}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def write_polygons(path, polygons, **columns):
    geopandas.GeoDataFrame(columns, geometry=polygons, crs=CRS).to_file(path)


def write_scenes(image):
    """Put every kind of raster a user may offer into the current folder."""
    write_raster("scene.tif", image)
    small = image[:, :41, :53]
    write_raster("small.tif", small)
    write_raster("grey.tif", small[:1])
    write_raster("two.tif", small[:2])
    write_raster("four.tif", np.concatenate([small, small[:1]]), photometric="minisblack")
    write_raster("sixteen.tif", small.astype(np.uint16) * 37)
    write_raster("blank.tif", np.zeros_like(small), nodata=0)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster("nowhere.tif", small, crs=None)
    whole = Path("scene.tif").read_bytes()
    Path("truncated.tif").write_bytes(whole[: len(whole) // 2])
    Path("corrupt.tif").write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    Path("empty.tif").touch()
    Path("text.tif").write_text("not a picture\n")
    Path("folder").mkdir()


def write_models():
    """Put a tiny untrained model and two files that are none into the current folder."""
    Path("tiny.yaml").write_text(CONFIG)
    card = describe(load_config(Path("tiny.yaml"))).model_copy(update={"score": 0.0})
    save_bundle(Path("tiny.safetensors"), build_from_card(card), card, half=True)
    bundle = Path("tiny.safetensors").read_bytes()
    Path("corrupt.safetensors").write_bytes(bundle[: len(bundle) // 2])
    Path("pickle.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with good and bad inputs; commands run in it, so that messages hold relative paths."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("workplace")
    os.chdir(folder)
    write_scenes(make_town(seed=3, size=256, gsd_m=GSD_M).image[:, :HEIGHT, :WIDTH])
    write_models()
    roofs = [box(334_005, 3_064_980, 334_017, 3_064_990), box(334_019, 3_064_979, 334_028, 3_064_988)]
    write_polygons("roofs.gpkg", roofs, **{"class": ["building", "building"], "score": [0.9, 0.8]})
    write_polygons("elsewhere.gpkg", [box(500_000, 3_000_000, 500_010, 3_000_010)], **{"class": ["building"]})
    bow = Polygon([(334_005, 3_064_980), (334_011, 3_064_985), (334_011, 3_064_980), (334_005, 3_064_985)])
    write_polygons("bow.gpkg", [bow], **{"class": ["building"], "score": [0.5]})
    Path("none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    Path("malformed.yaml").write_text("classes: [building\nbundle: {")
    Path("unknown.yaml").write_text(CONFIG.replace("batch_size", "batchsize"))
    Path("mistyped.yaml").write_text(CONFIG.replace("steps: 400", "steps: many"))
    geo = "[{kind: geo, scene: scene.tif, labels: LABELS}]"
    for name in ("elsewhere", "none"):
        suffix = "gpkg" if name == "elsewhere" else "geojson"
        source = geo.replace("LABELS", f"{name}.{suffix}")
        Path(f"{name}.yaml").write_text(re.sub(r"\[\{kind: town.*?\}\]", source, CONFIG))
    yield folder
    os.chdir(before)


@pytest.fixture
def d2det(workplace):
    """Run a command in this process; it must end with an exit code, never with a bug."""

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="d2det")
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return result

    return run


def start(*arguments):
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "d2det_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": CHECKOUT},
    )


BAD_SCENES = {
    "missing.tif": "no such file; check the path",
    "empty.tif": "is empty (0 bytes); fetch the file again",
    "text.tif": "not a raster GDAL can read"
    " (the file not recognized as being in a supported file format.); check the file",
}


@pytest.mark.parametrize(("scene", "problem"), BAD_SCENES.items())
def test_a_scene_that_cannot_be_used(d2det, tmp_path, scene, problem):
    out = tmp_path / "out.geojson"
    result = d2det("predict", scene, "--out", out, "--model", "tiny.safetensors")
    assert (result.exit_code, result.stderr, result.stdout) == (4, f"d2det: error: {scene}: {problem}\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scene", ["truncated.tif", "corrupt.tif"])
def test_a_damaged_scene(d2det, tmp_path, scene):
    result = d2det("predict", scene, "-o", tmp_path / "out.gpkg", "--model", "tiny.safetensors", "--progress", "none")
    assert result.exit_code == 4
    assert re.fullmatch(rf"d2det: error: {scene}: (cannot read|not a raster).*; .*\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("views", [(), ("--tta", "1,1.25,flip")], ids=["one view", "four"])
@pytest.mark.parametrize(("cap", "reached"), [(2, True), (1000, False)])
def test_chips_at_the_cap_are_split_and_counted(d2det, tmp_path, cap, reached, views):
    card = describe(load_config(Path("tiny.yaml")))
    limits = {"detections": cap, "candidates": None, "class_score": 0.0}
    card = card.model_copy(update={"score": 0.0, "inference": card.inference | limits})
    bundle = tmp_path / "crowded.safetensors"
    save_bundle(bundle, build_from_card(card), card, half=False)
    command = ("predict", "scene.tif", "--model", bundle, "--progress", "none", *views)
    result = d2det(*command, "--out", tmp_path / "out.gpkg", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["chips"] == 4
    assert (report["split_chips"], report["capped_chips"]) == ((4, 16) if reached else (0, 0))
    notices = [
        "4 chips held more objects than the model gives at once, and were looked at in quarters",
        "16 quarters of chips still reached that number, objects may be missing; use a smaller --chip-size",
    ]
    assert report["notices"] == (notices if reached else [])
    for notice in notices:
        assert (f"d2det: notice: {notice}" in result.stderr.splitlines()) == reached
    assert d2det(*command, "--out", tmp_path / "quiet.gpkg", "--quiet").stderr == ""


NOTICES = {
    "scene.tif": None,
    "small.tif": None,
    "blank.tif": "there is no image in the scene: the result is empty",
    "grey.tif": "band 1 alone is shown to the model as grey",
    "two.tif": "band 1 of 2 is shown to the model as grey; --bands chooses",
    "four.tif": "bands 1, 2, 3 of 4 are taken as red, green, blue; --bands chooses others",
    "nowhere.tif": "no georeference: coordinates are pixels",
}


@pytest.mark.parametrize(("scene", "notice"), NOTICES.items())
def test_an_odd_scene_works_and_says_so(d2det, tmp_path, scene, notice):
    out = tmp_path / "out.geojson"
    result = d2det("predict", scene, "--out", out, "--model", "tiny.safetensors", "--progress", "none", "--json")
    assert result.exit_code == 0, result.stderr
    *notices, last = result.stderr.splitlines()
    assert notices == ([f"d2det: notice: {notice}"] if notice else [])
    summary = json.loads(result.stdout)
    assert re.fullmatch(rf"d2det: {out}: {summary['objects']} objects from \d+ chips in [\d.]+ s", last)
    assert len(geopandas.read_file(out)) == summary["objects"]


def test_a_blank_scene_gives_a_valid_empty_file(d2det, tmp_path):
    out = tmp_path / "out.geojson"
    assert d2det("predict", "blank.tif", "-o", out, "--model", "tiny.safetensors", "-q").exit_code == 0
    document = json.loads(out.read_text())
    assert (document["type"], document["features"]) == ("FeatureCollection", [])


def test_sixteen_bits_are_scaled_and_said(d2det, tmp_path):
    out = tmp_path / "out.shp"
    result = d2det("predict", "sixteen.tif", "-o", out, "--model", "tiny.safetensors", "--progress", "none")
    assert result.exit_code == 0
    assert re.match(r"d2det: notice: uint16 values \d+ to \d+ are scaled to 0 to 255\n", result.stderr)


def test_one_band_may_be_named_three_times(d2det, tmp_path):
    out = tmp_path / "out.gpkg"
    assert d2det("predict", "grey.tif", "-o", out, "--model", "tiny.safetensors", "--bands", "1,1,1").exit_code == 0
    assert out.exists()


BAD_MODELS = {
    "no-such-model": (2, r"no-such-model: no such model; packaged are: .*buildings.*; or give the path of a .*bundle"),
    "corrupt.safetensors": (4, r"corrupt\.safetensors: .*damaged.*"),
    "pickle.safetensors": (4, r"pickle\.safetensors: a PyTorch pickle, which could run code when loaded; .*"),
}


@pytest.mark.parametrize(("model", "expected"), BAD_MODELS.items())
def test_a_model_that_cannot_be_used(d2det, tmp_path, model, expected):
    result = d2det("predict", "scene.tif", "--out", tmp_path / "out.gpkg", "--model", model)
    assert result.exit_code == expected[0]
    assert re.fullmatch(rf"d2det: error: {expected[1]}\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_written(d2det, tmp_path):
    (tmp_path / "there.gpkg").write_text("mine")
    (tmp_path / "file").touch()
    cases = {
        "out.xyz": (2, f"unknown output format '.xyz'; supported suffixes are {', '.join(FORMATS)}"),
        "there.gpkg": (5, "exists already; pass --overwrite to replace it"),
        "file/out.gpkg": (1, "its folder cannot be written to (Not a directory); choose another"),
        "missing/out.gpkg": (1, "its folder does not exist; make it, or choose another"),
    }
    for name, (code, problem) in cases.items():
        result = d2det("predict", "scene.tif", "--out", tmp_path / name, "--model", "tiny.safetensors")
        assert (result.exit_code, result.stderr) == (code, f"d2det: error: {tmp_path / name}: {problem}\n")
    assert (tmp_path / "there.gpkg").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there.gpkg"]


def test_overwrite_replaces(d2det, tmp_path):
    out = tmp_path / "out.geojson"
    out.write_text("mine")
    assert d2det("predict", "small.tif", "-o", out, "--model", "tiny.safetensors", "--overwrite", "-q").exit_code == 0
    assert json.loads(out.read_text())["type"] == "FeatureCollection"


BAD_OPTIONS = {
    ("--gsd", "fine"): "--gsd fine: give bundle, native or a number of m/px",
    ("--gsd", "-1"): "the GSD must be a positive number of metres per pixel, got -1.0",
    ("--bands", "red"): "--bands red: give three numbers, such as 4,3,2",
    ("--bands", "1,2"): "scene.tif: --bands takes three bands (red, green, blue), got 2",
    ("--bands", "1,2,9"): "scene.tif: has no band 9; --bands counts from 1 to 3",
    ("--device", "tpu"): "--device tpu: no such device; use auto, cpu, cuda or cuda:N",
    ("--overlap", "128"): "--overlap 128: must be at least 0 and less than the chip size, 128 px",
}


@pytest.mark.parametrize(("pair", "problem"), BAD_OPTIONS.items())
def test_options_that_make_no_sense(d2det, tmp_path, pair, problem):
    result = d2det("predict", "scene.tif", "--out", tmp_path / "out.gpkg", "--model", "tiny.safetensors", *pair)
    assert (result.exit_code, result.stderr) == (2, f"d2det: error: {problem}\n")


def test_streams(d2det, tmp_path):
    """Data on standard output, everything else on standard error; quiet is quiet; verbose adds the times."""
    command = ("predict", "small.tif", "--model", "tiny.safetensors", "--overwrite", "-o", tmp_path / "out.gpkg")
    quiet, verbose = d2det(*command, "-q"), d2det(*command, "-v", "--progress", "json")
    assert (quiet.stdout, quiet.stderr, verbose.stdout) == ("", "", "")
    first, *_, times = verbose.stderr.splitlines()
    assert json.loads(first).items() >= {"event": "progress", "what": "predict", "done": 1, "total": 1}.items()
    assert re.fullmatch(r"d2det: open [\d.]+ s, read [\d.]+ s, network [\d.]+ s, .*write [\d.]+ s, all [\d.]+ s", times)


BAD_CONFIGS = {
    "missing.yaml": (4, r"missing\.yaml: cannot read the configuration .*"),
    "malformed.yaml": (4, r"malformed\.yaml, line 2: not valid YAML .*"),
    "unknown.yaml": (2, r"unknown\.yaml: run\.batchsize: no such key; did you mean batch_size\?"),
    "mistyped.yaml": (2, r"mistyped\.yaml: run\.steps: Input should be a valid integer.*, got 'many'"),
    "none.yaml": (4, r"none\.geojson: holds no labels; give a file with at least one polygon"),
    "elsewhere.yaml": (4, r"elsewhere\.gpkg: no label lies inside scene\.tif; .*"),
}


@pytest.mark.parametrize(("config", "expected"), BAD_CONFIGS.items())
def test_a_configuration_that_cannot_be_used(d2det, tmp_path, config, expected):
    result = d2det("train", config, "--out", tmp_path / "run", "--progress", "none")
    assert result.exit_code == expected[0]
    assert re.fullmatch(rf"d2det: error: {expected[1]}\n", result.stderr)
    assert list(tmp_path.rglob("*.*")) == []


def test_show_config_prints_every_setting_and_can_be_read_back(d2det, tmp_path):
    result = d2det("train", "tiny.yaml", "--show-config")
    assert (result.exit_code, result.stderr) == (0, "")
    (tmp_path / "shown.yaml").write_text(result.stdout)
    assert load_config(tmp_path / "shown.yaml") == load_config(Path("tiny.yaml"))
    assert "learning_rate: 0.0004" in result.stdout


def test_train_maps_classes_beside_the_file(d2det):
    result = d2det("train", "tiny.yaml", "--class-map", "house=building,tree=", "--ignore", "site", "--show-config")
    data = yaml.safe_load(result.stdout)["data"]
    assert (data["class_map"]["house"], data["class_map"]["tree"], data["ignore"]) == ("building", "", ["site"])
    wrong = d2det("train", "tiny.yaml", "--class-map", "house=castle", "--show-config")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "d2det: error: --class-map: castle is none of the classes, building\n",
    )


def test_train_wants_one_folder_and_one_answer_to_what_is_in_it(d2det, tmp_path):
    assert (
        d2det("train", "tiny.yaml").stderr
        == "d2det: error: --out DIR is missing: where checkpoint, log and bundle go\n"
    )
    both = d2det("train", "tiny.yaml", "-o", tmp_path, "--resume", "--overwrite")
    assert (both.exit_code, both.stderr) == (
        2,
        "d2det: error: --resume and --overwrite exclude each other; give one of them\n",
    )


def test_train_then_predict_with_what_it_wrote(d2det, tmp_path):
    result = d2det("train", "tiny.yaml", "--out", tmp_path / "run", "--max-steps", "2", "--progress", "none")
    assert result.exit_code == 0, result.stderr
    bundle = tmp_path / "run" / "tiny.safetensors"
    assert re.fullmatch(rf"d2det: {bundle}: 2 steps in [\d.]+ min\n", result.stderr)
    again = d2det("train", "tiny.yaml", "--out", tmp_path / "run", "--max-steps", "2")
    assert again.exit_code == 5
    assert again.stderr == (
        f"d2det: error: {tmp_path / 'run'}: holds a training run; pass --resume to go on with it, or --overwrite\n"
    )
    assert d2det("predict", "small.tif", "--model", bundle, "-o", tmp_path / "out.gpkg", "-q").exit_code == 0


def test_evaluate_by_hand(d2det):
    """Two roofs predicted exactly: every score is 1."""
    result = d2det("evaluate", "--truth", "roofs.gpkg", "--pred", "roofs.gpkg", "--json", "--fail-under", "ap75=1")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["metrics"].items() >= {"ap": 1.0, "ap50": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}.items()
    table = d2det("evaluate", "--truth", "roofs.gpkg", "--pred", "roofs.gpkg").stdout
    assert "all  1.0000  1.0000  1.0000     1.0000  1.0000  1.0000      2      2\n" in table


def test_a_gate_that_fails_reports_first_and_then_exits_with_6(d2det):
    command = ("evaluate", "--truth", "roofs.gpkg", "--pred", "bow.gpkg", "--fail-under", "recall=0.75", "--json")
    result = d2det(*command)
    assert result.exit_code == 6
    notice, error = result.stderr.splitlines()
    assert notice == "d2det: notice: bow.gpkg: 1 invalid polygons repaired"
    assert error == "d2det: error: below the bar: recall 0.0000 < 0.75"
    assert json.loads(result.stdout)["metrics"]["recall"] == 0


EVALUATE_ERRORS = {
    ("--truth", "missing.gpkg", "--pred", "roofs.gpkg"): (
        4,
        "missing.gpkg: no such file; give the path of a vector file",
    ),
    ("--truth", "roofs.gpkg", "--pred", "roofs.gpkg", "--fail-under", "map=1"): (
        2,
        "--fail-under map: no such metric; there are ap, ap50, ap75, precision, recall, f1, score_threshold;"
        " of one class, CLASS.METRIC (building)",
    ),
    ("--truth", "roofs.gpkg", "--pred", "roofs.gpkg", "--class-map", "car"): (
        2,
        "--class-map car: 'car' is not A=B; example: car=vehicle,tree=",
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), EVALUATE_ERRORS.items())
def test_evaluate_refuses(d2det, arguments, expected):
    result = d2det("evaluate", *arguments)
    assert (result.exit_code, result.stderr) == (expected[0], f"d2det: error: {expected[1]}\n")


def test_tile(d2det, tmp_path):
    out = tmp_path / "chips"
    command = ("tile", "scene.tif", "-o", out, "--labels", "roofs.gpkg", "--chip-size", 96, "--overlap", 32)
    result = d2det(*command, "--progress", "none", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["chips"] == len(list(out.glob("*.tif"))) == 3 * 2
    assert summary["objects"] == 2
    again = d2det(*command)
    assert again.exit_code == 5
    assert re.fullmatch(rf"d2det: error: {out}: .*--overwrite.*\n", again.stderr)
    outside = d2det("tile", "scene.tif", "-o", tmp_path / "other", "--labels", "elsewhere.gpkg")
    assert outside.exit_code == 4
    assert outside.stderr.startswith("d2det: error: elsewhere.gpkg: ")
    assert not (tmp_path / "other").exists()


def test_models(d2det):
    table, card = d2det("models"), d2det("models", "buildings")
    assert table.exit_code == card.exit_code == 0
    assert re.search(r"^buildings +building +[\d.]+ m/px.* MB +.*ap50 0\.\d{3}", table.stdout, flags=re.MULTILINE)
    assert "OpenAerialMap" in card.stdout
    assert [item["name"] for item in json.loads(d2det("models", "--json").stdout)] == ["buildings"]
    assert json.loads(d2det("models", "tiny.safetensors", "--json").stdout)["classes"] == ["building"]


def test_the_shipped_model_is_the_default(d2det, tmp_path):
    result = d2det("predict", "scene.tif", "-o", tmp_path / "out.geojson", "--progress", "none", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == "buildings"


def test_demo(d2det, tmp_path):
    result = d2det(
        "demo", "--out", tmp_path / "demo", "--size", 256, "--model", "tiny.safetensors", "--progress", "none"
    )
    assert result.exit_code == 0, result.stderr
    names = {"scene.tif", "truth.geojson", "buildings.geojson", "buildings.geojson.manifest.json", "preview.png"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == names
    assert re.search(r"^f1 +(0\.\d{4}|-)$", result.stdout, flags=re.MULTILINE)


def wait_for_progress(process):
    for line in process.stderr:
        if '"progress"' in line:
            return
    raise AssertionError(f"ended with {process.wait()} before any progress")


def test_ctrl_c_in_predict_says_how_to_go_on_and_it_does(workplace, d2det, tmp_path):
    out = tmp_path / "out.gpkg"
    size = ("--chip-size", "64", "--overlap", "52", "--batch-size", "1")  # hundreds of chips: time to interrupt
    command = ("predict", "scene.tif", "-o", str(out), "--model", "tiny.safetensors", "--progress", "json", *size)
    process = start(*command, "--overwrite")
    wait_for_progress(process)
    process.send_signal(signal.SIGTERM)  # as a time limit sends; Ctrl-C is the same
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith(f"\nd2det: interrupted; go on with: d2det {shlex.join(command)} --overwrite --resume\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.gpkg.ledger"]
    result = d2det(*command)
    assert (result.exit_code, "--resume" in result.stderr) == (5, True)
    assert d2det(*command, "--overwrite", "--resume", "-q").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gpkg", "out.gpkg.manifest.json"]


def test_ctrl_c_in_train_says_how_to_go_on_and_it_does(workplace, d2det, tmp_path):
    out = tmp_path / "a run"
    process = start("train", "tiny.yaml", "--out", str(out), "--progress", "json")
    wait_for_progress(process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith(f"\nd2det: interrupted; go on with: d2det train tiny.yaml --out '{out}' --resume\n")
    assert not (out / "tiny.safetensors").exists()
    assert d2det("train", "tiny.yaml", "--out", out, "--resume", "--max-steps", 1, "-q").exit_code == 0
    assert (out / "tiny.safetensors").exists()


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from d2det_cli.main import app\n"
        "for command in ([], *([item.callback.__name__.replace('_', '-')] for item in app.registered_commands)):\n"
        "    assert CliRunner().invoke(app, [*command, '--help']).exit_code == 0\n"
        "heavy = ('torch', 'torchvision', 'rasterio', 'geopandas', 'pandas', 'numpy', 'shapely', 'yaml', 'rich')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_reader_that_goes_away_is_no_error(workplace):
    process = start("train", "tiny.yaml", "--show-config")
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr.read() == ""
    process.stderr.close()


def test_version(d2det):
    assert d2det("--version").stdout == f"d2det {__version__}\n"


def test_no_command_shows_the_help(d2det):
    result = d2det()
    assert result.exit_code == 2
    assert "Exit codes: 0 ok" in result.stdout + result.stderr


def test_a_bug_keeps_its_traceback(workplace, monkeypatch):
    def broken(*_, **__):
        return 1 / 0

    monkeypatch.setattr("d2det_geo.pipeline.evaluate.score_files", broken)
    result = CliRunner().invoke(app, ["evaluate", "--truth", "a", "--pred", "b"])
    assert isinstance(result.exception, ZeroDivisionError)


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


EXPLAINED = [
    (D2DetError("a: b; c"), 1, "a: b; c"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 7, "No module named 'torch'; `d2det doctor`"),
    (RuntimeError("operator torchvision::nms does not exist"), 7, "torch and torchvision do not fit together"),
    (OutOfMemoryError("CUDA out of memory"), 1, "the GPU is out of memory"),
    (OSError(errno.ENOSPC, "No space left on device", "out.gpkg"), 1, "out.gpkg: no space left on the disk"),
]


@pytest.mark.parametrize(("error", "code", "words"), EXPLAINED)
def test_failures_of_the_surroundings_are_explained(error, code, words):
    known = failures.explained(error)
    assert known.exit_code == code
    assert str(known).startswith(words)


@pytest.mark.parametrize("error", [ValueError("x"), ImportError("y", name="d2det_geo.model"), OSError(errno.EIO, "z")])
def test_bugs_are_not_explained(error):
    assert failures.explained(error) is None


def test_options_are_read():
    assert texts.parse_class_map("car=vehicle, truck=vehicle,tree=") == {
        "car": "vehicle",
        "truck": "vehicle",
        "tree": "",
    }
    assert texts.parse_class_map("") == {}
    assert texts.parse_names("a, b,") == ("a", "b")
    assert texts.parse_bands("4,3,2") == (4, 3, 2)
    assert (texts.parse_gsd("0.3"), texts.parse_gsd("native")) == (0.3, "native")


def test_an_undefined_number_is_null_in_json(capsys):
    say.print_json({"metrics": {"f1": float("nan"), "ap": 0.5}, "notices": ("a",), "scores": [float("nan")]})
    expected = {"metrics": {"f1": None, "ap": 0.5}, "notices": ["a"], "scores": [None]}
    assert json.loads(capsys.readouterr().out) == expected


def test_an_undefined_score_is_below_every_bar():
    with pytest.raises(D2DetError, match=r"^below the bar: f1 \(undefined: nothing to judge it by\) < 0$"):
        gates.check_gates({"f1": float("nan")}, {"f1": 0.0})
