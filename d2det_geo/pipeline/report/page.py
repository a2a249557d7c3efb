"""The page: its parts in order, in one file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TypeAlias

import numpy as np
import plotly
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from d2det_geo.metrics.compared import Compared, compare
from d2det_geo.metrics.errors import at_borders, by_place, errors_of
from d2det_geo.pipeline.evaluation import Evaluation, Report
from d2det_geo.pipeline.report import explained, numbers
from d2det_geo.pipeline.report.confused import confusion_section
from d2det_geo.pipeline.report.html import Html, element, section
from d2det_geo.pipeline.report.pictures import pictures_section
from d2det_geo.vector.output import atomic_path

Places: TypeAlias = Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""Kind of place -> which truths ``[T]`` and which predictions ``[P]`` are there."""

_PACKAGE = "d2det_geo.pipeline.report"
_HEADING = re.compile(r'<h2 id="([a-z]+)">([^<]*)</h2>')
_FOOT = f"Charts by plotly.py {plotly.__version__} (MIT licence), which is part of this file. Nothing is loaded."


def write_report(evaluation: Evaluation, report: Report, path: Path, *, places: Places | None = None) -> None:
    """Write the page of an evaluation: one HTML file that loads nothing, the same bytes for the same evaluation.

    It holds plotly's script (4.6 MB) and at most 12 pictures of at most 800 px.

    Args:
        evaluation: what was compared and how each object was judged.
        report: its numbers.
        path: HTML file to write; appears complete or not at all.
        places: further places to blame errors on, such as seams and the edges of image.

    Raises:
        D2DetError: it cannot be written.
    """
    text = page(evaluation, report, places or {})
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def page(evaluation: Evaluation, report: Report, places: Places) -> str:
    """Compose the page."""
    compared = compare(evaluation.truth, evaluation.predictions, evaluation.outcome, report.iou)
    template = Template(_resource("page.html"))
    return template.substitute(
        title=escape(f"{report.protocol}: d2det evaluation"),
        style=_resource("page.css"),
        content="\n".join(_parts(evaluation, report, compared, places)),
        plotly=_script(get_plotlyjs()),
        script=_script(_resource("page.js")),
    )


def _parts(evaluation: Evaluation, report: Report, compared: Compared, places: Places) -> Iterable[Html]:
    parts = [part for part in _sections(evaluation, report, compared, places) if part]
    yield numbers.heading(report)
    links = (element("a", Html(title), href=f"#{name}") for name, title in _HEADING.findall("".join(parts)))
    yield element("nav", *links, aria_label="Parts of the page")
    yield from parts
    yield element("footer", _FOOT)


def _sections(evaluation: Evaluation, report: Report, compared: Compared, places: Places) -> Iterable[Html]:
    errors = errors_of(compared)
    yield numbers.headline(report)
    yield numbers.notices(report)
    yield explained.errors_section(compared, errors)
    yield explained.curves_section(compared)
    yield numbers.classes(report)
    yield confusion_section(compared)
    yield explained.parts_section(compared)
    shares = by_place(compared, errors, _with_the_rest(compared, {**_borders(evaluation), **places}))
    yield section("Blamed on places", "places", explained.places_table(shares))
    yield explained.calibration_section(compared)
    yield pictures_section(evaluation, compared, errors)
    yield numbers.method(report)


def _with_the_rest(compared: Compared, places: Places) -> Places:
    """Add what lies at none of the places, to compare them with, and all of it."""
    everywhere = np.ones(len(compared.truth), bool), np.ones(len(compared.predictions), bool)
    if not places:
        return {"anywhere": everywhere}
    there = [np.logical_or.reduce([flags[side] for flags in places.values()]) for side in (0, 1)]
    return {**places, "elsewhere": (~there[0], ~there[1]), "anywhere": everywhere}


def _borders(evaluation: Evaluation) -> Places:
    """Find objects at the borders of their images; those of the ground have none."""
    if evaluation.outcome.protocol == "geo":
        return {}
    truth, predictions = at_borders(evaluation.truth), at_borders(evaluation.predictions)
    chips = evaluation.truth.images.windows is not None
    return {name: (truth[name], predictions[name]) for name in truth if chips or name != "chip border"}


def _resource(name: str) -> str:
    return files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """Refuse a script that would end its own element."""
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("the script cannot stand in a page: it holds an end of a script")
    return text
