"""A grid of pixels in, detections with seams merged out: chips, batches, network, merging.

It knows no file and no world: ``predict`` feeds it a scene, ``train`` its validation images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor

from d2det_geo.detections import Detections
from d2det_geo.errors import UsageError
from d2det_geo.model.backbones import SIDE_MULTIPLE
from d2det_geo.pipeline.device import device_of
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.windows import scene_windows
from d2det_geo.seams.merger import SeamMerger, best_first

if TYPE_CHECKING:
    from d2det_geo.model.bundle import Card

Chip = tuple[NDArray[np.uint8], NDArray[np.bool_]]
Read = Callable[[Window], Chip]
"""Window in grid px -> chip ``[3, H, W]`` and which of its pixels are valid ``[H, W]``."""
Progress = Callable[[int, int], None]
"""Called with the windows done and the windows in all."""


class Detector(Protocol):
    """What prediction asks of a network."""

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Find the objects of ``[N, 3, H, W]`` normalised images, in px of each."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the weights, whose device the images are sent to."""
        ...


def detect_grid(  # noqa: PLR0913 (what a grid is, what runs on it, how it is cut, and two observers)
    read: Read,
    width: int,
    height: int,
    network: Detector,
    card: Card,
    *,
    chip_size: int,
    overlap: int,
    batch_size: int,
    wanted: Callable[[Window], bool] | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Detections:
    """Find the objects of a whole grid.

    Reading runs ahead of the network on a thread of its own. Which chips share a batch depends
    on nothing but the arguments, so a run repeats to the last bit.

    Args:
        read: gives one chip; called from one other thread.
        width: of the grid, px.
        height: of the grid, px.
        network: in evaluation mode.
        card: says how pixels are normalised, and the cap of detections per chip.
        chip_size: side, grid px.
        overlap: of neighbouring chips, grid px.
        batch_size: chips the network sees at once.
        wanted: windows it refuses are skipped unread.
        progress: told after every window.
        tally: counts and seconds are added to it.

    Returns:
        Objects in grid px, each once, by descending score.

    Raises:
        UsageError: sizes that make no sense.
    """
    _check_sizes(chip_size, overlap, batch_size)
    tally = Tally() if tally is None else tally
    windows = list(scene_windows(width, height, chip_size, overlap))
    chosen = [window for window in windows if wanted is None or wanted(window)]
    tally.windows += len(windows)
    tally.skipped += len(windows) - len(chosen)
    merger, objects = SeamMerger(width, height), []
    batch: list[tuple[Window, Chip]] = []
    # Closed before an exception leaves: nobody may close the file under a reader.
    with closing(read_ahead(read, chosen, depth=2 * batch_size)) as chips:
        for done, (window, chip) in enumerate(tally.awaited("read", chips), start=1):
            if chip[1].any():
                batch.append((window, chip))
            else:
                tally.skipped += 1
            if len(batch) == batch_size or (batch and done == len(chosen)):
                parts, batch = _detect_batch(batch, network, card, tally), []
                with tally.timed("merge"):
                    objects.append(_merged(merger, parts))
            if progress is not None:
                progress(done, len(chosen))
    with tally.timed("merge"):
        return best_first([*objects, merger.flush()])


def _check_sizes(chip_size: int, overlap: int, batch_size: int) -> None:
    if chip_size < 1:
        raise UsageError(f"--chip-size {chip_size}: must be a positive number of px")
    if not 0 <= overlap < chip_size:
        raise UsageError(f"--overlap {overlap}: must be at least 0 and less than the chip size, {chip_size} px")
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be a positive number of chips")


def read_ahead(read: Read, windows: Iterable[Window], depth: int) -> Generator[tuple[Window, Chip]]:
    """Read windows in order on one other thread, at most ``depth`` ahead of who consumes them.

    An error of ``read`` is raised where its chip would have come. Whoever stops early, by an
    exception or Ctrl-C, waits for no more than the window being read.
    """
    pending: deque[tuple[Window, Future[Chip]]] = deque()
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
    try:
        for window in windows:
            pending.append((window, reader.submit(read, window)))
            if len(pending) > depth:
                first, chip = pending.popleft()
                yield first, chip.result()
        while pending:
            first, chip = pending.popleft()
            yield first, chip.result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)


def normalised(chips: Sequence[NDArray[np.uint8]], card: Card, device: torch.device) -> Tensor:
    """Stack chips of one size as the network wants them.

    Args:
        chips: N of ``[3, H, W]``; they travel to the device as bytes.
        card: mean and standard deviation of each band, in grey levels.
        device: of the network.

    Returns:
        ``[N, 3, H', W']`` float32, zero (the mean colour) beyond H and W, whose multiples of 32 H' and W' are.
    """
    pixels = torch.from_numpy(np.stack(chips)).to(device)
    mean = torch.tensor(card.mean, device=device).reshape(3, 1, 1)
    std = torch.tensor(card.std, device=device).reshape(3, 1, 1)
    height, width = pixels.shape[2:]
    images = torch.zeros((len(chips), 3, _multiple(height), _multiple(width)), device=device)
    images[:, :, :height, :width] = (pixels - mean) / std
    return images


def _multiple(side: int) -> int:
    return -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE


def _detect_batch(
    batch: Sequence[tuple[Window, Chip]], network: Detector, card: Card, tally: Tally
) -> list[tuple[Detections, Window]]:
    """Run the network on chips of one size; the detections come back in grid px, each chip with its window."""
    device = device_of(network)
    chips = [pixels for _, (pixels, _) in batch]
    with torch.inference_mode():
        with tally.timed("read"):
            images = normalised(chips, card, device)
        with tally.timed("network"):
            found = network.detect(images, [chip.shape[1:] for chip in chips])
    tally.chips += len(batch)
    tally.capped_chips += sum(part.capped or len(part) >= card.inference["detections"] for part in found)
    parts = []
    for detections, (window, (_, valid)) in zip(found, batch, strict=True):
        kept = detections.select(_on_image(detections.boxes, valid))
        tally.drop("invalid", len(detections) - len(kept))
        parts.append((kept.moved(offset=(window.col_off, window.row_off)), window))
    return parts


def _merged(merger: SeamMerger, parts: Sequence[tuple[Detections, Window]]) -> Detections:
    """Hand in the detections of windows that come row by row; the objects that no window to come can touch."""
    for detections, window in parts:
        merger.add(detections, window)
    return merger.finished(parts[-1][1].row_off)


def _on_image(boxes: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which boxes have their centre in a valid pixel of their chip."""
    height, width = valid.shape
    column = np.clip((boxes[:, 0] + boxes[:, 2]) / 2, 0, width - 1).astype(np.intp)
    row = np.clip((boxes[:, 1] + boxes[:, 3]) / 2, 0, height - 1).astype(np.intp)
    return valid[row, column]
