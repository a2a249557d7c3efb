"""How many lanes read a scene's chips, and what GDAL keeps for them, so that each block is decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.raster.blocks import MIB, Blocks
from d2det_geo.raster.lanes import assign_lanes, lane_count

MOST_CACHE = 1024 * MIB
"""Unless told: a row of chips 1024 px high of a scene 200,000 px wide."""
_LEAST_CACHE = 16 * MIB
_DRIFT = 1.4  # of the cache, for lanes that are not at the same place of a row


@dataclass(frozen=True, slots=True)
class LanePlan:
    """How chips of one size are read."""

    lanes: int
    cache: int
    """bytes of blocks that GDAL keeps for all lanes"""
    block_width: float | None
    """of what is decoded at once, grid px; None for strips"""

    def assign(self, windows: Sequence[Window]) -> NDArray[np.intp]:
        """Decide which lane ``[N]`` reads which window."""
        return assign_lanes(windows, self.lanes, block_width=self.block_width)


def plan_lanes(blocks: Blocks, grid: tuple[int, int], chip: tuple[int, int], most_cache: int) -> LanePlan:
    """Choose lanes for chips of a size.

    Args:
        blocks: of the level of overviews that is read.
        grid: width and height of the scene, grid px.
        chip: width and height, grid px.
        most_cache: bytes that GDAL may keep; fewer lanes, or blocks decoded again, are the price.
    """
    px_x, px_y = blocks.width / grid[0], blocks.height / grid[1]  # of what is read, per grid px
    row = int(blocks.under_row(chip[1] * px_y) * _DRIFT)
    lanes = lane_count() if blocks.random_access else 1
    if blocks.striped:  # each lane has a row of chips of its own
        lanes = max(1, min(most_cache // row, lanes))
        row *= lanes
    else:
        row += lanes * blocks.under_chip(chip[0] * px_x, chip[1] * px_y)
    cache = min(max(row, _LEAST_CACHE), most_cache)
    return LanePlan(lanes, cache, None if blocks.striped else blocks.block_width / px_x)
