"""Six real frames of a flight: neighbours show the same ground, so their places must agree.

What two frames say of the same ground is measured in their pictures alone: pieces of one,
laid on the ground by its own transform, are looked for in the other by normalised
cross-correlation, and the distance between the two places is the disagreement.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling

from d2det_geo.raster.frames import frame_georeference
from d2det_geo.raster.place import Georeference
from d2det_geo.raster.source import open_dataset

CELL_M = 0.1
PIECE, SEARCH = 96, 96  # cells: pieces of 9.6 m, looked for up to 9.6 m away
FAR = 15  # cells: a likeness further away than this is of another thing
SHRINK = 5

Picture = NDArray[np.float32]


def read(path: Path) -> tuple[Picture, Georeference]:
    with open_dataset(path) as dataset:
        found = frame_georeference(dataset)
        shape = (dataset.height // SHRINK, dataset.width // SHRINK)
        grey = dataset.read(2, out_shape=shape, resampling=Resampling.average)
    assert found is not None
    return grey.astype(np.float32), found


def on_ground(picture: Picture, transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]) -> Picture:
    """Look up places of the ground in a shrunk picture; NaN outside of it."""
    columns, rows = ~(transform @ Affine.scale(SHRINK)) @ (x, y)
    inside = (columns >= 0) & (columns < picture.shape[1]) & (rows >= 0) & (rows < picture.shape[0])
    return np.where(
        inside, picture[np.where(inside, rows, 0).astype(int), np.where(inside, columns, 0).astype(int)], np.nan
    )


def correlation(piece: Picture, around: Picture) -> Picture:
    """Correlate a piece with every place of its own size in ``around``; what is not covered counts as -1."""
    covered = np.isfinite(around)
    known = np.where(covered, around, 0).astype(np.float64)
    pattern = (piece - piece.mean()) / piece.std()

    def sums(values: NDArray[np.float64], kernel: NDArray[np.floating]) -> NDArray[np.float64]:
        shape = [a + b for a, b in zip(values.shape, kernel.shape, strict=True)]
        product = np.fft.rfft2(values, shape) * np.conj(np.fft.rfft2(kernel, shape))
        valid = [slice(0, a - b + 1) for a, b in zip(values.shape, kernel.shape, strict=True)]
        return np.fft.irfft2(product, shape)[tuple(valid)]

    ones = np.ones_like(pattern)
    mean = sums(known, ones) / ones.size
    spread = np.sqrt(np.maximum(sums(known**2, ones) / ones.size - mean**2, 1))
    found = sums(known, pattern) / ones.size / spread
    return np.where(sums(covered.astype(float), ones) > ones.size - 0.5, found, -1).astype(np.float32)


def sought(
    source: tuple[Picture, Affine], other: tuple[Picture, Affine], place: tuple[float, float]
) -> tuple[float, float] | None:
    """Find the piece of ground that ``source`` has at ``place`` in the other frame.

    Returns:
        How far from ``place`` the other frame has it, metres east and north; None unless one place alone is like it.
    """
    cells = (np.arange(PIECE + 2 * SEARCH) - SEARCH) * CELL_M
    x, y = np.meshgrid(place[0] + cells, place[1] - cells)
    own = (slice(SEARCH, SEARCH + PIECE),) * 2
    piece = on_ground(*source, x[own], y[own])
    if not np.isfinite(piece).all() or piece.std() < 10:
        return None
    match = correlation(piece, on_ground(*other, x, y))
    row, column = np.unravel_index(match.argmax(), match.shape)
    best = match[row, column]
    match[max(row - FAR, 0) : row + FAR, max(column - FAR, 0) : column + FAR] = -1
    alone = best > 0.6 and match.max() < best - 0.15
    return (float(column - SEARCH) * CELL_M, float(SEARCH - row) * CELL_M) if alone else None


def disagreements(first: tuple[Picture, Affine], second: tuple[Picture, Affine]) -> NDArray[np.float64]:
    """Measure how far apart two frames put the same ground, ``[N, 2]`` metres east and north, second less first."""
    height, width = first[0].shape
    centre = first[1] @ (width * SHRINK / 2, height * SHRINK / 2)
    steps = np.arange(-40, 40, PIECE * CELL_M / 2)
    found = []
    for x, y in ((centre[0] + dx, centre[1] + dy) for dx in steps for dy in steps):
        there = sought(first, second, (x, y))
        back = there and sought(second, first, (x + there[0], y + there[1]))
        if there and back and np.hypot(there[0] + back[0], there[1] + back[1]) < 0.5:
            found.append(there)
    return np.array(found).reshape(-1, 2)


@pytest.fixture(scope="module")
def flight(shared_data: Callable[[str], Path]) -> list[tuple[Picture, Georeference]]:
    return [read(path) for path in sorted(shared_data("flight").glob("*.JPG"))]


def test_neighbours_agree_on_the_ground(flight: list[tuple[Picture, Georeference]]) -> None:
    for (first, here), (second, there) in pairwise(flight):
        distances = np.hypot(*disagreements((first, here.transform), (second, there.transform)).T)
        assert len(distances) >= 5
        assert here.uncertainty_m is not None
        assert distances.max() < here.uncertainty_m < 10


def test_the_disagreement_is_measured_in_the_pictures(flight: list[tuple[Picture, Georeference]]) -> None:
    (first, here), (second, there) = flight[1:3]
    moved = Affine.translation(3, -2) @ there.transform
    before = disagreements((first, here.transform), (second, there.transform))
    after = disagreements((first, here.transform), (second, moved))
    assert np.median(after, axis=0) - np.median(before, axis=0) == pytest.approx([3, -2], abs=0.2)


def test_the_frames_have_been_turned_since_capture(flight: list[tuple[Picture, Georeference]]) -> None:
    # As they are stored, against what their angles say: no piece of ground is where the next frame has it.
    (first, here), (second, there) = flight[1:3]
    half = Affine.translation(4000, 2250) @ Affine.scale(-1)
    assert not len(disagreements((first, here.transform @ half), (second, there.transform @ half)))
