"""The threads compiled loops run in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_threads(count: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(start, stop)`` on contiguous blocks that make up ``[0, count)``, one in each of torch's threads.

    The threads are Python's: numba's pool would fight torch's for the cores, and its loops compile slowly.
    """
    threads = max(min(torch.get_num_threads(), count), 1)
    bounds = [count * index // threads for index in range(threads + 1)]
    if threads == 1:
        work(0, count)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work, bounds[index], bounds[index + 1]) for index in range(1, threads)]
        work(bounds[0], bounds[1])
        for other in others:
            other.result()
