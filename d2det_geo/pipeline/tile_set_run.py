"""The scenes of a set cut several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from d2det_geo.pipeline.tile_set_book import write_rows
from d2det_geo.pipeline.tile_set_plan import SceneJob


def cut_scenes(
    scenes: Sequence[SceneJob],
    rows: Sequence[Path],
    fresh: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Cut the scenes whose rows are not there yet.

    Threads do: decoding and encoding PNG, which is nearly all of the time, leave Python free.

    Args:
        scenes: of the set.
        rows: a file for each, written when all its chips are.
        fresh: folder of output.
        workers: scenes cut at once.
        progress: called with the chips done and the chips in all, those of scenes that were done before too.
    """
    counter = _Counter(sum(scene.chips for scene in scenes), progress)
    waiting = []
    for scene, path in zip(scenes, rows, strict=True):
        if path.exists():
            counter.add(scene.chips)
        else:
            waiting.append((scene, path))
    stopped = threading.Event()

    def cut(scene: SceneJob, path: Path) -> None:
        found = []
        for row in scene.cut(fresh):
            if stopped.is_set():
                return
            found.append(row)
            counter.add(1)
        write_rows(path, found)

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tile") as pool:
        try:
            futures = [pool.submit(cut, *item) for item in waiting]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:  # of several that failed, the first of the set is told
                if future in done:
                    future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


class _Counter:
    """Counts chips on all threads."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, chips: int) -> None:
        with self._lock:
            self._done += chips
            if self._progress is not None:
                self._progress(self._done, self._total)
