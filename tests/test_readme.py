"""The README is true: every command, configuration and Python block in it runs, in its order, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import rasterio

from d2det_cli.main import app
from d2det_geo import errors
from d2det_geo.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHECKOUT = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
BLOCKS = re.findall(r"^```(bash|python|yaml|json)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines() if line.strip()]
DEMO = "demo --out demo --size 640"  # what `make demo` runs, on a smaller town


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """Follow the README from top to bottom; what each block or line gave, by its text."""
    folder = tmp_path_factory.mktemp("reader")
    demo = run(["-m", "d2det_cli", *DEMO.split()], folder)
    assert demo.returncode == 0, demo.stderr
    results = {}
    for language, text in BLOCKS:
        if language == "yaml":
            (folder / text.partition("\n")[0].removeprefix("# ")).write_text(text)
        elif language == "json":
            (folder / "aoi.geojson").write_text(text)
        elif language == "python":
            results[text] = run(["-c", text], folder)
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "d2det", line
                results[line] = run(["-m", "d2det_cli", *arguments], folder)
    return folder, results


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(reading, command):
    _, results = reading
    assert results[command].returncode == 0, results[command].stderr


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "python"])
def test_python_runs(reading, text):
    folder, results = reading
    assert results[text].returncode == 0, results[text].stderr
    assert {"class", "score", "area_m2"} <= set(geopandas.read_file(folder / "from_python.gpkg").columns)


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "yaml"])
def test_configuration_is_valid(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert load_config(path).classes == ("building",)


def test_every_command_is_shown():
    """``import-weights`` needs a checkpoint nobody may ship: it is shown, and run in test_import_weights.py."""
    shown = {shlex.split(command)[1] for command in COMMANDS} | set(
        re.findall(r"^d2det (import-weights) ", README, re.M)
    )
    groups = {group.name for group in app.registered_groups}
    assert shown == {command.callback.__name__.replace("_", "-") for command in app.registered_commands} | groups


def test_the_written_files_open_elsewhere(reading):
    folder, _ = reading
    objects = geopandas.read_file(folder / "buildings.geojson")
    assert objects.crs == "EPSG:4326"
    assert {"class", "score", "area_m2"} <= set(objects.columns)
    assert geopandas.read_file(folder / "corner.gpkg", layer="corner").crs == "EPSG:32645"
    chips = sorted((folder / "chips").rglob("*.tif"))
    with rasterio.open(chips[0]) as chip:
        assert (chip.width, chip.height, chip.crs.to_epsg()) == (256, 256, 32645)


def test_local_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert "docs/preview.jpg" in targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_exit_codes_are_those_of_the_errors():
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    raised = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    assert documented == raised | {0, 130}
