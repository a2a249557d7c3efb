"""Folders of output: a user's other files are never lost to them, whenever they appear."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from d2det_geo.errors import OutputExistsError
from d2det_geo.pipeline.folder import atomic_folder, resumable_folder, unfinished_path

KEY = {"set": "a"}


def own_files(folder: Path) -> set[str]:
    return {"chip.png"}


def resumable(out: Path, **how: bool) -> AbstractContextManager[Path]:
    @contextmanager
    def folder() -> Iterator[Path]:
        options = {"overwrite": False, "resume": False, **how}
        with resumable_folder(out, KEY, own_files=own_files, **options) as work:
            (work.done / "one").write_text("")
            yield work.fresh

    return folder()


def atomic(out: Path, **how: bool) -> AbstractContextManager[Path]:
    return atomic_folder(out, overwrite=how.get("overwrite", False), own_files=own_files)


def disturbed(folder: AbstractContextManager[Path], out: Path) -> None:
    """Let a run go on while its user puts a file where the output is to be."""
    with folder as fresh:
        (fresh / "chip.png").write_text("new")
        out.mkdir()
        (out / "thesis.txt").write_text("three years")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", [atomic, resumable])
def test_a_file_put_there_meanwhile_is_kept(tmp_path: Path, make: type, overwrite: bool) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="out: "):
        disturbed(make(out, overwrite=overwrite), out)
    assert (out / "thesis.txt").read_text() == "three years"
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_the_work_goes_on_once_the_file_is_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError):
        disturbed(resumable(out), out)
    (out / "thesis.txt").unlink()
    with resumable(out, resume=True) as fresh:
        assert (fresh / "chip.png").read_text() == "new"
    assert [path.name for path in out.iterdir()] == ["chip.png"]
    assert not unfinished_path(out).exists()


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("name", ["thesis.txt", "new/thesis.txt", "run.json/thesis.txt"])
def test_a_folder_of_others_is_no_unfinished_work(tmp_path: Path, how: dict[str, bool], name: str) -> None:
    mine = unfinished_path(tmp_path / "out") / name
    mine.parent.mkdir(parents=True)
    mine.write_text("three years")
    with pytest.raises(OutputExistsError, match=r"out\.unfinished: holds '.*', which no interrupted run left"):
        resumable(tmp_path / "out", **how).__enter__()
    assert mine.read_text() == "three years"


def test_a_file_beside_unfinished_work_is_not_removed_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), resumable(out):
        raise KeyboardInterrupt
    (unfinished_path(out) / "thesis.txt").write_text("three years")
    with pytest.raises(OutputExistsError, match=r"holds 'thesis\.txt'"):
        resumable(out, overwrite=True).__enter__()


@pytest.mark.parametrize("left", [(), ("lock",)])
def test_a_run_killed_at_its_very_start_is_no_obstacle(tmp_path: Path, left: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    unfinished_path(out).mkdir()
    for name in left:
        (unfinished_path(out) / name).write_text("")
    with resumable(out, resume=True) as fresh:
        (fresh / "chip.png").write_text("new")
    assert (out / "chip.png").is_file()
