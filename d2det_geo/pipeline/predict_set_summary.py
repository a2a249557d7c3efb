"""What a prediction of a set did: for whoever asked, and for the manifest beside its output."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2det_geo.pipeline.batch import Failure
from d2det_geo.pipeline.loaded import LoadedModel
from d2det_geo.pipeline.predict_set_classes import Categories
from d2det_geo.pipeline.predict_set_results import written_files
from d2det_geo.pipeline.predict_set_run import SetRun
from d2det_geo.pipeline.run_key import RunKey


@dataclass(frozen=True, slots=True)
class SetSummary:
    """What a prediction of a set did."""

    set: str
    format: str
    model: str
    device: str
    run: str
    """16 hexadecimal digits, the same for the same images by name, model and settings"""
    images: int
    objects: int
    chips: int
    split_chips: int
    """chips looked at again in quarters, because the network reached its cap of detections there"""
    capped_chips: int
    """quarters where it still did: some objects may be missing"""
    dropped: dict[str, int]
    """objects left out, by reason: ``empty``, no pixel of the mask or no side of the box left"""
    failed: tuple[Failure, ...]
    """images without results"""
    notices: tuple[str, ...]
    """what the user should know"""
    seconds: dict[str, float]
    """wall time of ``read`` (waiting for images), ``network``, ``merge``, ``ledger``, ``write``, and ``all``"""


def summary_of(
    run: SetRun, model: LoadedModel, format: str, key: RunKey, started: float, before: dict[str, Any] | None = None
) -> SetSummary:
    """Sum up a run; ``before`` are the counts of one whose output was there."""
    tally = run.tally
    counts = {name: getattr(tally, name) for name in ("objects", "chips", "split_chips", "capped_chips", "dropped")}
    return SetSummary(
        set=str(run.set.source),
        format=format,
        model=model.card.name,
        device=str(model.device),
        run=key.run_id,
        images=len(run.set.images),
        failed=tuple(failure for _, failure in sorted(run.failures.items())),
        notices=("the output was complete, nothing was done",) if before else _notices(run),
        seconds=tally.seconds | {"all": time.perf_counter() - started},
        **{**counts, **(before or {})},
    )


def _notices(run: SetRun) -> tuple[str, ...]:
    notices, gsds = [], run.set.images.gsd_m
    unknown = len(run.set.images) if gsds is None else int(np.isnan(gsds).sum())
    if run.gsd_m is not None and unknown:
        notices.append(
            f"{unknown} of {len(run.set.images)} images do not say their GSD and were seen at their own pixels;"
            f" the model was trained at {run.gsd_m:g} m"
        )
    if run.tally.capped_chips:
        notices.append(
            f"{run.tally.capped_chips} quarters of chips held more objects than the model gives at once: objects may be"
            " missing; use a smaller --chip-size"
        )
    return tuple(notices)


def manifest_of(run: SetRun, key: RunKey, summary: SetSummary, categories: Categories, out: Path) -> dict[str, Any]:
    """Describe a run for the manifest of its output."""
    images = run.set.images
    return {
        "run": summary.run,
        "d2det": key.version,
        "set": {"path": summary.set, "kind": run.set.kind, **key.scene},
        "image_ids": None if run.set.kind == "coco" else dict(zip(images.names, images.ids.tolist(), strict=True)),
        "categories": dict(zip(categories.names, categories.ids, strict=True)),
        "model": key.model,
        "settings": key.settings,
        "counts": {
            name: getattr(summary, name) for name in ("objects", "chips", "split_chips", "capped_chips", "dropped")
        },
        "failed": [asdict(failure) for failure in summary.failed],
        "notices": list(summary.notices),
        "files": written_files(out),
    }
