"""From a grid of pixels to detections: batches, reading ahead, what is skipped and dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from d2det_geo.detections import Detections
from d2det_geo.model.bundle import Card
from d2det_geo.pipeline.detect import detect_grid, read_ahead
from d2det_geo.pipeline.network import Chip, ChipNetwork, normalised
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.windows import scene_windows

WIDTH, HEIGHT = 150, 110
CARD = Card(
    name="spots",
    classes=("spot",),
    mean=(10.0, 20.0, 30.0),
    std=(2.0, 4.0, 8.0),
    chip_size=64,
    overlap=16,
    score=0.5,
    architecture={},
    proposals={},
    sampling={},
    inference={"detections": 5},
)


class SpotDetector(nn.Module):
    """Finds every pixel of value 255 in the first band as a 3 x 3 px object around it."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[tuple[int, ...], list[tuple[int, int]]]] = []
        self.scale = nn.Parameter(torch.ones(()))

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        assert torch.is_inference_mode_enabled()
        self.batches.append((tuple(images.shape), [tuple(size) for size in image_sizes]))
        bright = (255 - CARD.mean[0]) / CARD.std[0]
        return [self._spots(image[0] == bright) for image in images]

    def _spots(self, bright: Tensor) -> Detections:
        rows, columns = bright.nonzero().numpy().T
        boxes = np.stack([columns - 1, rows - 1, columns + 2, rows + 2], axis=1).astype(np.float64)
        count = len(boxes)
        return Detections(boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int64))


def spots(*points: tuple[int, int]) -> NDArray[np.uint8]:
    image = np.full((3, HEIGHT, WIDTH), 50, np.uint8)
    for x, y in points:
        image[:, y, x] = 255
    return image


def reader(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> Callable[[Window], Chip]:
    valid = np.ones(image.shape[1:], np.bool_) if valid is None else valid

    def read(window: Window) -> Chip:
        rows, columns = window.toslices()
        return image[:, rows, columns], valid[rows, columns]

    return read


def detect(
    read: Callable[[Window], Chip], network: nn.Module, tally: Tally | None = None, **options: object
) -> Detections:
    tiling = {"chip_size": 64, "overlap": 16, "batch_size": 2} | options
    chips = ChipNetwork(network, CARD, tiling.pop("overlap"), tiling.pop("batch_size"))
    return detect_grid(read, (WIDTH, HEIGHT), chips, tally=tally, **tiling)


def centres(found: Detections) -> list[tuple[float, float]]:
    return sorted(
        zip(found.boxes[:, [0, 2]].mean(axis=1) - 0.5, found.boxes[:, [1, 3]].mean(axis=1) - 0.5, strict=True)
    )


def test_every_object_is_found_once_in_grid_pixels() -> None:
    points = [(1, 2), (30, 40), (56, 50), (63, 63), (100, 20), (149, 109), (148, 50)]
    tally = Tally()
    found = detect(reader(spots(*points)), SpotDetector(), tally)
    assert centres(found) == sorted(points)
    assert (tally.windows, tally.chips, tally.skipped) == (6, 6, 0)
    assert set(tally.seconds) == {"read", "network", "merge"}


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (9, [6])])
def test_batches_are_filled_in_order(batch_size: int, sizes: list[int]) -> None:
    network = SpotDetector()
    detect(reader(spots((30, 40))), network, batch_size=batch_size)
    assert [shape for shape, _ in network.batches] == [(count, 3, 64, 64) for count in sizes]


def test_chips_are_normalised_then_padded_to_whole_strides() -> None:
    rng = np.random.default_rng(0)
    chips = [rng.integers(0, 256, (3, 33, 70), dtype=np.uint8) for _ in range(2)]
    images = normalised(chips, CARD, torch.device("cpu"))
    assert images.shape == (2, 3, 64, 96)
    assert images.dtype == torch.float32
    expected = (np.stack(chips) - np.array(CARD.mean)[:, None, None]) / np.array(CARD.std)[:, None, None]
    np.testing.assert_allclose(images[:, :, :33, :70], expected, rtol=1e-6)
    assert not images[:, :, 33:].any()
    assert not images[:, :, :, 70:].any()


