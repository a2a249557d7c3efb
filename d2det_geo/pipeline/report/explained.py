"""What the numbers come from, as parts of the page: curves, kinds of errors, parts of the set, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.metrics.breakdown import STEPS, Breakdown, break_down
from d2det_geo.metrics.calibration import calibrate
from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.curves import RECALLS_101, sampled
from d2det_geo.metrics.errors import MISSED, WRONG, Errors, Share
from d2det_geo.metrics.subsets import Part, by_gsd, by_size, by_tag
from d2det_geo.pipeline.report import charts
from d2det_geo.pipeline.report.html import (
    Content,
    Html,
    details,
    element,
    joined,
    long,
    paragraph,
    section,
    table,
)

MEAN = "Mean of all classes"
_MEANING = {
    "C75": "found at IoU 0.75",
    "C50": "found at IoU 0.5",
    "Loc": "found at IoU 0.1: places need not be exact",
    "Sim": "and no similar class is wrong",
    "Oth": "and no other class is wrong",
    "BG": "and nothing on the background is wrong",
    "FN": "and every object is found",
}


def errors_section(compared: Compared, errors: Errors) -> Html:
    """Show what each kind of error costs."""
    kinds = _kinds(compared)
    breakdown = break_down(compared, kinds)
    known = _known(breakdown.precision[:, 0])
    if not known:
        return section("What errors cost", "errors", paragraph("There is no object to find: nothing can be said."))
    views = {MEAN: charts.breakdown_traces(breakdown.mean())} if len(known) > 1 else {}
    views |= {compared.classes[label]: charts.breakdown_traces(breakdown.precision[label]) for label in known}
    told = "Areas under curves of precision over recall, each forgiving one kind of error more; the table has them."
    plot = charts.chart("breakdown", told, views, charts.axes("recall", "precision", showlegend=False))
    head = ["class", *STEPS]
    rows: list[list[Content]] = [[compared.classes[label], *breakdown.areas[label].tolist()] for label in known]
    note = (
        "COCO's analysis, as in Figure 5 of the D2Det paper: the area under each curve as one kind of error more is"
        " forgiven. The wider the band of a colour, the more that kind of error costs."
    )
    if kinds is None and len(compared.classes) > 1:
        note += " The truth names no supercategories, so Sim equals Loc."
    beside = element("div", plot, _steps(breakdown), class_="beside")
    folded = details(
        "Areas of each class", table("Area under each curve", head, rows, sortable=True, class_=long(rows))
    )
    return section("What errors cost", "errors", paragraph(note), beside, folded, _causes(compared, errors))


def curves_section(compared: Compared) -> Html:
    """Show precision over recall: of all classes at one IoU, and of each at all of them."""
    if not compared.classes:
        return Html("")
    verdicts = compared.outcome.verdicts
    curves = np.stack([_curves(compared, row) for row in range(len(verdicts.thresholds))], axis=1)
    known, main = _known(curves[:, 0]), compared.operating_row
    if not known:
        return Html("")
    names = [compared.classes[label] for label in known]
    thresholds = [f"IoU {threshold:g}" for threshold in verdicts.thresholds]
    views = {}
    if len(known) > 1:
        views[MEAN] = charts.precision_traces(curves[known].mean(axis=0), thresholds, main)
        views |= _of_classes(curves[known, main], names, thresholds[main])
    views |= {
        name: charts.precision_traces(curves[label], thresholds, main) for name, label in zip(names, known, strict=True)
    }
    told = "Lines of precision over recall, one for each IoU threshold; the table below has those of each class."
    plot = charts.chart("precision", told, views, charts.axes("recall", "precision"))
    tenths = np.searchsorted(RECALLS_101, np.linspace(0, 1, 11) - 1e-9)
    head = ["class", *(f"at recall {RECALLS_101[place]:.1f}" for place in tenths)]
    rows: list[list[Content]] = [[compared.classes[label], *curves[label, main, tenths].tolist()] for label in known]
    folded = details(
        "Data of the chart", table(f"Precision of each class at {thresholds[main]}", head, rows, class_=long(rows))
    )
    note = f"The best precision at a recall or more. The strong line is at {thresholds[main]}."
    if len(known) > charts.TOLD_APART:
        note += " A line says its name when pointed at."
    return section("Precision and recall", "curves", paragraph(note), plot, folded)


def parts_section(compared: Compared) -> Html:
    """Show average precision by size, ground sample distance and attribute."""
    unit = "m², or px of files without a CRS" if compared.outcome.protocol == "geo" else "px"
    tables = [
        _bars(caption, head, parts)
        for caption, head, parts in (
            (f"By size (ranges of area, {unit})", "size", list(by_size(compared))),
            ("By ground sample distance", "distance", list(by_gsd(compared))),
            ("By attribute of the image", "attribute", list(by_tag(compared))),
        )
        if parts
    ]
    note = "Average precision of a part of the objects or images, over the thresholds of the protocol."
    if compared.outcome.protocol == "visdrone":
        note += " All classes have one weight here, unlike in the number of the protocol."
    return section("By size and place", "parts", paragraph(note), *tables)


def calibration_section(compared: Compared) -> Html:
    """Show whether scores mean what they say."""
    verdicts, row = compared.outcome.verdicts, compared.operating_row
    counted = ~verdicts.ignored[row]
    calibration = calibrate(compared.scores[counted], verdicts.hits(row)[counted])
    if calibration is None:
        return section("Scores", "calibration", paragraph("Some scores are below 0 or above 1: they are no shares."))
    if not counted.any():
        return section("Scores", "calibration", paragraph("There are no detections to judge."))
    filled = np.flatnonzero(calibration.counts)
    rows: list[list[Content]] = [
        [
            f"{calibration.edges[place]:.1f} to {calibration.edges[place + 1]:.1f}",
            int(calibration.counts[place]),
            float(calibration.scores[place]),
            float(calibration.precision[place]),
        ]
        for place in filled
    ]
    told = "Bars of the share of right detections by score, with the mean score of each as a mark; the table has them."
    layout = charts.axes("score", "precision", bargap=0)
    plot = charts.chart("calibration", told, {"all": charts.calibration_traces(calibration)}, layout)
    head = ["score", "detections", "mean score", "precision"]
    note = (
        f"Share of right detections by score, at IoU {compared.operating_iou:g}. Where a bar ends at its mark, a score"
        f" says how likely a detection is right. The wider a bar, the more detections."
        " Mean distance (expected calibration error): "
    )
    error = element("strong", float(calibration.error), id="calibration-error")
    folded = details("Data of the chart", table("Scores and precision", head, rows))
    return section("Scores", "calibration", paragraph(note, error, "."), plot, folded)


def places_table(shares: Mapping[str, Share]) -> Html:
    """Show how objects and detections fare at places errors are blamed on."""
    rows: list[list[Content]] = [
        [name, item.found, item.missed, _rate(item.missed, item.found), item.right, item.wrong,
         _rate(item.wrong, item.right)]
        for name, item in shares.items()
    ]  # fmt: skip
    head = ["place", "found", "missed", "share missed", "right", "wrong", "share wrong"]
    return table("Errors by place", head, rows)


def _known(curves: NDArray[np.float64]) -> list[int]:
    """Tell which classes have objects."""
    known: list[int] = np.flatnonzero(~np.isnan(curves[:, 0])).tolist()
    return known


def _kinds(compared: Compared) -> tuple[str, ...] | None:
    """Return the supercategories of the classes judged; None where none are named, or all classes are one."""
    return compared.truth.supercategories if compared.classes == compared.truth.classes else None


def _steps(breakdown: Breakdown) -> Html:
    """List the steps with their colours, areas, and what each gains."""
    areas = breakdown.mean().mean(axis=1)
    gains = np.diff(areas, prepend=0.0)
    rows: list[list[Content]] = [
        [joined((element("i", class_=f"swatch {step.lower()}"), step)), _MEANING[step], float(area), float(gain)]
        for step, area, gain in zip(STEPS, areas, gains, strict=True)
    ]
    return table("Mean of all classes", ["step", "forgiven", "area", "gain"], rows, class_="steps")


def _causes(compared: Compared, errors: Errors) -> Html:
    def counted(names: Sequence[str], causes: NDArray[np.int64]) -> list[list[Content]]:
        counts = np.bincount(causes[causes >= 0], minlength=len(names)).tolist()
        total = max(sum(counts), 1)
        return [[name, _bar(count, count / total)] for name, count in zip(names, counts, strict=True)]

    head = ["cause", "number"]
    return element(
        "div",
        table("Wrong detections, by cause", head, counted(WRONG, errors.why_wrong), class_="bars"),
        table("Missed objects, by cause", head, counted(MISSED, errors.why_missed), class_="bars"),
        class_="pair",
    )


def _curves(compared: Compared, row: int) -> NDArray[np.float64]:
    """Sample precision ``[C, 101]`` at a threshold; NaN for classes without objects."""
    verdicts, order = compared.outcome.verdicts, compared.order
    order = order[~verdicts.ignored[row][order]]
    hits, labels = verdicts.hits(row)[order], compared.labels[order]
    objects = compared.truth_labels[verdicts.recall_denominator()]
    return np.stack(
        [
            sampled(hits[labels == label], int(np.count_nonzero(objects == label)))
            for label in range(len(compared.classes))
        ]
    )


def _bars(caption: str, head: str, parts: Sequence[Part]) -> Html:
    rows: list[list[Content]] = [[part.name, _bar(part.ap, part.ap), part.truths, part.images] for part in parts]
    return table(caption, [head, "AP", "objects", "images"], rows, class_="bars")


def _bar(value: float, share: float) -> Html:
    """Show a number with a bar of its share."""
    width = 0.0 if np.isnan(share) else min(max(share, 0.0), 1.0)
    return element(
        "div", element("span", value), element("i", class_="bar", style=f"--share:{width:.4f}"), class_="barred"
    )


def _of_classes(curves: NDArray[np.float64], names: Sequence[str], at: str) -> dict[str, list[dict[str, Any]]]:
    """Draw the curves of all classes, and by themselves the worst where they are too many to tell apart."""
    if len(names) <= charts.TOLD_APART:
        return {f"All classes at {at}": charts.precision_traces(curves, names, None)}
    worst = np.argsort(curves.mean(axis=1), kind="stable")[: charts.COLOURS]
    return {
        f"The {len(worst)} classes of lowest AP at {at}": charts.precision_traces(
            curves[worst], [names[place] for place in worst.tolist()], None
        ),
        f"All {len(names)} classes at {at}": charts.crowd_traces(curves, names),
    }


def _rate(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")
