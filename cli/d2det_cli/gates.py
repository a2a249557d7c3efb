"""Bars a score must reach: ``--fail-under METRIC=VALUE``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from d2det_geo.errors import GateError, UsageError

_SHOWN = 12  # classes named in a message


def parse_gates(texts: Sequence[str]) -> dict[str, float]:
    """Read ``ap50=0.6`` or ``ship.ap=0.5`` and the like, before the work whose result they judge."""
    gates = {}
    for text in texts:
        metric, _, value = text.rpartition("=")
        try:
            gates[metric.strip()] = float(value)
        except ValueError:
            metric = ""
        if not metric.strip():
            raise UsageError(f"--fail-under {text}: give METRIC=VALUE, such as ap50=0.6, or ship.ap=0.5 of one class")
    return gates


def check_gates(
    metrics: Mapping[str, float], gates: Mapping[str, float], per_class: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """Compare scores with their bars; an undefined score (NaN) is below every bar.

    Args:
        metrics: name -> score.
        gates: name -> bar; of one class, ``CLASS.METRIC``.
        per_class: class -> name -> score.

    Raises:
        GateError: the message names every score below its bar.
        UsageError: there is no such metric or class; the message names those there are.
    """
    known = {f"{name}.{metric}": value for name, item in (per_class or {}).items() for metric, value in item.items()}
    known |= metrics
    for name in gates:
        if name not in known:
            classes = [*(per_class or {})]
            shown = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
            raise UsageError(
                f"--fail-under {name}: no such metric; there are {', '.join(metrics)}; of one class, CLASS.METRIC"
                f" ({shown or 'there are no classes'})"
            )
    low = [f"{name} {_said(known[name])} < {bar:g}" for name, bar in gates.items() if not known[name] >= bar]
    if low:
        raise GateError(f"below the bar: {', '.join(low)}")


def _said(score: float) -> str:
    return "(undefined: nothing to judge it by)" if math.isnan(score) else f"{score:.4f}"
