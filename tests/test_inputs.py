"""Which scenes a user means, and what their outputs are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from d2det_geo.errors import InputError, UsageError
from d2det_geo.pipeline.inputs import expand_scenes, output_names


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.JPG", "a/1.tif", "a/notes.txt", "b/1.tif", "b/deep/3.tif"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def test_files_folders_patterns_and_addresses(flight: Path) -> None:
    assert expand_scenes(["b/1.tif", "a"]) == ["b/1.tif", "a/1.tif", "a/2.JPG"]
    assert expand_scenes(["*/1.tif", "a/1.tif"]) == ["a/1.tif", "b/1.tif"]
    assert expand_scenes(["b/**/*.tif"]) == ["b/1.tif", "b/deep/3.tif"]
    assert expand_scenes(["https://host/x.tif?y=*", "/vsizip/a.zip/b.tif"]) == [
        "https://host/x.tif?y=*",
        "/vsizip/a.zip/b.tif",
    ]
    assert expand_scenes(["./b/1.tif", "./b/*.tif", "b//1.tif"]) == ["b/1.tif"]
    assert expand_scenes(["missing.tif", "a/notes.txt"]) == ["missing.tif", "a/notes.txt"]


def test_lists_name_anything_and_leave_out_remarks(flight: Path) -> None:
    Path("list.txt").write_text("# why it failed\nb/1.tif\n\n  a  \n@more.txt\n", encoding="utf-8")
    Path("more.txt").write_text("b/deep/*.tif", encoding="utf-8")
    assert expand_scenes(["@list.txt"]) == ["b/1.tif", "a/1.tif", "a/2.JPG", "b/deep/3.tif"]


def test_a_name_with_brackets_is_a_file_first(flight: Path) -> None:
    Path("a/tile[1].tif").touch()
    assert expand_scenes(["a/tile[1].tif"]) == ["a/tile[1].tif"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("@nolist.txt", "@nolist.txt: the list cannot be read"),
        ("@empty.txt", "@empty.txt: the list names no scene"),
        ("@binary.txt", "@binary.txt: the list cannot be read .it is no text"),
        ("hollow", "hollow: the folder holds no raster"),
        ("x*.tif", r"x\*\.tif: no file matches"),
    ],
)
def test_nothing_meant_is_said(flight: Path, name: str, message: str) -> None:
    Path("empty.txt").write_text("# only this\n", encoding="utf-8")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("hollow").mkdir()
    with pytest.raises(InputError, match=message):
        expand_scenes([name])


def test_lists_in_a_circle_are_refused(flight: Path) -> None:
    Path("one.txt").write_text("@two.txt", encoding="utf-8")
    Path("two.txt").write_text("@one.txt", encoding="utf-8")
    with pytest.raises(UsageError, match="names itself"):
        expand_scenes(["@one.txt"])


def test_outputs_are_named_like_their_scenes_and_never_alike() -> None:
    def names(*scenes: str) -> list[str]:
        return list(output_names(scenes).values())

    assert names("x/a.tif", "x/b.JPG") == ["a", "b"]
    assert names("100/D1.JPG", "101/D1.JPG", "100/D2.JPG") == ["100_D1", "101_D1", "D2"]
    assert names("x/a.tif", "x/a.png") == ["x_a", "x_a_2"]
    assert names("https://host/data/a.tif?key=1/2") == ["a"]
    assert names("a.tif", "a.png", "a_2.tif", "A.vrt") == ["a", "a_2", "a_2_2", "A_3"]
    hostile = names("../../etc/pass wd.tif", "..", "/vsizip//x/../y.zip/..")
    assert all(os.sep not in name and not name.startswith(".") for name in hostile)
    assert len(set(hostile)) == 3


def test_a_scene_keeps_the_name_it_has_and_no_other_gets_it() -> None:
    known = output_names(["a.tif", "x/a.tif"])
    assert known == {"a.tif": "a", "x/a.tif": "x_a"}
    assert output_names(["x/a.tif"], known) == {"x/a.tif": "x_a"}
    assert output_names(["y/A.tif", "a.png", "x/a.tif"], known) == {"y/A.tif": "y_A", "a.png": "a_2", "x/a.tif": "x_a"}
    assert output_names(["b.tif", "b.tif"], {"gone.tif": "B"}) == {"b.tif": "b_2"}
    assert output_names([], known) == {}
