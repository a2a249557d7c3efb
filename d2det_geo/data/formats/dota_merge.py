"""Detections of DOTA's split patches as detections of the whole images (spec section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.dota_corners import bounds, box_corners, corners, polygons
from d2det_geo.data.formats.dota_patches import Patch, bare_name, patch_of
from d2det_geo.data.formats.image_files import row_by_stem
from d2det_geo.errors import InputError
from d2det_ops.compiled import compiled


def merged(
    annotations: Annotations,
    truth_images: Images,
    threshold: float | Mapping[str, float],
    *,
    task: Literal[1, 2] | None = None,
) -> Annotations:
    """Bring detections of patches to their whole images, and there keep the surest of those that overlap.

    A coordinate becomes ``(x + left) / rate``. By image and class, a detection survives while its IoU with each surer
    one that survives is at most ``threshold``. Images whose names are no patches' are taken as whole.

    Args:
        annotations: detections of patches.
        truth_images: the whole images.
        threshold: of all classes, or one for each class by name; the devkit's is 0.3.
        task: 1 compares the four corners of outlines (one that is not convex by its hull), 2 compares boxes with
            widths counted plus one, and drops outlines; None: 1 if there are outlines.

    Returns:
        The survivors in the order of ``annotations``; ``images`` is ``truth_images``.

    Raises:
        InputError: a patch of an image that is not in ``truth_images``.
    """
    if annotations.scores is None:
        raise ValueError("detections have scores")
    image, rate, shift = _places(annotations.images, row_by_stem(truth_images))
    image, rate, shift = (values[annotations.image] for values in (image, rate, shift))
    turned = task == 1 or (task is None and annotations.outlines is not None)
    quads = corners(annotations) if turned else box_corners(annotations.boxes)
    quads = (quads + shift[:, None]) / rate[:, None, None]
    moved = replace(
        annotations,
        images=truth_images,
        image=image,
        boxes=bounds(quads),
        outlines=polygons(quads) if turned else None,
        areas=None,
    )
    limits = np.array([threshold if isinstance(threshold, int | float) else threshold[n] for n in annotations.classes])
    return moved.rows(_survivors(moved, quads if turned else None, limits))


def _places(images: Images, rows: Mapping[str, int]) -> tuple[Any, Any, Any]:
    """Find for patches the rows of their whole images ``[M]``, rates ``[M]`` and shifts ``[M, 2]``."""
    found, rates, shifts = [], [], []
    for name in images.names:
        stem = PurePosixPath(name).stem if PurePosixPath(name).stem in rows else bare_name(name)
        patch = Patch(stem, 1.0, 0, 0) if stem in rows else patch_of(stem)
        if patch is None or patch.image not in rows:
            raise InputError(f"{name}: is neither one of the whole images nor a patch of one (P0004__1__0___0)")
        found.append(rows[patch.image])
        rates.append(patch.rate)
        shifts.append((patch.left, patch.top))
    return (
        np.array(found, dtype=np.int64),
        np.array(rates, dtype=np.float64),
        np.array(shifts, dtype=np.float64).reshape(-1, 2),
    )


def _survivors(moved: Annotations, quads: NDArray[np.float64] | None, limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    scores = np.zeros(0) if moved.scores is None else moved.scores
    order = np.lexsort((-scores, moved.labels, moved.image))
    group = moved.image[order] * (len(moved.classes) + 1) + moved.labels[order]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(group)) + 1, [len(group)])).astype(np.int64)
    if quads is None:
        boxes, hulls = moved.boxes[order] + np.array([0.0, 0.0, 1.0, 1.0]), np.empty((0, 4, 2))
    else:
        boxes, hulls = moved.boxes[order], _convex(quads[order])
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[order] = _greedy(boxes, hulls, starts, limits[moved.labels[order]])
    return kept


def _convex(quads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Order corners ``[N, 4, 2]`` to turn one way; replace those that are not convex by their hulls'."""
    ahead = np.roll(quads, -1, axis=1)
    area = (quads[..., 0] * ahead[..., 1] - quads[..., 1] * ahead[..., 0]).sum(axis=1)
    quads = np.where((area < 0)[:, None, None], quads[:, ::-1], quads)
    side = np.roll(quads, -1, axis=1) - quads
    turn = np.roll(side, -1, axis=1)
    bent = (side[..., 0] * turn[..., 1] - side[..., 1] * turn[..., 0] < 0).any(axis=1)
    for row in np.flatnonzero(bent):
        hull = shapely.convex_hull(shapely.polygons(quads[row]))
        if hull.geom_type == "Polygon":
            ring = shapely.get_coordinates(shapely.orient_polygons(hull))[:-1]
            quads[row] = np.vstack((ring, np.repeat(ring[-1:], 4 - len(ring), axis=0)))
    return quads


