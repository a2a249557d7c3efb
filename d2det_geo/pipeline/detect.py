"""A grid of pixels in, detections with seams merged out: chips, batches, network, merging.

It knows no file and no world: ``predict`` feeds it a scene, ``train`` its validation images.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from rasterio.windows import Window

from d2det_geo.detections import Detections
from d2det_geo.errors import UsageError
from d2det_geo.pipeline.ledger import Batch, Ledger
from d2det_geo.pipeline.network import Chip, ChipNetwork
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.windows import scene_windows
from d2det_geo.seams.merger import SeamMerger, best_first

Read = Callable[[Window], Chip]
"""Window in grid px -> its chip."""
ReadAll = Callable[[Sequence[Window]], Generator[tuple[Window, Chip]]]
"""Windows in grid px -> each with its chip, in the same order."""
Key = TypeVar("Key")
Item = TypeVar("Item")
Progress = Callable[[int, int], None]
"""Called with the windows done and the windows in all."""


def chosen_windows(
    size: tuple[int, int], chip_size: int, overlap: int, wanted: Callable[[Window], bool] | None, tally: Tally
) -> list[Window]:
    """List the windows of a grid of ``(width, height)`` px, without those that ``wanted`` refuses.

    Raises:
        UsageError: sizes that make no sense.
    """
    if chip_size < 1:
        raise UsageError(f"--chip-size {chip_size}: must be a positive number of px")
    if not 0 <= overlap < chip_size:
        raise UsageError(f"--overlap {overlap}: must be at least 0 and less than the chip size, {chip_size} px")
    windows = list(scene_windows(*size, chip_size, overlap))
    chosen = [window for window in windows if wanted is None or wanted(window)]
    tally.windows += len(windows)
    tally.skipped += len(windows) - len(chosen)
    return chosen


def detect_grid(
    read: Read,
    size: tuple[int, int],
    network: ChipNetwork,
    *,
    chip_size: int,
    wanted: Callable[[Window], bool] | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Detections:
    """Find the objects of a whole grid at once, for callers that have room for all of them.

    Args:
        read: gives one chip; called from one other thread.
        size: ``(width, height)`` of the grid, px.
        network: what looks at the chips.
        chip_size: side, grid px.
        wanted: windows it refuses are skipped unread.
        progress: told after every window.
        tally: counts and seconds are added to it.

    Returns:
        Objects in grid px, each once, by descending score.

    Raises:
        UsageError: sizes that make no sense.
    """
    tally = Tally() if tally is None else tally
    windows = chosen_windows(size, chip_size, network.overlap, wanted, tally)
    ahead = partial(read_ahead, read, depth=2 * network.batch_size)
    return best_first(list(detect_stream(ahead, windows, size, network, tally, progress=progress)))


def detect_stream(
    read_all: ReadAll,
    windows: Sequence[Window],
    size: tuple[int, int],
    network: ChipNetwork,
    tally: Tally,
    *,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Generator[Detections]:
    """Find the objects of a grid, giving up each as soon as no window to come can touch it.

    Which chips share a batch depends on nothing but the arguments, so a run repeats to the last bit; what
    a ledger holds of an earlier run is taken from there, and the same objects come in the same order.

    Args:
        read_all: reads ahead as it likes.
        windows: of the grid, row by row, grid px.
        size: ``(width, height)`` of the grid, px.
        network: what looks at the chips.
        tally: counts and seconds are added to it.
        ledger: of batches that are done; new ones are recorded in it.
        progress: told after every window.

    Yields:
        Objects in grid px; after each batch, and at the end at least once.
    """
    merger = SeamMerger(*size)
    given: set[tuple[float, ...]] = set()
    done = 0
    for batch in _batches(read_all, windows, network, tally, ledger, progress):
        done = batch.last
        with tally.timed("merge"):
            for detections, window in batch.parts:
                if window.flatten() not in given:  # quarters of two chips may be the same window: it counts once
                    given.add(window.flatten())
                    merger.add(detections, window)
            # What lies above the next window is in nobody's way any more.
            row = windows[done].row_off if done < len(windows) else math.inf
            given = {window for window in given if window[1] >= row}
            found = merger.finished(row)
        if len(found):
            yield found
    yield merger.flush()


def _batches(
    read_all: ReadAll,
    windows: Sequence[Window],
    network: ChipNetwork,
    tally: Tally,
    ledger: Ledger | None,
    progress: Progress | None,
) -> Iterator[Batch]:
    """Give the batches of a run: first those the ledger holds, then new ones, recorded before they are given."""
    told = progress or (lambda done, total: None)
    done = 0
    for batch in () if ledger is None else ledger.replay():
        tally.add(batch.counts)
        done = batch.last
        told(done, len(windows))
        yield batch
    # Closed before an exception leaves: nobody may close the file under a reader.
    with closing(read_all(windows[done:])) as chips:
        waiting: list[tuple[Window, Chip]] = []
        first, before = done, tally.counts()
        for window, chip in tally.awaited("read", chips):
            done += 1
            if chip[1].any():
                waiting.append((window, chip))
            else:
                tally.skipped += 1
            if len(waiting) == network.batch_size or done == len(windows):
                parts = network.detect(waiting, tally) if waiting else []
                batch = Batch(first, done, parts, tally.since(before))
                if ledger is not None:
                    with tally.timed("ledger"):
                        ledger.record(batch)
                waiting, first, before = [], done, tally.counts()
                told(done, len(windows))
                yield batch
            else:
                told(done, len(windows))


def read_ahead(read: Callable[[Key], Item], keys: Iterable[Key], depth: int) -> Generator[tuple[Key, Item]]:
    """Read chips, or other things, in order on one other thread, at most ``depth`` ahead of who consumes them.

    An error of ``read`` is raised where its chip would have come. Whoever stops early, by an
    exception or Ctrl-C, waits for no more than the window being read.
    """
    pending: deque[tuple[Key, Future[Item]]] = deque()
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
    try:
        for key in keys:
            pending.append((key, reader.submit(read, key)))
            if len(pending) > depth:
                first, item = pending.popleft()
                yield first, item.result()
        while pending:
            first, item = pending.popleft()
            yield first, item.result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
