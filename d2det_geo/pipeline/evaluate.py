"""Score predictions against truth: two files in, one report out.

``geo`` compares vector files on the ground; the other protocols compare detections with the truth of an image set.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.metrics.outcome import Outcome
from d2det_geo.pipeline.error_layer import check_error_layer, write_errors
from d2det_geo.pipeline.evaluate_geo import GroundEvaluation, compare_geo
from d2det_geo.pipeline.evaluate_options import GEO, EvaluateOptions
from d2det_geo.pipeline.evaluate_sets import compare_sets
from d2det_geo.pipeline.evaluation import Evaluation, Report
from d2det_geo.pipeline.intervals import intervals_of
from d2det_geo.pipeline.report import write_report
from d2det_geo.vector.output import atomic_path

_HASHED_AT_ONCE = 1 << 22
_PLACES = {"seam": "seam between chips", "edge": "edge of the image"}


def evaluate_files(truth: str | Path, pred: str | Path, **options: Any) -> Report:
    """Score a file of predictions against a file of truth, and write what ``errors`` and ``page`` ask for.

    Args:
        truth: what is there: a file or folder of the format the protocol, or ``truth_format``, names.
        pred: what was found. Vector files without ``score`` have 1.0 everywhere; without ``class``, the only class of
            the truth.
        options: fields of ``EvaluateOptions``, such as ``protocol="uavdt"``.

    Raises:
        InputError: a file is missing, unreadable, or not what the protocol needs.
        UsageError: options that make no sense together, or an unknown one.
        OutputExistsError: ``errors`` or ``page`` are there already, and ``overwrite`` is off.
    """
    scored = score_files(truth, pred, **options)
    return replace(scored.report, notices=(*scored.report.notices, *scored.write()))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Numbers, and what the files that explain them are written from."""

    report: Report
    options: EvaluateOptions
    evaluation: Evaluation
    ground: GroundEvaluation | None
    """Of ``geo``."""

    def write(self) -> list[str]:
        """Write what ``errors`` and ``page`` ask for.

        Returns:
            Notices of what was written.

        Raises:
            OutputExistsError, D2DetError: as ``evaluate_files``.
        """
        chosen, told = self.options, list[str]()
        if self.ground is not None and chosen.errors is not None:
            told = write_errors(self.ground, chosen.compared_by, chosen.errors, overwrite=chosen.overwrite)
        if chosen.page is not None:
            report = replace(self.report, notices=(*self.report.notices, *told))
            places = {_PLACES[name]: rows for name, rows in self.evaluation.places.items()}
            write_report(self.evaluation, report, chosen.page, places=places)
        return told


def score_files(truth: str | Path, pred: str | Path, **options: Any) -> Scored:
    """Score as ``evaluate_files``, with the same arguments and errors, and write nothing yet.

    So the numbers of a long evaluation can be shown before a page is drawn that may fail.
    """
    chosen = EvaluateOptions.of(options)
    truth, pred = Path(truth), Path(pred)
    _check_paths(truth, pred, chosen)
    ground: GroundEvaluation | None = None
    if chosen.protocol == GEO:
        ground = compare_geo(truth, pred, chosen)
        evaluation = ground.evaluation
    else:
        evaluation = compare_sets(truth, pred, chosen)
    report = _report(truth, pred, evaluation, chosen)
    if chosen.ci is not None:
        intervals, told = intervals_of(evaluation, chosen.ci, ground=ground is not None, block=chosen.block)
        report = replace(report, intervals=intervals, notices=(*report.notices, *told))
    return Scored(report, chosen, evaluation, ground)


def _report(truth: Path, pred: Path, evaluation: Evaluation, options: EvaluateOptions) -> Report:
    outcome = evaluation.outcome
    files = zip(("truth", "predictions"), (truth, pred), options.formats, strict=True)
    return Report(
        protocol=outcome.protocol,
        iou=options.compared_by,
        metrics=outcome.metrics,
        counts=outcome.counts,
        per_class=outcome.per_class,
        settings=outcome.settings,
        files={role: {"name": path.name, "format": name, "sha256": _sha256(path)} for role, path, name in files},
        notices=(*evaluation.notices, *outcome.notices, *_remarks(outcome)),
    )


def _check_paths(truth: Path, pred: Path, options: EvaluateOptions) -> None:
    """Fail before any work on what cannot end well."""
    _check_apart(truth, pred, options)
    if options.images is not None and not options.images.is_dir():
        raise InputError(f"{options.images}: is not a folder; give the folder of the images")
    if options.errors is not None:
        check_error_layer(options.errors, overwrite=options.overwrite)
    if options.page is not None:
        if options.page.is_dir():
            raise D2DetError(f"{options.page}: is a folder; give the path of a file")
        if options.page.exists() and not options.overwrite:
            raise OutputExistsError(f"{options.page}: exists already; pass --overwrite to replace it")
        with atomic_path(options.page):
            pass


def _check_apart(truth: Path, pred: Path, options: EvaluateOptions) -> None:
    """Refuse to write over what is read, or twice to one file."""
    known = {"--truth": truth, "--pred": pred, "--scene": options.scene, "--aoi": options.aoi}
    known["--ignore-area"] = options.ignore_area
    for name, path in (("--errors", options.errors), ("--report", options.page)):
        for other, taken in known.items():
            if path is not None and taken is not None and _same(path, taken):
                raise UsageError(f"{name} {path}: is the file of {other}; give the output a path of its own")
        known[name] = path


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths name one file, by any link."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _remarks(outcome: Outcome) -> list[str]:
    """Say what makes the numbers undefined or less than they seem."""
    counts = outcome.counts
    if counts["truths"] == 0:
        ignored = counts["truths_ignored"]
        reason = f"all {ignored} objects of the truth are ignored" if ignored else "the truth has no objects"
        demanded = np.count_nonzero(outcome.verdicts.recall_denominator())
        if not demanded:
            return [f"{reason}: the metrics are undefined"]
        asked = f"ap and ar of {outcome.protocol} still ask for {demanded} of them; the other metrics are undefined"
        return [f"{reason}: {asked}"]
    remarks = []
    if counts["predictions"] == counts["predictions_ignored"] == 0:
        remarks.append("there are no predictions: nothing is found, and precision is undefined")
    elif math.isnan(outcome.metrics["precision"]):
        remarks.append("no prediction that counts reaches the score threshold: recall is 0, precision is undefined")
    strange = [name for name, item in outcome.per_class.items() if item["truths"] == 0 and item["predictions"] > 0]
    if strange and not outcome.verdicts.pooled:
        count = sum(int(outcome.per_class[name]["predictions"]) for name in strange)
        remarks.append(
            f"the truth has no objects of class {', '.join(strange)}: their {count} predictions are counted under that "
            "class, and in none of the metrics; among errors they are 'class not in the truth', beside precision"
        )
    return remarks


def _sha256(path: Path) -> str | None:
    """Compute the checksum of a file; a folder has none."""
    if path.is_dir():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
