from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, data, integers

from d2det_geo.raster.windows import scene_windows


def corners(width: int, height: int, size: int, overlap: int) -> list[tuple[int, int, int, int]]:
    return [window.flatten() for window in scene_windows(width, height, size, overlap)]


def test_windows_by_hand() -> None:
    assert corners(10, 4, 4, 1) == [(0, 0, 4, 4), (3, 0, 4, 4), (6, 0, 4, 4)]
    assert corners(7, 5, 4, 1) == [(0, 0, 4, 4), (3, 0, 4, 4), (0, 1, 4, 4), (3, 1, 4, 4)]  # no window twice
    assert corners(3, 2, 4, 1) == [(0, 0, 3, 2)]  # smaller than a chip
    assert corners(9, 3, 4, 0) == [(0, 0, 4, 3), (4, 0, 4, 3), (5, 0, 4, 3)]  # only one side smaller
    assert corners(1, 1, 1, 0) == [(0, 0, 1, 1)]


@settings(deadline=None)
@given(width=integers(1, 70), height=integers(1, 70), size=integers(1, 24), choice=data())
def test_windows_cover_the_scene(width: int, height: int, size: int, choice: DataObject) -> None:
    overlap = choice.draw(integers(0, size - 1))
    seen = np.zeros((height, width), int)
    windows = list(scene_windows(width, height, size, overlap))
    for window in windows:
        assert (window.width, window.height) == (min(size, width), min(size, height))
        assert min(window.col_off, window.row_off) >= 0
        rows, columns = window.toslices()
        assert rows.stop <= height
        assert columns.stop <= width
        seen[rows, columns] += 1
    assert (seen > 0).all()
    assert len({window.flatten() for window in windows}) == len(windows)
    for offsets in ({window.col_off for window in windows}, {window.row_off for window in windows}):
        assert all(first + size - second >= overlap for first, second in pairwise(sorted(offsets)))


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, 5), (4, -1), (0, 0), (-2, 0)])
def test_impossible_tilings_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"overlap must be|sizes must be"):
        list(scene_windows(9, 8, size, overlap))
