"""What is installed, and which way imports point."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import d2det_geo
from d2det_geo.detections import Detections

ROOT = Path(__file__).parents[1]
CHECKOUT = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
BUNDLE_LIMIT = 12_000_000  # bytes


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    path = next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    with zipfile.ZipFile(path) as archive:
        yield Path(path).name, {item.filename: item.file_size for item in archive.infolist()}


def test_the_wheel_claims_three_names(wheel):
    name, files = wheel
    packages = {file.partition("/")[0] for file in files if ".dist-info/" not in file}
    assert packages == {"d2det_geo", "d2det_cli", "d2det_ops"}
    assert name == f"d2det-{d2det_geo.__version__}-py3-none-any.whl"


def test_the_wheel_holds_every_module_of_the_checkout(wheel):
    _, files = wheel
    roots = {"d2det_geo": ROOT, "d2det_cli": ROOT / "cli", "d2det_ops": ROOT / "cuda_ops"}
    modules = {
        path.relative_to(root).as_posix()
        for package, root in roots.items()
        for path in (root / package).rglob("*")
        if path.suffix in {".py", ".html", ".css", ".js"}
    }
    assert {"d2det_cli/main.py", "d2det_geo/pipeline/report/page.css"} <= modules
    assert modules <= set(files)


def test_the_wheel_holds_the_packaged_models(wheel):
    _, files = wheel
    bundles = {file: size for file, size in files.items() if file.endswith(".safetensors")}
    assert "d2det_geo/bundles/buildings.safetensors" in bundles
    assert all(0 < size <= BUNDLE_LIMIT for size in bundles.values())


def test_the_wheel_names_the_command_and_the_licence(wheel):
    _, files = wheel
    extras = {file.partition(".dist-info/")[2] for file in files if ".dist-info/" in file}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= extras


def test_imports_point_down():
    result = python(
        "-c", "import sys; sys.argv = ['lint-imports']; from importlinter import cli; cli.lint_imports_command()"
    )
    assert result.returncode == 0, result.stdout
    assert "1 kept, 0 broken" in result.stdout


def test_the_face_is_lazy():
    code = "import sys, d2det_geo; print([m for m in ('numpy', 'torch', 'rasterio', 'geopandas') if m in sys.modules])"
    assert python("-c", code).stdout == "[]\n"


def test_the_face_has_what_it_lists():
    assert dir(d2det_geo) == ["Detections", "__version__", "load_model", "predict_scene"]
    for name in d2det_geo.__all__:
        assert getattr(d2det_geo, name) is not None


def test_the_face_gives_the_object_of_its_home():
    assert d2det_geo.Detections is Detections


def test_the_face_refuses_other_names():
    with pytest.raises(AttributeError, match=r"^module 'd2det_geo' has no attribute 'predict'$"):
        _ = d2det_geo.predict
