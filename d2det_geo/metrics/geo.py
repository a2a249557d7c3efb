"""The ``geo`` protocol: polygons with polygons in one planar frame, on the ground or in pixels.

On the ground the frame is a Lambert azimuthal equal-area projection centred on the data: areas in
it are areas on the ground, so the IoU of two outlines is that of the places they cover, wherever
they lie and whatever the CRS of the files. EPSG:3857 would do for the IoU of small objects but not
for areas, and no frame of degrees does for boxes.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from d2det_geo.metrics.matching import candidate_pairs, match
from d2det_geo.metrics.scores import Labels, Matches
from d2det_geo.vector.repair import polygonal


def match_objects(
    truth: NDArray[np.object_],
    truth_labels: Labels,
    truth_ignored: NDArray[np.bool_] | None,
    predictions: NDArray[np.object_],
    labels: Labels,
    scores: NDArray[np.floating],
    predictions_ignored: NDArray[np.bool_] | None = None,
    *,
    boxes: bool = False,
) -> Matches:
    """Match the predictions of one frame; ``summarise`` makes numbers of one or more frames.

    Args:
        truth: ``[T]`` shapely (multi)polygons in any planar frame; invalid ones are repaired.
        truth_labels: ``[T]`` class indices or names.
        truth_ignored: ``[T]`` neither to be found nor wrong to find; None means none of them.
        predictions: ``[P]`` in the same frame.
        labels: ``[P]`` of the same kind as ``truth_labels``.
        scores: ``[P]``
        predictions_ignored: ``[P]`` not wrong where they find nothing; None means none of them.
        boxes: compare the envelopes instead of the outlines.

    Raises:
        ValueError: arrays of different lengths.
    """
    if truth_ignored is None:
        truth_ignored = np.zeros(len(truth), bool)
    if predictions_ignored is None:
        predictions_ignored = np.zeros(len(predictions), bool)
    _same_length(truth, truth_labels=truth_labels, truth_ignored=truth_ignored)
    _same_length(predictions, labels=labels, scores=scores, predictions_ignored=predictions_ignored)
    pairs = candidate_pairs(polygonal(truth), truth_labels, polygonal(predictions), labels, boxes=boxes)
    values = scores.astype(np.float64)
    found, ignored = match(pairs, truth_ignored, values, predictions_ignored)
    return Matches(truth_labels, truth_ignored, labels, values, (found >= 0) & ~ignored, ignored)


def shares_inside(geometries: NDArray[np.object_], area: BaseGeometry) -> NDArray[np.float64]:
    """Return the share of each geometry's area that lies inside ``area``; 0 for empty geometries.

    Args:
        geometries: ``[N]`` polygons.
        area: valid (multi)polygon in the same planar frame.
    """
    objects, parts = polygonal(geometries), shapely.get_parts(area)
    shapely.prepare(parts)
    rows, columns = shapely.STRtree(parts).query(objects, "intersects")
    overlaps, areas = shapely.area(objects[rows]), shapely.area(objects)
    cut = ~shapely.contains(parts[columns], objects[rows])
    overlaps[cut] = shapely.area(shapely.intersection(objects[rows[cut]], parts[columns[cut]]))
    inside = np.bincount(rows, overlaps, minlength=len(objects))
    shares: NDArray[np.float64] = np.divide(inside, areas, out=np.zeros(len(objects)), where=areas > 0)
    return shares


def frame_for(*frames: gpd.GeoDataFrame) -> CRS:
    """Choose the local equal-area frame, m, centred on the objects of truth and predictions.

    The centre is the mean direction from the earth's centre, so the antimeridian and the poles need
    no special case; it is rounded so that the same objects in two CRSs get the same frame.

    Args:
        frames: objects, at least one, each with a CRS of its own.

    Raises:
        pyproj.exceptions.ProjError: a CRS without a place on the earth.
    """
    centres = np.concatenate([_centres(frame) for frame in frames])
    longitude, latitude = np.radians(centres[np.isfinite(centres).all(axis=1)]).T
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    lon_0 = np.degrees(np.arctan2(y.sum(), x.sum()))
    lat_0 = np.degrees(np.arctan2(np.sin(latitude).sum(), np.hypot(x.sum(), y.sum())))
    place = {"lat_0": round(float(lat_0), 3), "lon_0": round(float(lon_0), 3)}
    return CRS.from_dict({"proj": "laea", "datum": "WGS84", "units": "m", **place})


def _centres(frame: gpd.GeoDataFrame) -> NDArray[np.float64]:
    # Part by part: the halves of an object split at the antimeridian lie on both ends of the longitudes.
    bounds = shapely.bounds(shapely.get_parts(frame.geometry.to_numpy()))
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    to_degrees = Transformer.from_crs(frame.crs, "EPSG:4326", always_xy=True)
    degrees: NDArray[np.float64] = np.stack(to_degrees.transform(middle[:, 0], middle[:, 1]), axis=1)
    return degrees


def _same_length(objects: NDArray[np.object_], **arrays: Labels | NDArray[np.bool_] | NDArray[np.floating]) -> None:
    for name, array in arrays.items():
        if len(array) != len(objects):
            raise ValueError(f"{name} has {len(array)} rows for {len(objects)} objects")
