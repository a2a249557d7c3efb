"""The ledger of a run: to the last bit, after any kill, and never another run's."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from d2det_geo.detections import Detections, Pieces
from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline import ledger as ledger_module
from d2det_geo.pipeline.ledger import Batch, Ledger, RunKey, ledger_path
from tests.ledgers import KEY, batch, content, detections

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return ledger_path(tmp_path / "buildings.geojson")


def recorded(path: Path, batches: int = 3) -> list[Batch]:
    with Ledger.start(path, KEY) as ledger:
        for _ in range(batches):
            ledger.record(batch(ledger.next_window))
    return [batch(3 * number) for number in range(batches)]


def refusal(error: type[D2DetError], call: Any, path: Path, *arguments: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        call(path, *arguments, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1
    assert "\n" not in message
    assert "; " in message  # what to do
    return message


def test_it_lies_beside_the_output() -> None:
    assert ledger_path(Path("a/buildings.v2.geojson")) == Path("a/buildings.v2.geojson.ledger")


def test_batches_come_back_in_order_to_the_last_bit(path: Path) -> None:
    expected = recorded(path)
    with Ledger.resume(path, KEY) as ledger:
        assert ledger.next_window == 9
        assert [content(found) for found in ledger.replay()] == [content(wanted) for wanted in expected]
        ledger.record(batch(9))
        assert len(list(ledger.replay())) == 4


ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 6e-8, 65504, 70000, 1 / 3, 1.0], np.float32)


@pytest.mark.parametrize(
    "found",
    [
        detections(5, 1),
        detections(5, 2, half=False),
        detections(0, 3),
        replace(detections(4, 4), masks=None, mask_scores=None),
        replace(detections(4, 5), masks=None),
        replace(detections(4, 6), mask_scores=None),
        replace(detections(12, 7), scores=ODD, boxes=np.tile(ODD.astype(np.float64)[:, None], 4)),
        replace(detections(12, 8), masks=np.tile(ODD[:, None, None], (28, 28))),
        replace(detections(2, 9), masks=np.tile(np.float32([0.0, -0.0])[:, None, None], (28, 28))),
        Detections.empty(masks=False),
    ],
    ids=["half", "full", "none", "boxes", "scored", "unscored", "odd", "odd masks", "signed zeros", "empty"],
)
def test_any_detections_come_back_to_the_last_bit(path: Path, found: Detections) -> None:
    wanted = Batch(
        0, 2, [(found, Window(2**40, 0, 3, 5)), (found.select(np.arange(len(found))[::-1]), Window(1, 2, 3, 4))], {}
    )
    with Ledger.start(path, KEY) as ledger:
        ledger.record(wanted)
        (back,) = ledger.replay()
    assert content(back) == content(wanted)
    assert back.parts[0][0].boxes.flags.writeable


def test_half_masks_take_half_the_room(path: Path) -> None:
    sizes = []
    for half in (True, False):
        with Ledger.start(path, KEY) as ledger:
            ledger.record(Batch(0, 1, [(detections(500, 1, half=half), Window(0, 0, 1, 1))], {}))
        sizes.append(path.stat().st_size)
        path.unlink()
    assert sizes[0] < 0.5 * sizes[1]


def test_a_batch_without_parts(path: Path) -> None:
    with Ledger.start(path, KEY) as ledger:
        ledger.record(Batch(0, 1000, [], {"skipped": 1000}))
        ledger.record(batch(1000))
        assert ledger.next_window == 1003
        assert [(found.first, found.last, len(found.parts)) for found in ledger.replay()] == [
            (0, 1000, 0),
            (1000, 1003, 2),
        ]


@pytest.mark.parametrize(("first", "last"), [(3, 6), (0, 0), (0, -1)])
def test_batches_must_follow(path: Path, first: int, last: int) -> None:
    with Ledger.start(path, KEY) as ledger, pytest.raises(ValueError, match="do not follow window 0"):
        ledger.record(Batch(first, last, [], {}))


PIECES = Pieces(np.zeros(1, np.int64), np.zeros((1, 4)), np.zeros((1, 28, 28), np.float32))


@pytest.mark.parametrize(
    ("found", "window", "reason"),
    [
        (replace(detections(1, 1), pieces=PIECES), Window(0, 0, 1, 1), "no pieces"),
        (detections(1, 1), Window(0.5, 0, 1, 1), "whole pixels"),
        (replace(detections(1, 1), labels=np.zeros(1, np.int32)), Window(0, 0, 1, 1), "int64, got int32"),
        (replace(detections(1, 1), masks=np.zeros((1, 14, 14), np.float32)), Window(0, 0, 1, 1), r"\[1, 14, 14\]"),
    ],
)
def test_what_would_not_come_back_the_same_is_refused(
    path: Path, found: Detections, window: Window, reason: str
) -> None:
    with Ledger.start(path, KEY) as ledger:
        with pytest.raises(ValueError, match=reason):
            ledger.record(Batch(0, 1, [(found, window)], {}))
        assert ledger.next_window == 0


def test_one_file_remains_after_closing(path: Path) -> None:
    recorded(path)
    assert list(path.parent.iterdir()) == [path]
    ledger = Ledger.resume(path, KEY)
    ledger.close()
    ledger.close()
    assert list(path.parent.iterdir()) == [path]


def test_none_remains_after_discarding(path: Path) -> None:
    recorded(path)
    Ledger.resume(path, KEY).discard()
    ledger = Ledger.start(path, KEY)
    ledger.close()
    ledger.discard()
    assert not list(path.parent.iterdir())


def test_resuming_nothing_starts(path: Path) -> None:
    for _ in range(2):
        with Ledger.resume(path, KEY) as ledger:
            assert ledger.next_window == 0
            assert list(ledger.replay()) == []
    path.write_bytes(b"")  # killed before anything was written
    with Ledger.resume(path, KEY) as ledger:
        assert ledger.next_window == 0


def test_starting_over_earlier_work_asks(path: Path) -> None:
    expected = recorded(path)
    message = refusal(OutputExistsError, Ledger.start, path, KEY)
    assert "--resume" in message
    assert "--overwrite" in message
    with Ledger.resume(path, KEY) as ledger:
        assert len(list(ledger.replay())) == len(expected)
    with Ledger.start(path, replace(KEY, version="0.2.0"), overwrite=True) as ledger:
        assert ledger.next_window == 0
        assert list(ledger.replay()) == []
    assert "d2det was 0.2.0 and is 0.1.0" in refusal(UsageError, Ledger.resume, path, KEY)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (replace(KEY, settings=KEY.settings | {"--score": 0.5}), "--score was 0.3 and is 0.5"),
        (replace(KEY, settings=KEY.settings | {"--bands": None}), "--bands was [4, 3, 2] and is null"),
        (replace(KEY, settings=KEY.settings | {"--tta": "flip"}), "--tta was absent and is flip"),
        (replace(KEY, settings={"--gsd": 0.1}), "--gsd was bundle and is 0.1; --bands was [4, 3, 2] and is absent"),
        (replace(KEY, version="0.2.0"), "d2det was 0.1.0 and is 0.2.0"),
        (
            replace(KEY, scene=KEY.scene | {"bytes": 999, "sha256": "c"}),
            "the scene changed (bytes was 1000 and is 999)",
        ),
        (replace(KEY, scene=KEY.scene | {"sha256": "c"}), "the scene changed (other content of the same size)"),
        (replace(KEY, model=KEY.model | {"name": "cars"}), "the model changed (name was buildings and is cars)"),
        (replace(KEY, model=KEY.model | {"sha256": "c"}), "the model changed (other content of the same size)"),
    ],
)
def test_another_run_is_refused_in_words(path: Path, changed: RunKey, words: str) -> None:
    recorded(path)
    before = path.read_bytes()
    message = refusal(UsageError, Ledger.resume, path, changed)
    assert words in message
    assert "--overwrite" in message
    assert path.read_bytes() == before
    assert changed.run_id != KEY.run_id


def test_stamps_make_no_run_but_stop_one(path: Path) -> None:
    stamped = replace(KEY, stamps={"modified": "2026-01-01 10:00:00"})
    later = replace(KEY, stamps={"modified": "2026-01-02 10:00:00"})
    assert stamped.run_id == later.run_id == KEY.run_id
    Ledger.start(path, stamped).close()
    message = refusal(UsageError, Ledger.resume, path, later)
    assert "may have changed (modified was 2026-01-01 10:00:00 and is 2026-01-02 10:00:00)" in message
    for known in (stamped, KEY):  # a server that says nothing this time proves nothing
        Ledger.resume(path, known).close()


def test_a_run_id_is_16_hex_digits_of_the_content() -> None:
    assert int(KEY.run_id, 16) >= 0
    assert len(KEY.run_id) == 16
    other_order = dict(reversed(KEY.settings.items()))
    assert replace(KEY, settings=other_order).run_id == KEY.run_id


def start_process(path: Path, windows: int, pause_s: float) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
    command = [sys.executable, "-m", "tests.ledgers", str(path), str(windows), str(pause_s)]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)


def kill_and_judge(path: Path, windows: int, delay_s: float) -> int:
    """Kill a run at some moment; check that what it left is a beginning of what it should have; count its windows."""
    process = start_process(path, windows, 0.002)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    told = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    with Ledger.resume(path, KEY) as ledger:
        found = list(ledger.replay())
        assert [content(one) for one in found] == [content(batch(3 * number)) for number in range(len(found))]
        assert ledger.next_window == 3 * len(found)
        assert not told or ledger.next_window <= int(told[-1]) + 3
        return ledger.next_window


def test_three_kills_cost_nothing_that_was_recorded(path: Path) -> None:
    moments, done = np.random.default_rng(5), [0]
    for _ in range(3):
        done.append(kill_and_judge(path, 10**6, 0.4 + moments.random()))
    assert done == sorted(set(done))  # each went on, by at least what was half a second old
    windows = done[-1] + 9
    assert start_process(path, windows, 0).communicate()[0].split() == [str(done[-1] + 3 * step) for step in (1, 2, 3)]
    with Ledger.resume(path, KEY) as ledger:
        assert [content(one) for one in ledger.replay()] == [content(batch(first)) for first in range(0, windows, 3)]


def test_a_ledger_has_one_owner(path: Path) -> None:
    process = start_process(path, 10**6, 0.01)
    assert process.stdout is not None
    process.stdout.readline()
    for call in (Ledger.resume, Ledger.start):
        assert "another d2det works on this output" in refusal(D2DetError, call, path, KEY)
    assert "another d2det" in refusal(D2DetError, Ledger.start, path, KEY, overwrite=True)
    process.kill()
    process.communicate()
    with Ledger.resume(path, KEY) as ledger:
        assert all(content(one) == content(batch(one.first)) for one in ledger.replay())


def test_an_idle_owner_is_an_owner(path: Path) -> None:
    with Ledger.start(path, KEY):
        for call in (Ledger.resume, Ledger.start):
            assert "another d2det" in refusal(D2DetError, call, path, KEY)
    Ledger.resume(path, KEY).close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.ledgers import KEY, batch
from d2det_geo.errors import D2DetError
from d2det_geo.pipeline import ledger as module
module._COMMIT_S = 0
path, limit = Path(sys.argv[1]), int(sys.argv[2])
ledger = module.Ledger.start(path, KEY)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    while True:
        ledger.record(batch(ledger.next_window))
except D2DetError as error:
    print(type(error).__name__, error, sep="|")
    print(ledger.next_window)
ledger.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [300_000, 1_000_000])
def test_a_full_disk_is_one_line_and_costs_one_batch(path: Path, limit: int) -> None:
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "cli", "cuda_ops"))
    command = [sys.executable, "-c", FULL_DISK, str(path), str(limit)]
    answer = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths}
    )
    told, done = answer.stdout.splitlines()
    assert told.startswith(f"D2DetError|{path}: cannot be written (")
    assert "--resume" in told
    assert int(done) >= 3
    with Ledger.resume(path, KEY) as ledger:
        assert ledger.next_window == int(done)
        assert len(list(ledger.replay())) == int(done) // 3
        ledger.record(batch(ledger.next_window))


def test_commits_come_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_COMMIT_S", 0.05)
    ledger = Ledger.start(path, KEY)
    ledger.record(batch(0))
    time.sleep(0.06)
    ledger.record(batch(3))
    copy = path.with_name("copy")  # what a kill would leave
    for suffix in ("", "-wal"):
        (path.parent / f"copy{suffix}").write_bytes((path.parent / f"{path.name}{suffix}").read_bytes())
    with Ledger.resume(copy, KEY) as found:
        assert found.next_window == 6


@pytest.mark.parametrize("where", [(".",), ("missing", "x.ledger"), ("file", "x.ledger")])
def test_a_place_that_cannot_be_written(tmp_path: Path, where: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(D2DetError, Ledger.start, tmp_path.joinpath(*where), KEY)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE prices (value)")
    database.close()
    for call in (Ledger.resume, Ledger.start):
        assert "database of another program" in refusal(D2DetError, call, path, KEY)
    refusal(D2DetError, Ledger.start, path, KEY, overwrite=True)
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM prices").fetchone() == (0,)
    database.close()


def test_a_ledger_of_another_format(path: Path) -> None:
    recorded(path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=2")
    database.close()
    assert "format 2, not 1" in refusal(InputError, Ledger.resume, path, KEY)
    Ledger.start(path, KEY, overwrite=True).close()
    Ledger.resume(path, KEY).close()


def replayed(path: Path) -> list[Batch]:
    with Ledger.resume(path, KEY) as ledger:
        return list(ledger.replay())


def test_damage_is_told_in_one_line_or_does_no_harm(path: Path) -> None:
    expected = [content(one) for one in recorded(path, 8)]
    whole = path.read_bytes()
    chance = np.random.default_rng(7)
    damaged = [whole[: chance.integers(1, len(whole))] for _ in range(40)]
    for _ in range(120):
        spoilt = bytearray(whole)
        start, length = chance.integers(chance.choice([200, len(whole) - 64])), chance.choice([1, 4, 64])
        spoilt[start : start + length] = chance.bytes(length)
        damaged.append(bytes(spoilt))
    told = 0
    for bytes_left in [*damaged, chance.bytes(100_000), b"not a ledger", bytes(50_000)]:
        path.write_bytes(bytes_left)
        try:
            assert [content(one) for one in replayed(path)] == expected
        except (D2DetError, UsageError) as error:
            told += 1
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        for suffix in ("-wal", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert told > 60


@pytest.mark.parametrize("spoil", [b"not a ledger", bytes(30), b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_ledger_can_be_overwritten(path: Path, spoil: bytes) -> None:
    path.write_bytes(spoil)
    assert "--overwrite" in refusal(InputError, Ledger.resume, path, KEY)
    Ledger.start(path, KEY, overwrite=True).close()
    assert replayed(path) == []
