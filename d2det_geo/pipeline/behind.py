"""Work that follows behind: the last steps of the corridor on a thread of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def behind(work: Callable[[Item], None], depth: int = 2) -> Iterator[Callable[[Item], None]]:
    """Do ``work`` on items in order on one other thread, while the block goes on.

    The block is given a function that takes an item, and waits while ``depth`` items are not done.
    What ``work`` raises is raised there, or where the block ends. If the block fails, items that wait are
    dropped, and the one being worked on is finished first.
    """
    pending: deque[Future[None]] = deque()
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="behind")

    def put(item: Item) -> None:
        pending.append(worker.submit(work, item))
        while len(pending) > depth:
            pending.popleft().result()

    try:
        yield put
        while pending:
            pending.popleft().result()
    finally:
        worker.shutdown(wait=True, cancel_futures=True)
