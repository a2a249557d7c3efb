"""Many scenes into a folder, through the command: names, failures, lists, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        "b.geojson.ledger",
        "failed.txt",
        "outputs.json",
    ]
    report = json.loads(stdout)
    assert [failure["exit_code"] for failure in report["failed"]] == [4]
    assert len(report["scenes"]) == 2
    assert stderr.splitlines()[-1] == (
        f"d2det: error: 1 of 3 scenes failed; they are listed in {out / 'failed.txt'}:"
        f" try again with @{out / 'failed.txt'} --resume, or --overwrite --resume where the scene was repaired"
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
        code, _, stderr = run(flight, f"@{out / 'failed.txt'}", "--out-dir", str(out), "--resume")
        assert code == 2
        assert "the scene changed" in stderr
        assert "--overwrite --resume replaces what is of another run" in stderr
        assert run(flight, f"@{out / 'failed.txt'}", "--out-dir", str(out), "--overwrite", "--resume")[0] == 0
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


def test_an_output_is_never_given_to_another_scene(
    flight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = (flight / "scene.tif").read_bytes()
    (tmp_path / "x").mkdir()
    (tmp_path / "a.tif").write_bytes(whole)
    (tmp_path / "x/a.tif").write_bytes(whole[: len(whole) // 2])
    assert run(flight, "a.tif", "x/a.tif", "--out-dir", "f", "--on-error", "skip")[0] == 3
    before = (tmp_path / "f/a.geojson").read_bytes()
    (tmp_path / "x/a.tif").write_bytes(whole)
    assert run(flight, "@f/failed.txt", "--out-dir", "f", "--overwrite")[0] == 0
    assert (tmp_path / "f/a.geojson").read_bytes() == before
    assert set(pyogrio.read_dataframe("f/x_a.geojson")["scene"]) == {"x/a.tif"}
    (tmp_path / "x/b.tif").write_bytes(whole)
    assert run(flight, "x", "./a.tif", "--out-dir", "f", "--resume")[0] == 0
    assert sorted(path.name for path in (tmp_path / "f").glob("*.geojson")) == [
        "a.geojson",
        "b.geojson",
        "x_a.geojson",
    ]
    names = json.loads((tmp_path / "f/outputs.json").read_text(encoding="utf-8"))
    assert names == {"a.tif": "a", "x/a.tif": "x_a", "x/b.tif": "b"}


@pytest.mark.parametrize("content", ["{", "[]", '{"a.tif": 3}', '{"a.tif": "../a"}', '{"a.tif": ""}'])
def test_names_that_cannot_be_read_are_said(flight: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "outputs.json").write_text(content, encoding="utf-8")
    code, _, stderr = run(flight, str(flight / "scene.tif"), "--out-dir", str(tmp_path))
    assert code == 4
    assert f"{tmp_path / 'outputs.json'}: cannot be read" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outputs.json"]


def ending(error: BaseException) -> Any:
    def announce(index: int, count: int, scene: str) -> Any:
        def told(done: int, total: int) -> None:
            if index == 1:
                raise error

        return told

    return announce


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (RuntimeError("the GPU is out of memory"), "the GPU is out of memory; 1 windows are done"),
        (InputError("cannot be read"), "cannot be read; 1 windows are done"),
    ],
    ids=["Ctrl-C", "bug", "scene"],
)
def test_a_batch_that_ends_early_lists_what_is_left(
    flight: Path, tmp_path: Path, error: BaseException, reason: str
) -> None:
    scenes = [str(flight / name) for name in ("100/a.tif", "101/a.tif", "scene.tif")]
    (tmp_path / "failed.txt").write_text(f"# then\n{scenes[0]}\n# broken\nother.tif\n", encoding="utf-8")
    kept = "" if isinstance(error, KeyboardInterrupt) else " and kept, the same command with --resume goes on"
    with pytest.raises(type(error)):
        predict_batch(scenes, tmp_path, flight / "tiny.safetensors", announce=ending(error))
    listed = (tmp_path / "failed.txt").read_text(encoding="utf-8")
    assert listed == f"# broken\nother.tif\n# {reason}{kept}\n{scenes[1]}\n# not reached\n{scenes[2]}\n"
    (tmp_path / "failed.txt").write_text(listed.replace("# broken\nother.tif\n", ""), encoding="utf-8")
    assert run(flight, f"@{tmp_path / 'failed.txt'}", "--out-dir", str(tmp_path), "--resume")[0] == 0
    assert sorted(path.name for path in tmp_path.glob("*.geojson")) == [
        "100_a.geojson",
        "101_a.geojson",
        "scene.geojson",
    ]
    assert not (tmp_path / "failed.txt").exists()


def test_an_interrupted_batch_that_overwrites_goes_on(flight: Path, tmp_path: Path) -> None:
    scenes = [str(flight / name) for name in ("100/a.tif", "101/a.tif", "scene.tif")]
    predict_batch(scenes, tmp_path, flight / "tiny.safetensors")
    with pytest.raises(KeyboardInterrupt):
        predict_batch(
            scenes,
            tmp_path,
            flight / "tiny.safetensors",
            announce=ending(KeyboardInterrupt()),
            overwrite=True,
            min_area=1.0,
        )
    options = (*scenes, "--out-dir", str(tmp_path), "--min-area", "1")
    first = (tmp_path / "100_a.geojson").stat().st_mtime_ns
    code, _, stderr = run(flight, *options, "--resume")
    assert code == 5
    assert "--overwrite --resume replaces what is of another run" in stderr
    assert run(flight, *options, "--overwrite", "--resume")[0] == 0
    assert (tmp_path / "100_a.geojson").stat().st_mtime_ns == first
    settings = [
        json.loads(path.read_text(encoding="utf-8"))["settings"]["--min-area"]
        for path in tmp_path.glob("*.manifest.json")
    ]
    assert settings == [1.0] * 3


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
    assert (code, "--format dwg: unknown format; choose one of geojson, " in stderr) == (2, True)


def test_a_scene_given_to_standard_output_is_lines_of_features(flight: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(flight, str(flight / "scene.tif"), "--out", "-", "--score", "0")
    assert code == 0
    features = [json.loads(line) for line in stdout.splitlines()]
    assert {feature["type"] for feature in features} == {"Feature"}
    assert f"standard output: {len(features)} objects" in stderr
    assert np.isfinite([feature["properties"]["score"] for feature in features]).all()
