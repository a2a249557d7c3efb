"""Bars a score must reach: ``--fail-under METRIC=VALUE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from d2det_geo.errors import GateError, UsageError

METRICS = ("ap", "ap50", "ap75", "precision", "recall", "f1")


def parse_gates(texts: Sequence[str]) -> dict[str, float]:
    """Read ``ap50=0.6`` and the like, before the work whose result they judge."""
    gates = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            gates[metric] = float(value)
        except ValueError:
            metric = ""
        if metric not in METRICS:
            raise UsageError(f"--fail-under {text}: give METRIC=VALUE, METRIC one of {', '.join(METRICS)}")
    return gates


def check_gates(metrics: Mapping[str, float], gates: Mapping[str, float]) -> None:
    """Compare scores with their bars; an undefined score (NaN) is below every bar.

    Raises:
        GateError: the message names every score below its bar.
    """
    low = [f"{name} {metrics[name]:.4f} < {bar:g}" for name, bar in gates.items() if not metrics[name] >= bar]
    if low:
        raise GateError(f"below the bar: {', '.join(low)}")
