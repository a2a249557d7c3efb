"""Training chips: a random view of a labelled image, with the objects that are seen in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from torch import Tensor

from d2det_geo.data.augment import Augment, change_colours, draw_turn, warp
from d2det_geo.data.cells import object_cells
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.visible import covering_boxes, visible_objects
from d2det_geo.places import mapped

__all__ = ["MASK_CELLS", "Augment", "ChipSampler", "TrainingChip", "draw_chip"]

MASK_CELLS = 56
NEAR_OBJECTS = 0.5  # share of the chips that are drawn around an object
TRIES = 16  # places drawn to hit an area that does not fill its bounds


@dataclass(frozen=True, slots=True, eq=False)
class TrainingChip:
    """A chip of side S and its truth, in px of the chip."""

    image: NDArray[np.uint8]
    """``[3, S, S]``; 0 outside the image, outside its AOI, and where the image is hidden."""
    boxes: NDArray[np.float32]
    """``[G, 4]`` of the visible part of each object."""
    labels: NDArray[np.int64]
    """``[G]``"""
    masks: NDArray[np.uint8] | None
    """``[G, 56, 56]`` of 0 and 1: the object at the cell centres of its box; None without outlines."""
    ignored: NDArray[np.float32]
    """``[I, 4]`` boxes in which nothing is right or wrong."""


def draw_chip(image: LabelledImage, size: int, augment: Augment, rng: np.random.Generator) -> TrainingChip:
    """Draw a random view of an image.

    One affine map (zoom, flip, rotation, place) serves the pixels and the objects. Half of the chips
    are drawn around an object; all stay inside the usable area as far as they fit. An object of which
    less than a quarter of the area, or less than 2 px, is seen becomes an ignored box.

    Args:
        image: where to draw from.
        size: side S of the chip, px.
        augment: ranges of the augmentations.
        rng: all randomness comes from here.
    """
    view = _draw_view(image, size, augment, rng)
    chip, inside = _read_view(image, size, view)
    objects = visible_objects(image.truth, image.region, view, size)
    masks = None
    if objects.polygons is not None:
        masks = object_cells(objects.polygons, objects.boxes, MASK_CELLS)
    return TrainingChip(
        image=change_colours(chip, inside, augment, rng),
        boxes=objects.boxes.astype(np.float32),
        labels=objects.labels,
        masks=masks,
        ignored=covering_boxes(objects.ignored).astype(np.float32),
    )


class ChipSampler:
    """Draws chips from weighted sources; every chip is a function of three numbers alone."""

    def __init__(
        self, images_by_source: Sequence[tuple[float, Sequence[LabelledImage]]], size: int, augment: Augment
    ) -> None:
        """Prepare the shares of sources (by weight) and of their images (by usable area and weight).

        Args:
            images_by_source: weight and images of each source.
            size: side of the chips, px.
            augment: ranges of the augmentations.

        Raises:
            ValueError: there is no source, or a source has no image.
        """
        if not images_by_source or not all(len(images) for _, images in images_by_source):
            raise ValueError("a sampler needs at least one source, and every source an image")
        self.size, self.augment = size, augment
        self._sources = [images for _, images in images_by_source]
        self._source_shares = _shares([weight for weight, _ in images_by_source])
        self._image_shares = [_shares([i.region.area * i.weight for i in images]) for images in self._sources]

    def draw(self, seed: int, step: int, index: int) -> TrainingChip:
        """Draw chip ``index`` of training step ``step``: the same arguments give the same chip, in any order."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, step, index]))
        source = rng.choice(len(self._sources), p=self._source_shares)
        image = rng.choice(len(self._sources[source]), p=self._image_shares[source])
        return draw_chip(self._sources[source][image], self.size, self.augment, rng)


def _shares(weights: Sequence[float]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.asarray(weights, np.float64) / np.sum(weights)
    return shares


def _draw_view(image: LabelledImage, size: int, augment: Augment, rng: np.random.Generator) -> Affine:
    """Map chip px to grid px."""
    turn = draw_turn(augment, rng, outlines=image.truth.polygons is not None)
    x, y = _draw_centre(image, size, turn, rng)
    middle_x, middle_y = turn @ (size / 2, size / 2)
    left, top = x - middle_x, y - middle_y
    if all(value in {-1.0, 0.0, 1.0} for value in turn[:6]):
        left, top = round(left), round(top)  # a mere quarter turn must not blur
    return Affine.translation(left, top) @ turn


def _draw_centre(image: LabelledImage, size: int, turn: Affine, rng: np.random.Generator) -> NDArray[np.float64]:
    """Place the middle of the chip, grid px, so that the turned chip lies in the usable area if it fits."""
    boxes = image.truth.boxes
    low, high = np.array(image.region.bounds).reshape(2, 2)
    half = np.array([abs(turn.a) + abs(turn.b), abs(turn.d) + abs(turn.e)]) * size / 2
    # Where the area is narrower than the chip, any place at which the chip covers it will do.
    least, most = np.minimum(low + half, high - half), np.maximum(low + half, high - half)
    places = rng.uniform(least, most, (TRIES, 2))
    if len(boxes) and rng.random() < NEAR_OBJECTS:
        box = boxes[rng.integers(len(boxes))]
        places[:1] = np.clip((box[:2] + box[2:]) / 2 + rng.uniform(-0.5, 0.5, 2) * half, least, most)
    usable = shapely.contains_xy(image.region, places)
    place: NDArray[np.float64] = places[np.argmax(usable)]  # the first one; of a thin area, any
    return place


def _read_view(image: LabelledImage, size: int, view: Affine) -> tuple[Tensor, Tensor]:
    """Read what the view sees and warp it: chip ``[3, S, S]`` float32 and its known part ``[S, S]``."""
    left, top, right, bottom = mapped(shapely.box(0, 0, size, size), view).bounds
    x1, x2 = np.clip([math.floor(left) - 1, math.ceil(right) + 1], 0, image.width).tolist()
    y1, y2 = np.clip([math.floor(top) - 1, math.ceil(bottom) + 1], 0, image.height).tolist()
    pixels = image.read(x1, y1, x2 - x1, y2 - y1)
    known = np.ones(pixels.shape[1:], np.bool_)
    origin = Affine.translation(x1, y1)
    if image.aoi is not None:
        known = rasterize([image.aoi], known.shape, transform=origin, dtype=np.uint8).astype(np.bool_)
    hidden = image.hidden[shapely.intersects(image.hidden, shapely.box(x1, y1, x2, y2))]
    if len(hidden):
        known &= rasterize(hidden, known.shape, transform=origin, dtype=np.uint8) == 0
    return warp(pixels, known, Affine.translation(-x1, -y1) @ view, size)
