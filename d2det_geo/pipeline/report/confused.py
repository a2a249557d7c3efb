"""Which class is taken for which, as a part of the page."""

from __future__ import annotations

import numpy as np

from d2det_geo.metrics.compared import Compared
from d2det_geo.metrics.confusion import Confusion, confuse
from d2det_geo.pipeline.report.html import LONG, MANY, Content, Html, details, element, paragraph, section, table

_FEW = 9  # columns of a matrix whose names stand side by side
_WORST = 10  # pairs of classes that are listed where there are many


def confusion_section(compared: Compared) -> Html:
    """Show which class is taken for which."""
    confusion = confuse(compared)
    many = len(confusion.classes) > _FEW
    head = ["object", *confusion.classes[:-1], "not found"]
    note = (
        f"Objects by row, detections by column, paired whatever their class at IoU {compared.operating_iou:g}."
        " Right ones are blue, others orange: the stronger, the larger their share of the objects of the row."
        " The last row holds detections where no object is: the stronger, the larger their share of the detections of"
        " the class. An empty cell is 0."
    )
    class_ = f"matrix many {LONG}" if len(confusion.classes) > MANY else "matrix many" if many else "matrix"
    grid = table("Confusion matrix", head, _cells(confusion), class_=class_)
    if len(confusion.classes) > MANY:
        grid = details(f"Matrix of all {len(confusion.classes) - 1} classes", grid)
    return section("Confusion", "confusion", paragraph(note), *((_worst(confusion),) if many else ()), grid)


def _cells(confusion: Confusion) -> list[list[Content]]:
    counts = confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares[-1] = counts[-1] / np.maximum(counts.sum(axis=0), 1)
    return [
        [
            name,
            *(
                _shaded(count, share, right=row == column)
                for column, (count, share) in enumerate(zip(counts[row].tolist(), shares[row].tolist(), strict=True))
            ),
        ]
        for row, name in enumerate(confusion.classes)
    ]


def _worst(confusion: Confusion) -> Html:
    """List the pairs of classes that are confused most."""
    objects = confusion.counts.sum(axis=1)
    pairs = confusion.counts[:-1, :-1] * ~np.eye(len(confusion.classes) - 1, dtype=bool)
    order = np.argsort(-pairs, axis=None, kind="stable")[:_WORST]
    places = zip(*(axis.tolist() for axis in np.unravel_index(order, pairs.shape)), strict=True)
    rows: list[list[Content]] = [
        [confusion.classes[row], confusion.classes[column], int(pairs[row, column]),
         float(pairs[row, column] / objects[row])]
        for row, column in places
        if pairs[row, column]
    ]  # fmt: skip
    if not rows:
        return paragraph("No object was taken for one of another class.")
    return table("Most frequent confusions", ["object", "taken for", "objects", "share of the class"], rows)


def _shaded(count: int, share: float, *, right: bool) -> Html:
    if count == 0:
        return Html("")
    return element("span", count, class_="right" if right else None, style=f"--share:{share:.4f}")
