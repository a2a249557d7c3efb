"""Work on a thread behind: in order, bounded, and nothing it raises is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from d2det_geo.pipeline.behind import behind


def put_all(work: Callable[[int], None], count: int, error: BaseException | None = None) -> None:
    with behind(work, depth=5) as put:
        for item in range(count):
            put(item)
        if error is not None:
            raise error


def test_items_are_done_in_order_on_one_other_thread() -> None:
    done: list[int] = []
    threads: set[str] = set()

    def work(item: int) -> None:
        threads.add(threading.current_thread().name)
        time.sleep(0.001)
        done.append(item)

    with behind(work, depth=2) as put:
        for item in range(20):
            put(item)
            assert item - len(done) <= 3  # two that wait, one being done
    assert done == list(range(20))
    assert len(threads) == 1
    assert threading.current_thread().name not in threads


@pytest.mark.parametrize("at", [0, 9])
def test_what_the_work_raises_is_raised_in_the_block_or_at_its_end(at: int) -> None:
    done = []

    def work(item: int) -> None:
        if item == at:
            raise OSError("disk")
        done.append(item)

    with pytest.raises(OSError, match="disk"):
        put_all(work, 10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("behind")]
    assert len(done) < 10


def test_a_block_that_fails_drops_what_waits() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        put_all(work, 5, KeyboardInterrupt())
    assert len(done) <= 2
