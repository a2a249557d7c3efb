"""Average precision of a part of the images or of the objects, from the verdicts on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.metrics.compared import Compared, shapes_of
from d2det_geo.metrics.curves import average_precision
from d2det_geo.metrics.image_masks import canvases, masks_of
from d2det_geo.metrics.overlaps import Shapes
from d2det_geo.runs import measured

SIZES_PX: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""COCO's ranges of area, px, where the protocol has none of its own."""

SIZES_M2: Mapping[str, tuple[float, float]] = {
    "tiny": (0.0, 10.0),
    "small": (10.0, 100.0),
    "medium": (100.0, 1000.0),
    "large": (1000.0, np.inf),
}
"""Ranges of area on the ground, m²."""

_ENDLESS = 1e10  # how COCO says so

GSD_EDGES_M = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, np.inf)
"""Edges of the bins of ground sample distance, m/px."""


@dataclass(frozen=True, slots=True)
class Part:
    """Average precision of a part; NaN where it has no objects to find."""

    name: str
    ap: float
    """Mean over the protocol's thresholds, and over the classes that have objects in the part, all of one weight."""
    images: int
    """That have objects or detections in the part."""
    truths: int
    """Objects to find."""


def score_part(compared: Compared, name: str, truths: NDArray[np.bool_], predictions: NDArray[np.bool_]) -> Part:
    """Judge a part of the objects as the whole was judged; the rest is neither right nor wrong.

    A detection that found an object outside the part is left out, whether it is in ``predictions`` or not, and one
    that found an object of the part counts. That is COCO's rule for ranges of area but for one case: COCO lets a
    detection that overlaps objects of both kinds enough prefer the one of the part.

    Args:
        compared: truth, predictions and outcome.
        name: of the part.
        truths: ``[T]`` the objects of the part.
        predictions: ``[P]`` detections that are wrong if they find nothing.
    """
    verdicts = compared.outcome.verdicts
    counted = truths & verdicts.recall_denominator()
    order, values = compared.order, []
    inside = np.append(truths, False)
    for row, found in enumerate(verdicts.found):
        kept = ~verdicts.ignored[row] & np.where(found >= 0, inside[found], predictions)
        rows = order[kept[order]]
        for label in np.unique(compared.truth_labels[counted]).tolist():
            own = rows[compared.labels[rows] == label]
            objects = int(np.count_nonzero(counted & (compared.truth_labels == label)))
            values.append(average_precision(verdicts.hits(row)[own], objects, verdicts.integral))
    seen = np.union1d(compared.truth.image[counted], compared.predictions.image[predictions])
    return Part(name, float(np.mean(values)) if values else float("nan"), len(seen), int(np.count_nonzero(counted)))


def by_size(compared: Compared) -> Iterator[Part]:
    """Judge objects by area, in the ranges of the protocol or the usual ones; both ends are inside, as in COCO.

    What the protocol says of a range of its own is its number, and is not computed twice.
    """
    usual = SIZES_M2 if compared.outcome.protocol == "geo" else SIZES_PX
    own = compared.outcome.settings.get("area_ranges") or {}
    ranges = {**(own or usual)}
    ranges.pop("all", None)
    areas = _areas_compared(compared)
    for name, (low, high) in ranges.items():
        limits = f"from {low:,.0f}" if high >= _ENDLESS else f"{low:,.0f} to {high:,.0f}"
        part = score_part(compared, f"{name} ({limits})", *((area >= low) & (area <= high) for area in areas))
        yield replace(part, ap=compared.outcome.metrics.get(f"ap_{name}", part.ap)) if name in own else part


def by_gsd(compared: Compared) -> Iterator[Part]:
    """Judge images by their ground sample distance, in bins that are not empty."""
    gsd = compared.truth.images.gsd_m
    if gsd is None:
        return
    for low, high in pairwise(GSD_EDGES_M):
        chosen = (gsd >= low) & (gsd < high)
        if chosen.any():
            name = f"from {low:g} m" if np.isinf(high) else f"{low:g} to {high:g} m"
            yield _of_images(compared, name, chosen)
    if np.isnan(gsd).any():
        yield _of_images(compared, "unknown", np.isnan(gsd))


def by_tag(compared: Compared) -> Iterator[Part]:
    """Judge the images of each attribute."""
    for name, chosen in compared.truth.images.tags.items():
        if chosen.any():
            yield _of_images(compared, name, chosen)


def _of_images(compared: Compared, name: str, chosen: NDArray[np.bool_]) -> Part:
    return score_part(compared, name, chosen[compared.truth.image], chosen[compared.predictions.image])


def _areas_compared(compared: Compared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure truths and predictions as the protocol does: boxes by their box, masks by their pixels.

    COCO's protocols take the pixels of a truth that has an outline even where they compare boxes.
    """
    protocol, settings = compared.outcome.protocol, compared.outcome.settings
    shapes = shapes_of(protocol, settings["iou"]) if "iou" in settings else "polygons"
    pixels = shapes == "boxes" and bool(settings.get("area_ranges"))
    sizes = canvases(compared.truth, compared.predictions)
    return (
        areas_of(compared.truth, "masks" if pixels else shapes, sizes),
        areas_of(compared.predictions, shapes, sizes),
    )


def areas_of(objects: Annotations, shapes: Shapes, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``[N]`` areas: those the file states, else what the outline or else the box covers.

    Args:
        objects: whose areas.
        shapes: what of them: the box; the pixels or the area of the outline, where there is one.
        sizes: ``[M, 2]`` width and height of the images, px.
    """
    areas: NDArray[np.float64] = np.prod(objects.boxes[:, 2:] - objects.boxes[:, :2], axis=1)
    if objects.outlines is not None and shapes != "boxes":
        if shapes == "masks":
            drawn = np.flatnonzero([item is not None for item in objects.outlines])
            areas[drawn] = measured(masks_of(objects.rows(drawn), sizes, "objects")).areas
        else:
            drawn = np.flatnonzero([isinstance(item, shapely.Geometry) for item in objects.outlines])
            areas[drawn] = shapely.area(objects.outlines[drawn])
    if objects.areas is not None:
        areas = np.where(np.isnan(objects.areas), areas, objects.areas)
    return areas