def test_a_grid_smaller_than_a_chip_is_one_image_of_its_own_size() -> None:
    network = SpotDetector()
    found = detect(reader(spots((30, 40))), network, chip_size=512, overlap=128)
    assert network.batches == [((1, 3, 128, 160), [(HEIGHT, WIDTH)])]
    assert centres(found) == [(30, 40)]


def test_windows_without_image_never_reach_the_network() -> None:
    valid = np.zeros((HEIGHT, WIDTH), np.bool_)
    valid[100:, 140:] = True
    network, tally, seen = SpotDetector(), Tally(), []
    found = detect(reader(spots((145, 105)), valid), network, tally, progress=lambda *step: seen.append(step))
    assert [shape[0] for shape, _ in network.batches] == [1]
    assert (tally.windows, tally.chips, tally.skipped) == (6, 1, 5)
    assert seen == [(done, 6) for done in range(1, 7)]
    assert centres(found) == [(145, 105)]


def test_a_grid_without_image_has_no_objects() -> None:
    network = SpotDetector()
    found = detect(reader(spots((5, 5)), np.zeros((HEIGHT, WIDTH), np.bool_)), network)
    assert len(found) == 0
    assert network.batches == []


def test_objects_centred_where_there_is_no_image_are_dropped_and_counted() -> None:
    valid = np.ones((HEIGHT, WIDTH), np.bool_)
    valid[39:42, 29:32] = False
    tally = Tally()
    found = detect(reader(spots((30, 40), (100, 20)), valid), SpotDetector(), tally)
    assert centres(found) == [(100, 20)]
    assert tally.dropped == {"invalid": 1}


def test_unwanted_windows_are_not_read() -> None:
    network, tally, asked = SpotDetector(), Tally(), []
    read = reader(spots((30, 40), (140, 100)))

    def watched(window: Window) -> Chip:
        asked.append(window.col_off)
        return read(window)

    found = detect(watched, network, tally, wanted=lambda window: window.col_off > 0)
    assert 0 not in asked
    assert (len(asked), tally.skipped, tally.windows) == (4, 2, 6)
    assert centres(found) == [(140, 100)]


class CappedDetector(SpotDetector):
    """Gives five spots of an image at most, the first ones."""

    def _spots(self, bright: Tensor) -> Detections:
        found = super()._spots(bright)
        return replace(found.select(np.arange(min(len(found), 5))), capped=len(found) >= 5)


def test_a_chip_with_more_objects_than_the_network_gives_is_looked_at_in_quarters() -> None:
    crowd = [(x, y) for x in (6, 30, 58) for y in (6, 30, 58)]
    network, tally = CappedDetector(), Tally()
    found = detect(reader(spots(*crowd, (100, 100))), network, tally)
    assert centres(found) == sorted([*crowd, (100, 100)])
    assert (tally.chips, tally.split_chips, tally.capped_chips) == (6, 1, 0)
    # Quarters of a 64 px chip that overlap by 16 are 40 px, seen as 64 px images like the chips, two at once.
    assert [sizes for _, sizes in network.batches if sizes[0] == (40, 40)] == [[(40, 40)] * 2] * 2


def test_quarters_that_are_too_full_are_told() -> None:
    dense = [(x, y) for x in range(3, 60, 6) for y in range(3, 60, 6)]
    tally = Tally()
    found = detect(reader(spots(*dense)), CappedDetector(), tally)
    assert tally.split_chips >= 1
    assert tally.capped_chips >= 4
    assert 5 < len(found) < len(dense)


