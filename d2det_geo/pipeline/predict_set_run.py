"""The images of a set through one network: in packs, each kept in the ledger, each image's chips merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.data.resample import resampled
from d2det_geo.detections import Detections
from d2det_geo.errors import D2DetError
from d2det_geo.pipeline.batch import Failure
from d2det_geo.pipeline.detect import Progress, chosen_windows, read_ahead
from d2det_geo.pipeline.ledger import Batch, Ledger
from d2det_geo.pipeline.network import Chip, ChipNetwork, Part
from d2det_geo.pipeline.predict_set_images import ImageSet
from d2det_geo.pipeline.tally import Tally
from d2det_geo.seams.merger import merge_seams

Size = tuple[int, int]
Pixels = NDArray[np.uint8]
Give = Callable[[int, Size, Detections], None]
"""Called with the row of an image, its size, px, and its detections in px of the image, by falling score."""


class _Image(NamedTuple):
    pixels: Pixels
    """At the GSD of the network."""
    size: Size
    """Before that, px."""
    stamp: dict[str, int]
    """By which the file is known again."""


@dataclass(frozen=True, slots=True, eq=False)
class SetRun:
    """A network about to look at a set."""

    set: ImageSet
    network: ChipNetwork
    chip_size: int
    """px at the GSD of the network."""
    gsd_m: float | None
    """Images that say their GSD are resampled to this one; None leaves all as they are."""
    on_error: Literal["fail", "skip"]
    tally: Tally
    failures: dict[int, Failure] = field(default_factory=dict)
    """By row."""

    def run(self, give: Give, ledger: Ledger, progress: Progress | None) -> None:
        """Look at all images and give their detections, in the order of the set.

        Raises:
            D2DetError, OSError, MemoryError: an image failed, and was not to be skipped.
        """
        told = progress or (lambda done, total: None)
        for batch in self._batches(ledger):
            parts = iter(batch.parts)
            for row in range(batch.first, batch.last):
                some = [next(parts) for _ in range(batch.counts.get(f"{row}.parts", 0))]
                if some:
                    width, height = batch.counts[f"{row}.width"], batch.counts[f"{row}.height"]
                    give(row, (width, height), self._merged(row, (width, height), some))
                told(row + 1, len(self.set.images))

    def _merged(self, row: int, size: Size, parts: list[Part]) -> Detections:
        grid = self._grid(row, size)
        with self.tally.timed("merge"):
            found = merge_seams(parts, *grid).ranked()
            found = found.select(found.scores >= self.network.score)
            return found.moved((size[0] / grid[0], size[1] / grid[1]))

    def _grid(self, row: int, size: Size) -> Size:
        """Width and height of an image as the network sees it, px."""
        gsds = self.set.images.gsd_m
        own = np.nan if gsds is None else float(gsds[row])
        if self.gsd_m is None or np.isnan(own):
            return size
        return max(round(size[0] * own / self.gsd_m), 1), max(round(size[1] * own / self.gsd_m), 1)

    def _batches(self, ledger: Ledger) -> Iterator[Batch]:
        """Give the packs of a run: those the ledger holds, unless an image failed or changed, then new ones."""
        done = 0
        for batch in ledger.replay():
            if self._stale(batch):
                rows = range(batch.first, batch.last)
                yield self._seen(batch.first, batch.last, iter([(row, self._decoded(row)) for row in rows]))
            else:
                self.tally.add(batch.counts)
                yield batch
            done = batch.last
        rows = range(done, len(self.set.images))
        with closing(read_ahead(self._decoded, rows, depth=1)) as images:
            for first in rows[:: self.network.batch_size]:
                last = min(first + self.network.batch_size, len(self.set.images))
                batch = self._seen(first, last, images)
                with self.tally.timed("ledger"):
                    ledger.record(batch)
                yield batch

    def _stale(self, batch: Batch) -> bool:
        known = batch.counts
        return any(
            self._stamp(row) != {name: known.get(name) for name in (f"{row}.bytes", f"{row}.changed")}
            for row in range(batch.first, batch.last)
        )

    def _stamp(self, row: int) -> dict[str, int]:
        """Say by what the file of an image is known again; of one that is missing, by nothing."""
        with suppress(D2DetError, OSError):
            about = self.set.files.path(row).stat()
            return {f"{row}.bytes": about.st_size, f"{row}.changed": about.st_mtime_ns}
        return {f"{row}.bytes": -1, f"{row}.changed": -1}

    def _decoded(self, row: int) -> _Image | Exception:
        try:
            stamp = self._stamp(row)
            pixels = self.set.files.decode(row)
            size = (pixels.shape[2], pixels.shape[1])
            return _Image(resampled(pixels, *self._grid(row, size)), size, stamp)
        except (D2DetError, OSError, MemoryError) as error:
            return error

    def _seen(self, first: int, last: int, images: Iterator[tuple[int, _Image | Exception]]) -> Batch:
        """Look at the images of a pack; chips of one size share batches, in the order of the images."""
        before = self.tally.counts()
        facts: dict[str, int] = {}
        looked = _Looked(self.network, self.tally)
        for row in range(first, last):
            with self.tally.timed("read"):
                _, image = next(images)
            if isinstance(image, Exception):
                self._fail(row, image)
                continue
            facts |= image.stamp | {f"{row}.width": image.size[0], f"{row}.height": image.size[1]}
            grid = (image.pixels.shape[2], image.pixels.shape[1])
            for window in chosen_windows(grid, self.chip_size, self.network.overlap, None, self.tally):
                looked.add(row, window, image.pixels)
        parts = looked.finish()
        facts |= {f"{row}.parts": len(some) for row, some in parts.items()}
        given = [part for row in range(first, last) for part in parts.get(row, [])]
        return Batch(first, last, given, self.tally.since(before) | facts)

    def _fail(self, row: int, error: Exception) -> None:
        if self.on_error == "fail":
            raise error
        reason = " ".join(str(error).split()) or type(error).__name__
        self.failures[row] = Failure(str(self.set.images.names[row]), reason, getattr(error, "exit_code", 1))


class _Looked:
    """Chips of several images on their way through the network."""

    def __init__(self, network: ChipNetwork, tally: Tally) -> None:
        self._network, self._tally = network, tally
        self._waiting: dict[tuple[int, ...], list[tuple[int, Window, Chip]]] = defaultdict(list)
        self._parts: dict[int, list[Part]] = defaultdict(list)

    def add(self, row: int, window: Window, pixels: Pixels) -> None:
        rows, columns = window.toslices()
        chip = np.ascontiguousarray(pixels[:, rows, columns])
        waiting = self._waiting[chip.shape]
        waiting.append((row, window, (chip, np.ones(chip.shape[1:], np.bool_))))
        if len(waiting) == self._network.batch_size:
            self._look(waiting)

    def finish(self) -> dict[int, list[Part]]:
        """Give the parts of each image, by row."""
        for waiting in self._waiting.values():
            if waiting:
                self._look(waiting)
        return self._parts

    def _look(self, waiting: list[tuple[int, Window, Chip]]) -> None:
        parts = self._network.detect([(window, chip) for _, window, chip in waiting], self._tally)
        # A chip is followed by its quarters, if it has any: windows that are smaller.
        size = (waiting[0][1].width, waiting[0][1].height)
        heads = [index for index, (_, window) in enumerate(parts) if (window.width, window.height) == size]
        for (row, _, _), (start, stop) in zip(waiting, pairwise([*heads, len(parts)]), strict=True):
            self._parts[row] += parts[start:stop]
        waiting.clear()
