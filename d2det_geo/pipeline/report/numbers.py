"""The numbers of an evaluation and what makes them comparable, as parts of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from d2det_geo.pipeline.evaluation import Report
from d2det_geo.pipeline.report.html import (
    MANY,
    Content,
    Html,
    details,
    element,
    long,
    number,
    paragraph,
    section,
    table,
)

_NAMES = {
    "ap": "AP",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "ap_percent": "AP in percent",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "score_threshold": "score threshold",
    "truths": "objects",
    "truths_ignored": "objects ignored",
    "predictions": "detections",
    "predictions_ignored": "detections ignored",
    "predictions_capped": "detections beyond the cap",
    "ignore_regions": "ignore regions",
    "iou_thresholds": "IoU thresholds",
    "operating_iou": "IoU of precision and recall",
    "max_dets": "most detections judged",
    "cap_is_per": "that many per",
    "area_ranges": "ranges of area",
    "ignore_rule": "ignore rule",
    "integral": "average over",
}
_TILES = ("ap_percent", "ap", "ap50", "ap75", "precision", "recall", "f1")
_WORST = 10  # classes shown by themselves where there are many
_CLASS_COLUMNS = ("ap", "ap50", "ap75", "precision", "recall", "f1", "truths", "predictions")


def named(key: str) -> str:
    """Say what a number of an outcome is called on the page."""
    return _NAMES.get(key, key.replace("_", " "))


def heading(report: Report) -> Html:
    """Say what was compared and how."""
    names = [str(report.files[role]["name"]) for role in ("predictions", "truth") if role in report.files]
    title = " against ".join(names) or "Evaluation"
    compared = "outlines" if report.iou == "segm" else "boxes"
    counts = [
        f"{number(report.counts[key])} {what}{'' if report.counts[key] == 1 else 's'}"
        for key, what in (("images", "image"), ("truths", "object"), ("predictions", "detection"))
        if key in report.counts
    ]
    return element(
        "header",
        paragraph("d2det evaluation", class_="over"),
        element("h1", title),
        paragraph(
            "Protocol ", element("strong", report.protocol), f", comparing {compared}: ", ", ".join(counts), ".",
            class_="lead",
        ),
    )  # fmt: skip


def headline(report: Report) -> Html:
    """Show the numbers people quote, each with its interval where there is one."""
    tiles = [_tile(report, key) for key in _TILES if key in report.metrics]
    threshold = report.metrics.get("score_threshold", math.nan)
    told = f"Precision, recall and F1 at IoU {report.settings.get('operating_iou', 'unknown')}"
    told += " and no score: none was reached." if math.isnan(threshold) else f" and scores from {number(threshold)}."
    if report.intervals is not None:
        level, unit = report.intervals["level"], report.intervals["unit"]
        told += f" In brackets: {level:g} % confidence intervals, by drawing {unit}s with replacement."
    return section("Results", "results", element("dl", *tiles, class_="tiles"), paragraph(told, class_="note"))


def notices(report: Report) -> Html:
    """Show what a reader of the numbers should know."""
    if not report.notices:
        return Html("")
    rows = [element("li", notice) for notice in report.notices]
    return element("aside", element("h2", "To know", id="notices"), element("ul", *rows), aria_labelledby="notices")


def classes(report: Report) -> Html:
    """Show every class, the best first; where they are many, the worst by themselves and all folded away."""
    rows = report.per_class
    columns = [key for key in _CLASS_COLUMNS if any(key in values for values in rows.values())]
    head = ["class", *map(named, columns)]
    order = sorted(rows, key=lambda name: _falling(rows[name].get("ap", math.nan)))
    body: list[list[Content]] = [
        [name, *(_plain(rows[name].get(key, math.nan), key) for key in columns)] for name in order
    ]
    every = table("Each class by itself", head, body, sortable=True, class_=long(body))
    hint = paragraph("Sorted by AP; a click on a heading sorts by it.", class_="note screen")
    if len(body) <= MANY:
        return section("Classes", "classes", every, hint)
    judged = [row for row, name in zip(body, order, strict=True) if not math.isnan(rows[name].get("ap", math.nan))]
    worst = table(f"The {_WORST} classes of lowest AP", head, judged[: -_WORST - 1 : -1])
    return section("Classes", "classes", worst, details(f"All {len(body)} classes", every, hint))


def _falling(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def method(report: Report) -> Html:
    """Show what makes the numbers comparable."""
    settings = [[named(key), _setting(value)] for key, value in report.settings.items()]
    files: list[list[Content]] = [
        [role, str(item["name"]), str(item["format"]), str(item["sha256"] or "of a folder: none")]
        for role, item in report.files.items()
    ]
    parts: list[Content] = [
        table(f"Settings of the protocol {report.protocol}", ["setting", "value"], settings),
        table("Counts", ["what", "number"], [[named(key), int(value)] for key, value in report.counts.items()]),
        details("All metrics", table("All metrics of the outcome", ["metric", "value"], _metrics(report))),
    ]
    if files:
        parts.append(table("Files compared", ["role", "name", "format", "SHA-256"], files, class_="files"))
    return section(
        "Method", "method", paragraph("Numbers are comparable under the same protocol and settings only."), *parts
    )


def _tile(report: Report, key: str) -> Html:
    value = float(report.metrics[key])
    shown = number(value, 2 if key == "ap_percent" else 3)
    ends = None if report.intervals is None else report.intervals["metrics"].get(key)
    interval = () if ends is None else (element("span", f"[{number(ends[0])}, {number(ends[1])}]", class_="interval"),)
    term, name = element("dt", named(key)), f"metric-{key}"
    return element("div", term, element("dd", element("b", shown, id=name, data_value=repr(value)), *interval))


def _metrics(report: Report) -> list[list[Content]]:
    return [[key, float(value)] for key, value in report.metrics.items()]


def _plain(value: float, key: str) -> Content:
    return int(value) if key in {"truths", "predictions"} and not math.isnan(value) else float(value)


def _setting(value: Any) -> str:
    match value:
        case None:
            return "none"
        case str():
            return value
        case Mapping():
            return "; ".join(f"{key}: {_setting(item)}" for key, item in value.items()) or "none"
        case Sequence():
            return ", ".join(map(_setting, value)) or "none"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
