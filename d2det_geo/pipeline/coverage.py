"""What many windows see of a grid, by arrays: windows are rows ``(x, y, width, height)`` in grid px."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def covered_share(windows: NDArray[np.float64], width: int, height: int) -> float:
    """Compute the share of a grid of ``width`` x ``height`` px that lies in any of ``windows [N, 4]``."""
    x1, y1, x2, y2 = _corners(windows)
    xs, ys = (np.unique(np.concatenate(edges)) for edges in ((x1, x2, [0, width]), (y1, y2, [0, height])))
    depth = np.zeros((len(ys), len(xs)), np.int64)
    for rows, columns, step in ((y1, x1, 1), (y2, x2, 1), (y1, x2, -1), (y2, x1, -1)):
        np.add.at(depth, (np.searchsorted(ys, rows), np.searchsorted(xs, columns)), step)
    covered = depth.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    return float(np.diff(ys) @ covered @ np.diff(xs)) / (width * height)


def touched(windows: NDArray[np.float64], cells: NDArray[np.bool_], cell: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell which windows touch a cell that is set.

    Args:
        windows: ``[N, 4]``.
        cells: ``[rows, columns]`` of a raster over the same grid.
        cell: (width, height) of one of them, grid px.

    Returns:
        ``[N]``.
    """
    below = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), np.int64)
    below[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
    x1, y1, x2, y2 = _corners(windows)
    left, right = (_index(edge(x / cell[0]), cells.shape[1]) for edge, x in ((np.floor, x1), (np.ceil, x2)))
    top, bottom = (_index(edge(y / cell[1]), cells.shape[0]) for edge, y in ((np.floor, y1), (np.ceil, y2)))
    set_cells: NDArray[np.int64] = below[bottom, right] - below[top, right] - below[bottom, left] + below[top, left]
    return set_cells > 0


def _corners(windows: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    x, y, width, height = windows.reshape(-1, 4).T
    return x, y, x + width, y + height


def _index(edges: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    return np.clip(edges, 0, count).astype(np.intp)
