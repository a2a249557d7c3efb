"""Compiled loops and their threads."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from d2det_ops.compiled import _say, compiled
from d2det_ops.threads import in_threads


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_blocks_make_up_the_whole(threads, number, count):
    threads(number)
    blocks, workers = [], set()

    def work(start, stop):
        workers.add(threading.get_ident())
        blocks.append((start, stop))

    in_threads(count, work)
    assert [index for start, stop in sorted(blocks) for index in range(start, stop)] == list(range(count))
    assert len(blocks) <= number
    assert threading.get_ident() in workers


def test_what_goes_wrong_in_a_thread_is_told(threads):
    threads(3)

    def work(start, stop):
        if start:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_threads(6, work)


def test_a_function_of_no_file_is_compiled_without_a_cache():
    scope = {}
    exec("def twice(number):\n    return 2 * number", scope)  # noqa: S102
    _say.cache_clear()
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        twice = compiled(scope["twice"])
    assert twice(4) == 8


PROGRAM = "from loops import twice; print(twice(21), sum(twice.stats.cache_hits.values()))"


def run(folder, *, warn="error"):
    """Call a compiled function of a file in a process of its own; return what it says, and the cache's hits."""
    (folder / "loops.py").write_text(
        "from d2det_ops.compiled import compiled\n\n\n@compiled\ndef twice(number):\n    return 2 * number\n"
    )
    path = os.pathsep.join([str(folder), *(str(Path(part).resolve()) for part in sys.path if part)])
    command = [sys.executable, f"-W{warn}:d2det", "-c", PROGRAM]
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 20])
def test_a_damaged_cache_is_renewed(tmp_path, suffix, left):
    assert run(tmp_path).stdout == "42 0\n"
    assert run(tmp_path).stdout == "42 1\n"
    for file in (tmp_path / "cache").rglob(f"*.{suffix}"):
        file.write_bytes(file.read_bytes()[:left])
    damaged = run(tmp_path)
    assert (damaged.returncode, damaged.stdout) == (0, "42 0\n"), damaged.stderr
    assert run(tmp_path).stdout == "42 1\n"


def test_what_cannot_be_kept_is_compiled_and_said(tmp_path, monkeypatch):
    scope = {}
    (tmp_path / "loops.py").write_text("def twice(number):\n    return 2 * number\n")
    exec(compile((tmp_path / "loops.py").read_text(), str(tmp_path / "loops.py"), "exec"), scope)  # noqa: S102

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    twice = compiled(scope["twice"])
    monkeypatch.setattr(twice._cache._cache_file, "save", full)
    _say.cache_clear()
    with pytest.warns(UserWarning, match="No space left"):
        assert twice(4) == 8
