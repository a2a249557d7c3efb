"""The scenes of a set cut several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from d2det_geo.pipeline.tile_set_book import write_rows
from d2det_geo.pipeline.tile_set_plan import SceneJob
from d2det_geo.pipeline.tile_set_stamp import stamp_of, stamps_of


def cut_scenes(
    scenes: Sequence[SceneJob],
    rows: Sequence[Path],
    fresh: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Cut the scenes whose rows are not there yet, or whose files have changed since.

    Threads do: decoding and encoding PNG, which is nearly all of the time, leave Python free.

    Args:
        scenes: of the set.
        rows: a file for each, written when all its chips are; beside it is the stamp of what they were cut of.
        fresh: folder of output.
        workers: scenes cut at once.
        progress: called with the chips done and the chips in all, those of scenes that were done before too.
    """
    counter = _Counter(sum(scene.chips for scene in scenes), progress)
    before = [index for index, path in enumerate(rows) if path.exists()]
    stamps = stamps_of([scenes[index].inputs for index in before], workers)
    done = {index for index, stamp in zip(before, stamps, strict=True) if stamps_beside([rows[index]]) == [stamp]}
    for index in sorted(done):
        counter.add(scenes[index].chips)
    waiting = [item for index, item in enumerate(zip(scenes, rows, strict=True)) if index not in done]
    stopped = threading.Event()

    def cut(scene: SceneJob, path: Path) -> None:
        path.unlink(missing_ok=True)
        stamp, found = stamp_of(scene.inputs), []
        for row in scene.cut(fresh):
            if stopped.is_set():
                return
            found.append(row)
            counter.add(1)
        _stamp_file(path).write_text(stamp)
        write_rows(path, found)

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tile") as pool:
        try:
            futures = [pool.submit(cut, *item) for item in waiting]
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:  # of several that failed, the first of the set is told
                if future in ended:
                    future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def stamps_beside(rows: Sequence[Path]) -> list[str]:
    """Read what scenes that are done were cut of, as ``stamp_of`` tells it; empty where nothing is said."""
    files = [_stamp_file(path) for path in rows]
    return [file.read_text() if file.is_file() else "" for file in files]


def _stamp_file(rows: Path) -> Path:
    return rows.with_suffix(".sha256")


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
