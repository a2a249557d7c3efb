"""Objects of an id map: found in one pass, each looked at in a crop, never in a mask as large as the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from d2det_geo.annotations import Runs

LEAST_POINTS = 3
"""Of every contour: with fewer in any, the devkit drops the whole instance."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """R horizontal stretches of pixels of one id each, as they follow each other in an id map."""

    ids: NDArray[np.uint32]
    """``[R]``"""
    places: NDArray[np.int32]
    """``[R, 3]`` row, first column, column after the last."""
    colours: NDArray[np.uint32]
    """``[R]`` least packed colour in each."""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """N objects of an id map, by ascending id."""

    ids: NDArray[np.uint32]
    """``[N]``"""
    boxes: NDArray[np.int64]
    """``[N, 4]`` x1, y1, x2, y2 of the pixels, px, x2 and y2 after the last."""
    areas: NDArray[np.int64]
    """``[N]`` px."""
    colours: NDArray[np.uint32]
    """``[N]`` the least packed colour under each."""
    places: NDArray[np.int32]
    """``[R, 3]`` stretches as in ``Stretches``, those of one object together."""
    ends: NDArray[np.int64]
    """``[N + 1]`` object ``i`` has the stretches ``ends[i] : ends[i + 1]``."""

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.ids)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Paint the mask ``[H, W]`` of an object in its box, 1 inside."""
        x1, y1, x2, y2 = self.boxes[index]
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        for row, start, end in (self.places[self.ends[index] : self.ends[index + 1]] - (y1, x1, x1)).tolist():
            mask[row, start:end] = 1
        return mask


def packed(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pack ``[3, H, W]`` red, green, blue to ``[H, W]``: red + 256 green + 65536 blue.

    Cast first: the sum of uint8 would overflow.
    """
    red, green, blue = pixels[:3]
    values: NDArray[np.uint32] = blue.astype(np.uint32)
    for band in (green, red):
        values <<= 8
        values |= band
    return values


def stretches(ids: NDArray[np.uint32], colours: NDArray[np.uint32], least_id: int, top: int = 0) -> Stretches:
    """Find the stretches in a band of rows.

    Args:
        ids: ``[H, W]``.
        colours: ``[H, W]`` packed.
        least_id: smaller ids are background.
        top: row of the map the band begins at.
    """
    height, width = ids.shape
    first = np.ones((height, width), np.bool_)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    if not len(starts):
        return Stretches(np.zeros(0, np.uint32), np.zeros((0, 3), np.int32), np.zeros(0, np.uint32))
    ends = np.append(starts[1:], ids.size)
    values = ids.ravel()[starts]
    kept = values >= least_id
    least = np.minimum.reduceat(colours.ravel(), starts)[kept]
    starts, ends = starts[kept], ends[kept]
    rows, columns = np.divmod(starts, width)
    places = np.stack([rows + top, columns, columns + ends - starts], axis=1).astype(np.int32)
    return Stretches(values[kept], places, least)


def gathered(parts: Sequence[Stretches]) -> Instances:
    """Gather the stretches of the bands of a map, from top to bottom, to objects."""
    if not parts:
        parts = [stretches(np.zeros((1, 1), np.uint32), np.zeros((1, 1), np.uint32), 1)]
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    places = np.concatenate([part.places for part in parts])[order]
    colours = np.concatenate([part.colours for part in parts])[order]
    found, first = np.unique(ids, return_index=True)
    ends = np.append(first, len(ids)).astype(np.int64)
    if not len(found):
        empty = np.zeros(0, np.int64)
        return Instances(found, empty.reshape(0, 4), empty, colours, places, ends)
    left, right = np.minimum.reduceat(places[:, 1], first), np.maximum.reduceat(places[:, 2], first)
    top, bottom = places[first, 0], places[ends[1:] - 1, 0] + 1  # of one id, rows ascend
    boxes = np.stack([left, top, right, bottom], axis=1).astype(np.int64)
    areas = np.add.reduceat((places[:, 2] - places[:, 1]).astype(np.int64), first)
    return Instances(found, boxes, areas, np.minimum.reduceat(colours, first), places, ends)


def contours(instances: Instances, index: int) -> list[NDArray[np.int32]]:
    """Trace the outer contours of an object as the iSAID devkit does.

    They run through the centres of border pixels, whose columns and rows are the coordinates; holes are lost.
    Rasterised as COCO does, such a polygon lacks the object's last row and column: that is the devkit's truth.

    Returns:
        A ``[P, 2]`` x, y for each part, px of the map, every border pixel a point.
    """
    x, y = (int(value) for value in instances.boxes[index, :2])
    found, _ = cv2.findContours(instances.crop(index), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    return [np.asarray(contour, np.int32).reshape(-1, 2) for contour in found]


def outline(rings: Sequence[NDArray[np.int32]]) -> shapely.Geometry:
    """Make rings of at least 3 points a Polygon, or several a MultiPolygon; flat and crossing ones stay so."""
    polygons = [shapely.Polygon(ring) for ring in rings]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def exact_runs(instances: Instances, index: int) -> Runs:
    """Give the mask of an object to the pixel."""
    x1, y1, x2, y2 = (int(value) for value in instances.boxes[index])
    counts = coco_mask.encode(np.asfortranarray(instances.crop(index)))["counts"]
    return Runs(x1, y1, x2 - x1, y2 - y1, counts)
