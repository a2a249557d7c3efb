"""Which windows cover a scene.

A window is ``rasterio.windows.Window(col_off, row_off, width, height)`` in whole pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from rasterio.windows import Window


def scene_windows(width: int, height: int, size: int, overlap: int) -> Iterator[Window]:
    """Cover a scene with equal chips, row by row.

    The last chip of a row or column is moved back to end on the scene's edge, so it
    shares more than ``overlap`` with its neighbour; nothing is padded. A scene smaller
    than a chip gives one window of the scene's own size.

    Args:
        width: of the scene, px.
        height: of the scene, px.
        size: chip side, px.
        overlap: least number of px two neighbouring chips share, ``0 <= overlap < size``.

    Yields:
        Windows whose union is the scene.

    Raises:
        ValueError: a size is not positive, or the overlap does not fit in a chip.
    """
    if min(width, height, size) < 1:
        raise ValueError(f"sizes must be positive, got a scene of {width} x {height} px and chips of {size} px")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and less than the chip size {size}, got {overlap}")
    for row in _starts(height, size, overlap):
        for column in _starts(width, size, overlap):
            yield Window(column, row, min(size, width), min(size, height))


def _starts(length: int, size: int, overlap: int) -> list[int]:
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]
