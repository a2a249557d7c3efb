"""Plans as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from d2det_cli.tables import table

if TYPE_CHECKING:
    from d2det_geo.pipeline.plan_report import Plan, Plans

_HEADER = ("SCENE", "PX", "M/PX", "WINDOWS", "SKIPPED", "CHIPS", "COVERED", "MEMORY", "TIME")


def plans_text(plans: Plans) -> str:
    """Lay out one scene in full; of several, one a row and a total, then what to look out for in each."""
    if not plans.plans:
        return ""
    if len(plans.plans) == 1:
        return plan_text(plans.plans[0])
    total = plans.total()
    counts = (f"{total[key]:,}" for key in ("windows", "skipped", "chips"))
    costs = (_megabytes(total["memory_mb"]), _duration(total["seconds"]))
    rows = [
        _HEADER,
        *(_row(plan) for plan in plans.plans),
        ("total", f"{total['mpx']:,.0f} M", "", *counts, "", *costs),
    ]
    notices = [f"{plan.scene}: {notice}" for plan in plans.plans for notice in plan.notices]
    return "\n".join([table(rows, right=1), *notices])


def plan_text(plan: Plan) -> str:
    """Lay out all that is known of one scene."""
    size = "" if plan.bytes is None else f", {plan.bytes / 1e6:,.1f} MB"
    rows = [
        ("scene", f"{plan.scene}{size}"),
        ("size", f"{plan.width:,} x {plan.height:,} px in {plan.crs or 'pixels, no georeference'}"),
        ("GSD", _gsd(plan)),
        ("stored as", f"{_blocks(plan)}{f', {plan.compression}' if plan.compression else ''}"),
        ("windows", f"{plan.windows:,} of {plan.chip_size} px sharing {plan.overlap} px or more"),
        ("skipped", _skipped_in_words(plan)),
        ("chips", f"{plan.chips:,}{' at most' if plan.empty_is == 'at least' else ''}"),
        ("coverage", f"{_share(plan.coverage)} of the scene"),
        ("memory", f"about {_megabytes(plan.memory_mb)}" if plan.memory_mb else "not known for a GPU"),
        ("time", _time_in_words(plan)),
        *(("notice", notice) for notice in plan.notices),
    ]
    return table(rows, right=2)


def _row(plan: Plan) -> tuple[str, ...]:
    sign = {"exactly": "", "about": "~", "at least": ">="}[plan.empty_is]
    return (
        plan.scene,
        f"{plan.width:,} x {plan.height:,}",
        "-" if plan.gsd_m is None else f"{plan.gsd_m:.3g}",
        f"{plan.windows:,}",
        f"{sign}{plan.outside + plan.empty:,}",
        f"{plan.chips:,}",
        _share(plan.coverage),
        _megabytes(plan.memory_mb),
        _duration(plan.seconds),
    )


def _gsd(plan: Plan) -> str:
    if plan.gsd_m is None or plan.grid_gsd_m is None:
        return "unknown; read as it is"
    if (plan.width, plan.height) == (plan.grid_width, plan.grid_height):
        return f"{plan.gsd_m:.3g} m/px, read as it is"
    return f"{plan.gsd_m:.3g} m/px, read at {plan.grid_gsd_m:.3g}: {plan.grid_width:,} x {plan.grid_height:,} px"


def _blocks(plan: Plan) -> str:
    return f"{'strips' if plan.striped else 'blocks'} of {plan.block_width} x {plan.block_height} px"


def _skipped_in_words(plan: Plan) -> str:
    sure = "" if plan.empty_is == "exactly" else f"{plan.empty_is} "
    return f"{sure}{plan.outside + plan.empty:,}: {plan.outside:,} outside the area, {sure}{plan.empty:,} without image"


def _time_in_words(plan: Plan) -> str:
    if plan.seconds is None:
        return "not known for a GPU"
    return f"about {_duration(plan.seconds)} on this machine's CPU; rough, half or three times that is possible"


def _share(value: float) -> str:
    """Show a share so that 100 % is said of the whole only."""
    return "100 %" if value == 1 else f"{min(100 * value, 99.99):.2f} %"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1000:.1f} GB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
