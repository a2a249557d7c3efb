"""The doctor: each finding by hand, on broken packages made for the purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from d2det_geo.pipeline import doctor
from d2det_geo.pipeline.doctor import Check, examine, run_checks
from d2det_ops import gpu

ROOT = Path(__file__).parents[1]
CHECKOUT = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))


def run_with(modules: dict[str, str], folder: Path) -> tuple[int, dict[str, dict[str, str]], str]:
    """Run `d2det doctor --json` with ``modules`` (name -> source) in the way of the installed ones."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), CHECKOUT))}
    result = subprocess.run(
        [sys.executable, "-m", "d2det_cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    checks = json.loads(result.stdout)["checks"]
    return result.returncode, {check["name"]: check for check in checks}, result.stderr


def test_every_probe_reports_here():
    checks = run_checks()
    assert [check.name for check in checks] == list(doctor.PROBES)
    assert {check.name: check.detail for check in checks if check.status == "broken"} == {}
    assert all(check.detail for check in checks)


def test_torch_and_torchvision_that_are_no_pair(tmp_path):
    clash = "raise RuntimeError('operator torchvision::nms does not exist')"
    code, checks, stderr = run_with({"torchvision": clash}, tmp_path)
    check = checks["torch and torchvision"]
    assert code == 7
    assert check["status"] == "broken"
    assert "do not fit together (operator torchvision::nms does not exist)" in check["detail"]
    assert check["advice"].endswith("pip install --force-reinstall torch torchvision")
    assert checks["vector formats"]["status"] == "ok"
    assert stderr.startswith("d2det: error: does not work: torch and torchvision")
    assert stderr.count("\n") == 1


def test_without_torch_the_others_still_report(tmp_path):
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    code, checks, _ = run_with({"torch": missing}, tmp_path)
    assert code == 7
    assert checks["torch and torchvision"]["detail"] == "No module named 'torch'"
    assert checks["torch and torchvision"]["advice"] == "pip install --upgrade torch"
    for name in ("Python", "CPU", "raster formats", "vector formats", "coordinate systems", "numba", "pycocotools"):
        assert checks[name]["status"] == "ok", checks[name]


def test_a_probe_that_raises_is_broken_and_says_why():
    def probe(name: str) -> Check:
        raise ValueError("numpy.dtype size changed")

    check = examine("pycocotools", probe)
    assert (check.status, check.detail) == ("broken", "ValueError: numpy.dtype size changed")


def test_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 12))
    check = doctor.check_python("Python")
    assert check.status == "broken"
    assert "3.11" in check.advice


def test_a_missing_driver_is_named():
    check = doctor._drivers("vector formats", "pyogrio 1.0", ("GPKG", "GeoJSON"), {"GeoJSON"}, "pyogrio")
    assert (check.status, check.detail) == ("broken", "pyogrio 1.0: its GDAL lacks GPKG")


def test_a_stray_proj_is_named(monkeypatch):
    monkeypatch.setenv("PROJ_LIB", "/elsewhere/share/proj")
    assert doctor._proj_advice() == "unset PROJ_LIB"
    monkeypatch.delenv("PROJ_LIB")
    monkeypatch.delenv("PROJ_DATA", raising=False)
    assert doctor._proj_advice() == "pip install --force-reinstall pyproj rasterio"


def test_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_MEMORY_GB", 1e6)
    assert doctor.check_memory("memory").status == "warning"


@pytest.mark.parametrize("content", [None, "MemTotal: 7 kB\n"])
def test_memory_nobody_tells_of_is_fine(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(doctor, "MEMORY", tmp_path / "meminfo")
    check = doctor.check_memory("memory")
    assert (check.status, check.detail) == ("ok", "unknown")


@pytest.mark.parametrize("failure", ["ImportError('Numba needs NumPy 2.2 or less')", "SystemError('initialization')"])
def test_numba_that_does_not_work_is_broken(tmp_path, failure):
    code, checks, _ = run_with({"numba": f"raise {failure}"}, tmp_path)
    assert code != 0
    assert checks["numba"]["status"] == "broken"
    assert checks["numba"]["advice"] == "pip install --upgrade numba"
    assert checks["numba"]["detail"] == failure.replace("('", ": ").removesuffix("')")


def test_a_temporary_folder_that_cannot_be_written(monkeypatch):
    def refuse():
        raise OSError("Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = doctor.check_temporary_folder("temporary folder")
    assert check.status == "broken"
    assert "TMPDIR" in check.advice


def test_a_gpu_without_kernels_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Made-up 1080")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (6, 1))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(2, 2))
    gpu.problem_of.cache_clear()
    check = doctor.check_gpu("GPU")
    gpu.problem_of.cache_clear()
    assert check.status == "warning"
    assert "without kernels" in check.detail
    assert "6.1" in check.detail


@pytest.mark.parametrize(("built", "words"), [(None, "torch is built for CPU only"), ("13.2", "built for CUDA 13.2")])
def test_a_driver_without_a_usable_gpu_is_a_warning(monkeypatch, built, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    check = doctor.check_gpu("GPU")
    assert check.status == "warning"
    assert words in check.detail
