"""Charts as plotly takes them. Colours are names of the page's style, so that they suit light, dark and paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2det_geo.metrics.breakdown import STEPS
from d2det_geo.metrics.calibration import Calibration
from d2det_geo.metrics.curves import RECALLS_101
from d2det_geo.pipeline.report.html import Html, element

COLOURS = 8
"""Categorical colours the style has, ``--line-0`` to ``--line-7``."""

TOLD_APART = 12
"""Curves that one can tell apart, by colour and stroke."""

_DIGITS = 4  # of a curve: finer than a screen shows


def chart(name: str, told: str, views: Mapping[str, Sequence[Any]], layout: Mapping[str, Any]) -> Html:
    """Build a place for a chart, with its data beside it for the page's script.

    Args:
        name: unique on the page.
        told: what it shows, for who cannot see it.
        views: name -> traces; where there are several the reader chooses.
        layout: plotly's, on top of the page's own.
    """
    document = json.dumps({"views": list(views.values()), "layout": layout}, ensure_ascii=True, separators=(",", ":"))
    choice: tuple[Html, ...] = ()
    if len(views) > 1:
        options = [element("option", view, value=str(index)) for index, view in enumerate(views)]
        label = element("label", "Show ", element("select", *options, id=f"{name}-view"), for_=f"{name}-view")
        choice = (element("p", label, class_="choice"),)
    # "<" never stands in the data of a script as itself: no text in it can end the script.
    data = Html(document.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
    return element(
        "div",
        *choice,
        element("div", class_="plot", id=name, role="img", aria_label=told),
        element("script", data, type="application/json", id=f"{name}-data"),
        class_="chart",
    )


def precision_traces(curves: NDArray[np.float64], names: Sequence[str], main: int | None) -> list[dict[str, Any]]:
    """Draw precision over recall: one line per curve.

    Args:
        curves: ``[K, 101]``
        names: of the curves.
        main: the one that stands out, the others fade with their distance from it; None: each has its own colour.
    """
    traces = []
    for index, (name, curve) in enumerate(zip(names, curves, strict=True)):
        line: dict[str, Any] = {"color": f"var(--line-{index % COLOURS})", "width": 2}
        opacity = 1.0
        if main is not None:
            line = {"color": "var(--accent)", "width": 3 if index == main else 1.5}
            opacity = 1.0 if index == main else max(0.55, 0.85 - 0.06 * abs(index - main))
        else:
            line["dash"] = ("solid", "dash", "dot")[index // COLOURS % 3]
        traces.append(
            _trace(RECALLS_101, curve, name=plain(name), line=line, opacity=opacity, hovertemplate=_HOVER, mode="lines")
        )
    return traces


def crowd_traces(curves: NDArray[np.float64], names: Sequence[str]) -> list[dict[str, Any]]:
    """Draw more curves ``[K, 101]`` than a legend can name: each says its name when pointed at."""
    line = {"color": "var(--accent)", "width": 1}
    return [
        _trace(
            RECALLS_101, curve, name=plain(name), line=line, opacity=0.5, hovertemplate=_HOVER, mode="lines",
            showlegend=False,
        )
        for name, curve in zip(names, curves, strict=True)
    ]  # fmt: skip


def plain(text: str) -> str:
    """Escape what plotly would take for markup: it makes links and styles of the names of lines."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_HOVER = "recall %{x:.2f}<br>precision %{y:.3f}"


def breakdown_traces(curves: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Draw the seven curves ``[7, 101]`` as areas one before the other, the most forgiving at the back."""
    return [
        _trace(
            RECALLS_101,
            curves[step],
            name=STEPS[step],
            mode="lines",
            fill="tozeroy",
            fillcolor=f"var(--{STEPS[step].lower()})",
            line={"color": f"var(--{STEPS[step].lower()})", "width": 1},
            hovertemplate=_HOVER,
        )
        for step in reversed(range(len(STEPS)))
    ]


def calibration_traces(calibration: Calibration) -> list[dict[str, Any]]:
    """Draw precision over score: a bar per bin that is not empty, and where it should reach."""
    filled = calibration.counts > 0
    middles = (calibration.edges[:-1] + calibration.edges[1:]) / 2
    width = float(calibration.edges[1] - calibration.edges[0])
    counts = calibration.counts[filled]
    bars = {
        "type": "bar",
        # As wide as they are many, by root: a few detections do not look like a finding.
        "width": (width * (0.08 + 0.84 * np.sqrt(counts / counts.max()))).round(_DIGITS).tolist(),
        "marker": {"color": "var(--accent)", "opacity": 0.75},
        "customdata": counts.tolist(),
        "hovertemplate": "precision %{y:.3f}<br>%{customdata} detections",
    }
    dots = {
        "mode": "markers",
        "marker": {"color": "var(--text)", "size": 8, "symbol": "diamond"},
        "hovertemplate": "mean score %{y:.3f}",
    }
    ideal = {"mode": "lines", "line": {"color": "var(--muted)", "width": 1, "dash": "dash"}, "hoverinfo": "skip"}
    return [
        _trace(middles[filled], calibration.precision[filled], name="precision", **bars),
        _trace(middles[filled], calibration.scores[filled], name="mean score", **dots),
        _trace(np.array([0.0, 1.0]), np.array([0.0, 1.0]), name="a score that says its precision", **ideal),
    ]


def axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Give both axes a name and the range from 0 to 1."""
    return {
        "xaxis": {"title": {"text": x}, "range": [0, 1]},
        "yaxis": {"title": {"text": y}, "range": [0, 1.02]},
    } | more


def _trace(x: NDArray[np.float64], y: NDArray[np.float64], **more: Any) -> dict[str, Any]:
    return {"x": np.round(x, _DIGITS).tolist(), "y": np.round(y, _DIGITS).tolist(), **more}