def test_a_quarter_that_two_chips_share_counts_once() -> None:
    # Windows of 64 px at 0 and, moved back, 24: the right quarters of the first are the left ones of the second.
    crowd = [(x, y) for x in range(4, 88, 8) for y in (6, 30, 58)]
    tally = Tally()
    chips = ChipNetwork(CappedDetector(), CARD, 16, 2)
    image = spots(*crowd)[:, :64, :88]
    found = detect_grid(reader(image), (88, 64), chips, chip_size=64, tally=tally)
    assert tally.split_chips == 2
    assert len(centres(found)) == len(set(centres(found)))


def test_a_full_chip_no_larger_than_the_overlap_is_told() -> None:
    tally = Tally()
    chips = ChipNetwork(CappedDetector(), CARD, 16, 2)
    image = spots(*[(x, y) for x in range(2, 15, 4) for y in (3, 10)])[:, :16, :16]
    detect_grid(reader(image), (16, 16), chips, chip_size=64, tally=tally)
    assert (tally.split_chips, tally.capped_chips) == (0, 1)


def test_what_a_cap_cuts_off_below_the_least_score_is_not_missed() -> None:
    crowd = [(x, y) for x in (6, 30, 58) for y in (6, 30, 58)]
    tally = Tally()
    chips = ChipNetwork(CappedDetector(), CARD, 16, 2, score=0.95)  # all spots score 0.9
    detect_grid(reader(spots(*crowd)), (WIDTH, HEIGHT), chips, chip_size=64, tally=tally)
    assert (tally.split_chips, tally.capped_chips) == (0, 0)


def test_where_there_is_nothing_to_split_the_chip_is_told() -> None:
    crowd = [(10 + 5 * step, 10) for step in range(6)]
    tally = Tally()
    detect(reader(spots(*crowd)), CappedDetector(), tally, chip_size=160, overlap=159)
    assert (tally.chips, tally.split_chips, tally.capped_chips) == (1, 0, 1)


def test_labels_that_are_not_wanted_are_left_out() -> None:
    chips = ChipNetwork(SpotDetector(), CARD, 16, 2, labels=np.array([1]))
    assert len(detect_grid(reader(spots((30, 40))), (WIDTH, HEIGHT), chips, chip_size=64)) == 0


def test_reading_stays_in_order_and_within_its_depth() -> None:
    windows = list(scene_windows(40, 8, 8, 0))
    started: list[int] = []

    def read(window: Window) -> Chip:
        started.append(window.col_off)
        return np.full((3, 1, 1), window.col_off, np.uint8), np.ones((1, 1), np.bool_)

    for consumed, (window, (pixels, _)) in enumerate(read_ahead(read, windows, depth=2), start=1):
        time.sleep(0.01)  # let the reader run as far as it may
        assert pixels[0, 0, 0] == window.col_off
        assert len(started) <= consumed + 2
    assert started == [window.col_off for window in windows]


def failing(at: int, error: BaseException) -> Callable[[Window], Chip]:
    read = reader(spots((30, 40)))
    calls: Iterator[int] = iter(range(100))

    def fail(window: Window) -> Chip:
        if next(calls) == at:
            raise error
        return read(window)

    return fail


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()])
def test_what_a_reader_raises_comes_through_and_no_thread_stays(error: BaseException) -> None:
    with pytest.raises(type(error)):
        detect(failing(3, error), SpotDetector(), batch_size=1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_ctrl_c_in_the_network_stops_the_reader_before_it_leaves() -> None:
    class Interrupted(SpotDetector):
        def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
            raise KeyboardInterrupt

    reading = threading.Event()
    read = reader(spots((30, 40)))

    def slow(window: Window) -> Chip:
        reading.set()
        time.sleep(0.02)
        chip = read(window)
        reading.clear()
        return chip

    with pytest.raises(KeyboardInterrupt) as caught:
        detect(slow, Interrupted(), batch_size=1)
    assert not reading.is_set()  # while the traceback still holds every frame
    assert caught.tb is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]