@compiled
def _greedy(
    boxes: NDArray[np.float64], hulls: NDArray[np.float64], starts: NDArray[np.int64], limits: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which of detections, sorted by group and then from the surest, survive."""
    alive = np.zeros(len(boxes), dtype=np.bool_)
    kept = np.empty(len(boxes), dtype=np.int64)
    for group in range(len(starts) - 1):
        count = 0
        for one in range(starts[group], starts[group + 1]):
            survives = True
            for place in range(count):
                other = kept[place]
                width = min(boxes[one, 2], boxes[other, 2]) - max(boxes[one, 0], boxes[other, 0])
                height = min(boxes[one, 3], boxes[other, 3]) - max(boxes[one, 1], boxes[other, 1])
                if width <= 0 or height <= 0:
                    continue
                if len(hulls):
                    shared, total = _shared(hulls[one], hulls[other]), _area(hulls[one], 4) + _area(hulls[other], 4)
                else:
                    shared = width * height
                    total = (boxes[one, 2] - boxes[one, 0]) * (boxes[one, 3] - boxes[one, 1])
                    total += (boxes[other, 2] - boxes[other, 0]) * (boxes[other, 3] - boxes[other, 1])
                if shared > limits[one] * (total - shared):
                    survives = False
                    break
            if survives:
                alive[one] = True
                kept[count] = one
                count += 1
    return alive


@compiled
def _area(points: Any, count: int) -> Any:
    """Measure a polygon of ``count`` points, relative to its first one."""
    total = 0.0
    for index in range(1, count - 1):
        ax, ay = points[index, 0] - points[0, 0], points[index, 1] - points[0, 1]
        bx, by = points[index + 1, 0] - points[0, 0], points[index + 1, 1] - points[0, 1]
        total += ax * by - ay * bx
    return total / 2


@compiled
def _shared(first: Any, second: Any) -> Any:
    """Measure what two convex polygons of four corners share, both turning one way: cut one by the other's sides."""
    points, cut, count = np.empty((16, 2)), np.empty((16, 2)), 4
    for index in range(4):
        points[index, 0], points[index, 1] = first[index, 0], first[index, 1]
    for side in range(4):
        x, y, after = second[side, 0], second[side, 1], (side + 1) % 4
        dx, dy, left = second[after, 0] - x, second[after, 1] - y, 0
        for index in range(count):
            ax, ay = points[index, 0], points[index, 1]
            bx, by = points[(index + 1) % count, 0], points[(index + 1) % count, 1]
            from_a, from_b = dx * (ay - y) - dy * (ax - x), dx * (by - y) - dy * (bx - x)
            if from_a >= 0:
                cut[left, 0], cut[left, 1] = ax, ay
                left += 1
            if (from_a > 0 and from_b < 0) or (from_a < 0 and from_b > 0):
                share = from_a / (from_a - from_b)
                cut[left, 0], cut[left, 1] = ax + share * (bx - ax), ay + share * (by - ay)
                left += 1
        points, cut, count = cut, points, left
    return max(_area(points, count), 0.0)
