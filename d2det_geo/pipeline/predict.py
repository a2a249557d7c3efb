"""Predict: a scene of any size in, objects as polygons in the scene's CRS out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np

from d2det_geo.errors import UsageError
from d2det_geo.model.bundle import find_bundle
from d2det_geo.pipeline.budget import peak_bytes
from d2det_geo.pipeline.detect import Progress
from d2det_geo.pipeline.ledger import RunKey
from d2det_geo.pipeline.loaded import CardedDetector, LoadedModel, loaded
from d2det_geo.pipeline.options import PredictOptions
from d2det_geo.pipeline.output import Output
from d2det_geo.pipeline.scene_job import SceneJob, opened_job
from d2det_geo.pipeline.tally import Tally
from d2det_geo.raster.source import open_dataset
from d2det_geo.vector.features import Features, Layer
from d2det_geo.vector.output import format_of
from d2det_geo.vector.sinks import open_sink


@dataclass(frozen=True, slots=True)
class Summary:
    """What a prediction did; also the ``attrs`` of its frame."""

    scene: str
    model: str
    device: str
    run: str
    """16 hexadecimal digits, the same for the same scene, model and settings"""
    objects: int
    windows: int
    """that cover the scene"""
    skipped: int
    """of them, outside the area of interest or without a valid pixel"""
    chips: int
    """of them, that went through the network"""
    split_chips: int
    """chips looked at again in quarters, because the network reached its cap of detections there"""
    capped_chips: int
    """quarters where it still did, and chips too small to have any: some objects may be missing"""
    dropped: dict[str, int]
    """objects left out, by reason: ``invalid`` (centre without image), ``outside`` (the AOI), ``empty`` (outline),
    ``small`` (below the least area)"""
    notices: tuple[str, ...]
    """what the user should know"""
    seconds: dict[str, float]
    """wall time of ``open``, ``read`` (waiting for pixels), ``network``, ``merge``, ``ledger``; beside these, on a
    thread of their own, ``vector`` and ``write``; ``all`` is the whole"""


def predict_to_file(
    scene: str | Path,
    out: Path | None,
    model: str | Path | CardedDetector | LoadedModel = "buildings",
    *,
    overwrite: bool = False,
    resume: bool = False,
    format: str | None = None,
    crs: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Summary:
    """Predict a scene into a vector file, complete or not at all.

    While it runs, what is done is kept in a ledger beside the output; what decided the result stays there
    as a manifest.

    Args:
        scene: anything GDAL opens.
        out: the file; None writes GeoJSONSeq to standard output, without ledger and manifest.
        model: name of a packaged model, path of a bundle, or a loaded network.
        overwrite: replace what is there, also an interrupted run.
        resume: go on where an interrupted run of the same scene, model and options stopped; the file is the same
            to the last byte as that of a run without interruption. A complete output is left as it is.
        format: name of the output's format; None lets the suffix say.
        crs: of the output; None is the scene's, or what the format asks for.
        progress: called with the windows done and the windows in all.
        options: fields of ``PredictOptions``.

    Raises:
        UsageError, OutputExistsError, D2DetError: ``out`` cannot be written, or ``resume`` finds that something
            changed; said before the network runs. And as ``predict_scene``.
    """
    started = time.perf_counter()
    if out is None and (overwrite or resume or format):
        raise UsageError("standard output takes no --overwrite, --resume or --format: it is a feature per line")
    output = None if out is None else Output(out, overwrite=overwrite, resume=resume, format=format)
    tally = Tally()
    with _job(scene, model, PredictOptions.of(options), tally) as job:
        key = job.key(crs, "geojsonseq" if out is None else format_of(out, format))
        before = None if output is None else output.complete(key)
        if before is not None:
            return _summary(job, key, started, before["counts"])
        with ExitStack() as stack:
            ledger = None if output is None else stack.enter_context(output.ledger(key))
            constants = _constants(job, key)
            sink = stack.enter_context(
                open_sink(out, _layer(job, constants), overwrite=overwrite or resume, format=format, crs=crs)
            )
            job.run(lambda features: sink.write(features.with_constants(constants)), ledger, progress)
        tally.lose(sink.dropped)
        summary = _summary(job, key, started)
        if output is not None:
            output.finish(_manifest(job, key, summary))
    return summary


def predict_scene(
    path: str | Path,
    model: str | Path | CardedDetector | LoadedModel = "buildings",
    *,
    progress: Progress | None = None,
    **options: Any,
) -> gpd.GeoDataFrame:
    """Find the objects of a scene.

    Args:
        path: anything GDAL opens.
        model: name of a packaged model, path of a bundle, or a loaded network.
        progress: called with the windows done and the windows in all.
        options: fields of ``PredictOptions``, such as ``score=0.5``.

    Returns:
        Columns class, score, area_m2 (geodesic) and geometry in the scene's CRS, by descending score. A scene
        without georeference gives pixel coordinates and area_px. ``attrs`` holds the fields of ``Summary``.

    Raises:
        InputError: the scene, the bundle or the AOI cannot be read, or the AOI misses the scene.
        UsageError: options that make no sense together, or no such model, class or option.
        DependencyError: a GPU was asked for and is not there.
    """
    started = time.perf_counter()
    parts: list[Features] = []
    with _job(path, model, PredictOptions.of(options), Tally()) as job:
        job.run(parts.append, None, progress)
        summary = _summary(job, job.key(), started)
        frame = gpd.GeoDataFrame(
            {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
            geometry=np.concatenate([part.geometries for part in parts]),
            crs=job.scene.crs,
        )
    frame = frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    frame.attrs.update(asdict(summary))
    return frame


@contextmanager
def _job(
    scene: str | Path, model: str | Path | CardedDetector | LoadedModel, options: PredictOptions, tally: Tally
) -> Iterator[SceneJob]:
    """Open scene and model; the scene first, as it is quicker to fail."""
    with ExitStack() as stack:
        with tally.timed("open"):
            if isinstance(model, str | Path):
                find_bundle(model)
            open_dataset(scene).close()
            job = stack.enter_context(opened_job(scene, loaded(model, options.device), options, tally))
        yield job


def _constants(job: SceneJob, key: RunKey) -> dict[str, str | float]:
    """List the attributes that all objects of a scene share."""
    constants: dict[str, str | float] = {"scene": job.scene.path, "model": job.card.name, "run": key.run_id}
    if job.scene.uncertainty_m is not None:
        constants |= {"georef": "approximate", "error_m": round(job.scene.uncertainty_m, 2)}
    return constants


def _layer(job: SceneJob, constants: dict[str, str | float]) -> Layer:
    own: dict[str, type] = {"class": str, "score": float, job.outliner.area_name: float}
    return Layer(
        crs=job.scene.crs,
        scene=job.scene.path,
        width=job.scene.width,
        height=job.scene.height,
        classes=job.card.classes,
        columns=own | {name: type(value) for name, value in constants.items()},
    )


def _summary(job: SceneJob, key: RunKey, started: float, before: dict[str, Any] | None = None) -> Summary:
    """Sum up a run; ``before`` are the counts of one whose output was there."""
    counts = asdict(job.tally) | (before or {})
    counts["seconds"] = job.tally.seconds | {"all": time.perf_counter() - started}
    said = ("the output was complete, nothing was done",) if before else _notices(job, job.region is not None)
    return Summary(
        scene=job.scene.path,
        model=job.card.name,
        device=str(job.model.device),
        run=key.run_id,
        notices=(*job.scene.notices, *job.notices, *said),
        **counts,
    )


def _notices(job: SceneJob, limited: bool) -> tuple[str, ...]:
    tally, limit, notices = job.tally, job.options.max_memory, []
    if tally.chips == 0:
        where = "the area of interest" if limited else "the scene"
        notices.append(f"there is no image in {where}: the result is empty")
    if tally.split_chips:
        notices.append(
            f"{tally.split_chips} chips held more objects than the model gives at once, and were looked at in quarters"
        )
    if tally.capped_chips:
        notices.append(
            f"{tally.capped_chips} quarters of chips still reached that number, objects may be missing;"
            " use a smaller --chip-size"
        )
    if limit is not None and peak_bytes() > limit:
        notices.append(f"the process took up to {peak_bytes() / 1e6:.0f} MB, more than --max-memory")
    return tuple(notices)


def _manifest(job: SceneJob, key: RunKey, summary: Summary) -> dict[str, Any]:
    scene = job.scene
    return {
        "run": summary.run,
        "d2det": key.version,
        "scene": {"path": scene.path, "width": scene.width, "height": scene.height, **key.scene},
        "georeference": {
            "crs": None if scene.crs is None else scene.crs.to_wkt(),
            "transform": list(scene.transform[:6]),
            "gsd_m": scene.gsd_m,
            "uncertainty_m": scene.uncertainty_m,
        },
        "grid": {
            "width": scene.grid_width,
            "height": scene.grid_height,
            "chip_size": job.chip_size,
            "overlap": job.network.overlap,
        },
        "scaling": scene.scaling,
        "model": key.model,
        "settings": key.settings,
        "counts": {
            name: getattr(summary, name)
            for name in ("objects", "windows", "skipped", "chips", "split_chips", "capped_chips", "dropped")
        },
        "notices": list(summary.notices),
    }
