"""Scores of a network on labelled images, through the same chips and seams as a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from d2det_geo.aoi import LEAST_SHARE_INSIDE
from d2det_geo.data.images import LabelledImage
from d2det_geo.metrics.geo import match_objects, shares_inside
from d2det_geo.metrics.scores import Matches, Scores, summarise
from d2det_geo.model.bundle import Card
from d2det_geo.model.d2det import D2Det
from d2det_geo.pipeline.detect import detect_grid
from d2det_geo.pipeline.network import ChipNetwork
from d2det_geo.vector.polygons import box_polygons, mask_polygons


def validate(network: D2Det, card: Card, images: Sequence[LabelledImage], batch_size: int = 1) -> Scores:
    """Score a network in px of the images: outlines if the truth has them and the network masks, else boxes.

    The AOI rule holds, and ignore regions count like the outside of an AOI.
    """
    return summarise([_match(network, card, image, batch_size) for image in images])


def _match(network: D2Det, card: Card, image: LabelledImage, batch_size: int) -> Matches:
    def read(window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        x, y, width, height = map(int, window.flatten())
        return image.read(x, y, width, height), np.ones((height, width), np.bool_)

    def wanted(window: Window) -> bool:
        x, y, width, height = window.flatten()
        return bool(shapely.intersects(image.region, shapely.box(x, y, x + width, y + height)))

    chips = ChipNetwork(network, card, card.overlap, batch_size)
    found = detect_grid(read, (image.width, image.height), chips, chip_size=card.chip_size, wanted=wanted).ranked()
    truth = image.truth
    outlines = network.has_masks and truth.polygons is not None
    shapes = mask_polygons(found) if outlines else box_polygons(found.boxes)
    # A mask that never reaches 0.5 has no outline, and predict would not write it.
    drawn = ~shapely.is_empty(shapes)
    found, shapes = found.select(drawn), shapes[drawn]
    ignored = shares_inside(shapes, image.region) < LEAST_SHARE_INSIDE
    if len(truth.ignored):
        ignored |= shares_inside(shapes, shapely.union_all(truth.ignored)) > LEAST_SHARE_INSIDE
    return match_objects(
        truth.polygons if outlines and truth.polygons is not None else box_polygons(truth.boxes),
        truth.labels,
        None,
        shapes,
        found.labels,
        found.scores,
        ignored,
        boxes=not outlines,
    )
