"""An output between runs: whose it is, what is kept of a run that ends early, and what may be replaced."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from d2det_geo.errors import InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.ledger import Ledger, RunKey, ledger_path
from d2det_geo.pipeline.manifest import manifest_path, read_manifest, write_manifest
from d2det_geo.pipeline.output import Output
from tests.ledgers import KEY, batch

OTHER = replace(KEY, version="another")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.geojson"


def output(path: Path, *flags: str) -> Output:
    return Output(path, overwrite="overwrite" in flags, resume="resume" in flags, format=None)


def interrupted(path: Path, key: RunKey) -> None:
    with Ledger.start(ledger_path(path), key) as ledger:
        ledger.record(batch(0))


def finished(path: Path, key: RunKey) -> dict[str, object]:
    path.write_text("objects", encoding="utf-8")
    write_manifest(path, {"run": key.run_id, "counts": {"objects": 3}})
    return {"schema": "d2det-manifest/1", "run": key.run_id, "counts": {"objects": 3}}


def test_a_complete_output_is_known_by_its_manifest(path: Path) -> None:
    assert output(path, "resume").complete(KEY) is None
    manifest = finished(path, KEY)
    assert output(path, "resume").complete(KEY) == manifest
    assert output(path, "overwrite", "resume").complete(KEY) == manifest
    assert output(path, "overwrite").complete(KEY) is None
    interrupted(path, KEY)
    assert output(path, "resume").complete(KEY) is None


@pytest.mark.parametrize("recorded", [True, False], ids=["another run", "no manifest"])
def test_an_output_of_another_run_is_replaced_only_with_both_flags(path: Path, recorded: bool) -> None:
    finished(path, OTHER)
    if not recorded:
        manifest_path(path).unlink()
    with pytest.raises(OutputExistsError, match="another scene, model or options; --overwrite --resume replaces"):
        output(path, "resume").complete(KEY)
    assert output(path, "overwrite", "resume").complete(KEY) is None


def test_both_flags_go_on_with_the_runs_own_ledger(path: Path) -> None:
    finished(path, OTHER)
    interrupted(path, KEY)
    with output(path, "overwrite", "resume").ledger(KEY) as ledger:
        assert ledger.next_window == 3


@pytest.mark.parametrize("damaged", [False, True], ids=["another run", "damaged"])
def test_a_ledger_that_does_not_fit_is_replaced_only_with_both_flags(path: Path, damaged: bool) -> None:
    interrupted(path, OTHER)
    if damaged:
        ledger_path(path).write_bytes(b"no ledger at all" * 1000)
    before = ledger_path(path).read_bytes()
    with pytest.raises(InputError if damaged else UsageError) as caught, output(path, "resume").ledger(KEY):
        raise AssertionError
    assert caught.value.__notes__ == ["--overwrite --resume replaces what is of another run, and goes on with the rest"]
    assert ledger_path(path).read_bytes() == before
    with output(path, "overwrite", "resume").ledger(KEY) as ledger:
        assert ledger.next_window == 0
        ledger.record(batch(0))
    with output(path, "resume").ledger(KEY) as ledger:
        assert ledger.next_window == 3


@pytest.mark.parametrize("error", [InputError("cannot read"), RuntimeError("a bug"), KeyboardInterrupt()], ids=repr)
def test_what_was_done_outlives_any_error(path: Path, error: BaseException) -> None:
    def work() -> None:
        with output(path).ledger(KEY) as ledger:
            ledger.record(batch(0))
            raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value.__notes__ == ["3 windows are done and kept, the same command with --resume goes on"]
    with output(path, "resume").ledger(KEY) as ledger:
        assert ledger.next_window == 3


def test_nothing_done_leaves_nothing(path: Path) -> None:
    with pytest.raises(InputError) as caught, output(path).ledger(KEY):
        raise InputError("cannot read")
    assert not hasattr(caught.value, "__notes__")
    assert list(path.parent.iterdir()) == []


def test_a_manifest_is_json_whatever_the_numbers(path: Path) -> None:
    path.touch()
    write_manifest(path, {"nodata": float("nan"), "all": [1.5, float("-inf"), (float("inf"), None)]})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(manifest_path(path).read_text(encoding="utf-8"), parse_constant=refuse)
    assert read == {"schema": "d2det-manifest/1", "nodata": "nan", "all": [1.5, "-inf", ["inf", None]]}
    assert read_manifest(path) == read
