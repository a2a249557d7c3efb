"""Many scenes into a folder, through the command: names, failures, lists, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.errors import InputError
from d2det_geo.pipeline.batch import predict_batch
from tests.kills import write_inputs

WriteRaster = Callable[..., Path]


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes in two folders, one of them cut short, and a tiny network."""
    folder = tmp_path_factory.mktemp("flight")
    write_inputs(folder, 96)
    whole = (folder / "scene.tif").read_bytes()
    for name in ("100/a.tif", "100/b.tif", "101/a.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(whole)
    (folder / "100/b.tif").write_bytes(whole[: len(whole) // 2])
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        app, ["predict", *arguments, "--model", str(folder / "tiny.safetensors"), "--progress", "none"]
    )
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_bad_scene_is_skipped_listed_and_tried_again(flight: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scenes = [str(flight / "100"), str(flight / "101/*.tif")]
    code, stdout, stderr = run(flight, *scenes, "--out-dir", str(out), "--on-error", "skip", "--json")
    assert code == 3
    names = ["100_a.geojson", "101_a.geojson"]
    assert sorted(path.name for path in out.glob("*.geojson")) == names
    assert sorted(path.name for path in out.iterdir() if path.name not in names) == [
        "100_a.geojson.manifest.json",
        "101_a.geojson.manifest.json",
        "failed.txt",
    ]
    report = json.loads(stdout)
    assert [failure["exit_code"] for failure in report["failed"]] == [4]
    assert len(report["scenes"]) == 2
    assert stderr.splitlines()[-1] == (
        f"d2det: error: 1 of 3 scenes failed; they are listed in {out / 'failed.txt'}:"
        f" give @{out / 'failed.txt'} to try them again"
    )
    assert len(pyogrio.read_dataframe(out / "100_a.geojson")) == report["scenes"][0]["objects"]
    reason, scene = (out / "failed.txt").read_text(encoding="utf-8").splitlines()
    assert reason.startswith(f"# {scene}: cannot read")
    assert scene == str(flight / "100/b.tif")
    # The list is an input: once the scene is repaired, the batch ends well and the list is gone.
    whole = (flight / "scene.tif").read_bytes()
    broken = (flight / "100/b.tif").read_bytes()
    (flight / "100/b.tif").write_bytes(whole)
    try:
        assert run(flight, f"@{out / 'failed.txt'}", "--out-dir", str(out))[0] == 0
    finally:
        (flight / "100/b.tif").write_bytes(broken)
    assert not (out / "failed.txt").exists()
    assert (out / "b.geojson").exists()


def test_a_bad_scene_stops_the_batch_and_resume_goes_on(flight: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (str(flight / "100"), str(flight / "101"), "--out-dir", str(out), "--format", "FlatGeobuf")
    code, _, stderr = run(flight, *arguments)
    assert code == 4
    assert "b.tif: cannot read" in stderr
    assert "1 of 3 scenes are done: --resume goes on with the others" in stderr
    before = (out / "100_a.fgb").stat().st_mtime_ns
    code, _, stderr = run(flight, *arguments, "--resume", "--on-error", "skip")
    assert code == 3
    assert "the output was complete, nothing was done" in stderr
    assert (out / "100_a.fgb").stat().st_mtime_ns == before
    assert (out / "101_a.fgb").exists()
    assert run(flight, *arguments)[0] == 5


def test_when_every_scene_fails_the_code_is_of_the_failure(flight: Path, tmp_path: Path) -> None:
    arguments = (str(flight / "100/b.tif"), str(flight / "none.tif"), "--out-dir", str(tmp_path / "out"))
    assert run(flight, *arguments, "--on-error", "skip")[0] == 4


def test_missing_scenes_and_outputs_that_do_not_fit_are_said_before_any_work(flight: Path, tmp_path: Path) -> None:
    scene = str(flight / "scene.tif")
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"none\.tif: no such file"):
        predict_batch([scene, str(flight / "none.tif")], out, flight / "tiny.safetensors")
    assert list(out.iterdir()) == []
    assert run(flight, scene)[::2] == (2, "d2det: error: give --out FILE for one scene, or --out-dir DIR for several\n")
    code, _, stderr = run(flight, scene, str(flight / "101/a.tif"), "--out", str(tmp_path / "x.gpkg"))
    assert (code, "there are 2 scenes" in stderr) == (2, True)
    code, _, stderr = run(flight, scene, "--out-dir", str(out), "--format", "dwg")
    assert (code, "--format dwg: no such format" in stderr) == (2, True)


def test_a_scene_given_to_standard_output_is_lines_of_features(flight: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(flight, str(flight / "scene.tif"), "--out", "-", "--score", "0")
    assert code == 0
    features = [json.loads(line) for line in stdout.splitlines()]
    assert {feature["type"] for feature in features} == {"Feature"}
    assert f"standard output: {len(features)} objects" in stderr
    assert np.isfinite([feature["properties"]["score"] for feature in features]).all()
