"""Right, wrong and missed as a layer for QGIS: where the errors are, what each is, and what may be to blame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.errors import UsageError
from d2det_geo.metrics.compared import Compared, compare
from d2det_geo.metrics.errors import MISSED, WRONG, Errors, errors_of
from d2det_geo.metrics.ground import outlines_of
from d2det_geo.metrics.outcome import Iou
from d2det_geo.pipeline.evaluate_geo import GroundEvaluation, Reasons
from d2det_geo.vector.features import Features, Layer, joined
from d2det_geo.vector.output import check_output, format_of
from d2det_geo.vector.sinks import open_sink

COLOURS = {"TP": (26, 150, 65), "FP": (215, 25, 28), "FN": (44, 123, 182), "ignored": (150, 150, 150)}
"""Verdict -> red, green, blue."""
_REGION_CLASS = "ignore region"
_ON_IGNORED = "on an ignored object"
_IN_REGION = "in an ignore region"


def check_error_layer(path: Path, *, overwrite: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: it is no GeoPackage, which alone carries a style.
        OutputExistsError, D2DetError: as ``check_output``.
    """
    if path.suffix.lower() != ".gpkg" or format_of(path) != "gpkg":
        raise UsageError(f"--errors {path}: the layer is a GeoPackage, for its style; call it {path.stem}.gpkg")
    check_output(path, overwrite=overwrite)


def write_errors(ground: GroundEvaluation, iou: Iou, path: Path, *, overwrite: bool) -> list[str]:
    """Write every prediction from the score threshold on, every missed truth, and what was ignored of both.

    A truth that was found is there as the prediction that found it. The attribute ``iou`` is that with the object
    found, else the best with any of the other side, from 0.1 on.

    Args:
        ground: what was compared and how it was judged.
        iou: what was compared.
        path: of the GPKG, in the CRS of the truth's file.
        overwrite: replace what is there.

    Returns:
        Notices: how many predictions are below the threshold and not written.

    Raises:
        OutputExistsError, D2DetError: it is there, or cannot be written.
    """
    evaluation = ground.evaluation
    compared = compare(evaluation.truth, evaluation.predictions, evaluation.outcome, iou)
    errors = errors_of(compared)
    above = compared.scores >= compared.threshold
    parts = [_predictions(ground, compared, errors).chosen(above), _truths(ground, compared, errors)]
    layer = Layer(
        crs=ground.frame,
        scene=str(evaluation.truth.images.names[0]),
        width=0,
        height=0,
        classes=(*evaluation.truth.classes, _REGION_CLASS),
        columns={name: float if values.dtype.kind == "f" else str for name, values in parts[0].columns.items()},
        colours=("verdict", COLOURS),
    )
    crs = None if ground.frame is None else ground.crs  # nothing at all is in no frame, which can be in no CRS
    with open_sink(path, layer, overwrite=overwrite, crs=crs) as sink:
        sink.write(joined(parts))
    below = int(np.count_nonzero(~above))
    return [f"{path}: {below} predictions below the score of {compared.threshold:.4g} are not in it"] if below else []


def _predictions(ground: GroundEvaluation, compared: Compared, errors: Errors) -> Features:
    found = compared.outcome.verdicts.found[compared.operating_row]
    verdicts = np.select([errors.right, errors.wrong], ["TP", "FP"], "ignored").astype(object)
    ignored = compared.outcome.verdicts.ignored[compared.operating_row]
    aside = np.select(
        [ground.reasons != "", ignored & (found >= 0), ignored], [ground.reasons, _ON_IGNORED, _IN_REGION], ""
    )
    reasons = np.where(verdicts == "ignored", aside, np.array([*WRONG, ""], object)[errors.why_wrong])
    pairs = compared.overlaps
    ious = _best(compared, pairs.predictions, len(compared.predictions))
    own = found[pairs.predictions] == pairs.truths
    ious[pairs.predictions[own]] = pairs.ious[own]
    return _features(ground, compared.predictions, "prediction", (verdicts, reasons, ious))


def _truths(ground: GroundEvaluation, compared: Compared, errors: Errors) -> Features:
    verdicts = np.where(errors.missed, "FN", "ignored").astype(object)
    aside = np.where(compared.truth.labels == REGION, _REGION_CLASS, ground.truth_reasons)
    reasons = np.where(errors.missed, np.array([*MISSED, ""], object)[errors.why_missed], aside)
    ious = _best(compared, compared.overlaps.truths, len(compared.truth))
    return _features(ground, compared.truth, "truth", (verdicts, reasons, ious)).chosen(~errors.found)


def _best(compared: Compared, rows: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    best = np.zeros(count)
    np.maximum.at(best, rows, compared.overlaps.ious)
    return best


def _features(
    ground: GroundEvaluation,
    objects: Annotations,
    side: Literal["truth", "prediction"],
    judged: tuple[Reasons, Reasons, NDArray[np.float64]],
) -> Features:
    verdicts, reasons, ious = judged
    outlines = outlines_of(objects)
    near = np.full(len(objects), "", object)
    for place in ("seam", "edge"):
        if place in ground.evaluation.places:
            near[ground.evaluation.places[place][side == "prediction"]] = place
    columns: dict[str, NDArray[Any]] = {
        "class": np.array([*objects.classes, _REGION_CLASS], object)[objects.labels],  # REGION is the last
        "score": np.full(len(objects), np.nan) if objects.scores is None else objects.scores,
        "iou": ious.round(4),
        "verdict": verdicts,
        "reason": reasons,
        "near": near,
        "side": np.full(len(objects), side, object),
        "area_px" if ground.frame is None else "area_m2": shapely.area(outlines).round(2),
    }
    return Features(outlines, outlines, columns)
