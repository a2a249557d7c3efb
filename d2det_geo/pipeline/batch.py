"""Many scenes, one model: an output for each, and a list of those that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from d2det_geo.errors import D2DetError, InputError, UsageError
from d2det_geo.pipeline.detect import Progress
from d2det_geo.pipeline.inputs import output_names
from d2det_geo.pipeline.loaded import CardedDetector, LoadedModel, loaded
from d2det_geo.pipeline.options import PredictOptions
from d2det_geo.pipeline.output import Output
from d2det_geo.pipeline.predict import Summary, predict_to_file
from d2det_geo.raster.source import is_address
from d2det_geo.vector.output import FORMATS, atomic_path

FAILED = "failed.txt"
"""In the folder of outputs: the scenes that failed, to be given as ``@failed.txt``."""
Announce = Callable[[int, int, str], Progress]
"""Called with the scenes done, the scenes in all and the next one; gives who is told of its windows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A scene that gave no output."""

    scene: str
    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a batch did."""

    outputs: dict[str, Path]
    """of the scenes that are complete, by scene"""
    scenes: tuple[Summary, ...]
    """one for each of them"""
    failed: tuple[Failure, ...]
    objects: int
    """in all outputs made now"""
    seconds: float


def predict_batch(  # noqa: PLR0913 (what goes in, what comes out, and what to do about failures)
    scenes: Sequence[str],
    folder: Path,
    model: str | Path | CardedDetector | LoadedModel = "buildings",
    *,
    format: str = "geojson",
    on_error: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
    resume: bool = False,
    crs: str | None = None,
    announce: Announce | None = None,
    **options: Any,
) -> BatchSummary:
    """Predict many scenes into a folder, an output for each, named like its scene.

    Args:
        scenes: as ``inputs.expand_scenes`` gives them.
        folder: of the outputs; made if missing.
        model: loaded once.
        format: of the outputs, by the suffix it has.
        on_error: what a scene that fails does to the others: ``fail`` ends the batch there, ``skip`` goes on.
        overwrite: replace outputs.
        resume: leave complete outputs alone, and go on with an interrupted one.
        crs: of the outputs.
        announce: asked before each scene who is told of its progress.
        options: fields of ``PredictOptions``.

    Raises:
        UsageError, OutputExistsError, D2DetError: as ``predict_to_file``; said before the first scene where it can be.
    """
    started = time.perf_counter()
    PredictOptions.of(options)
    outputs = _outputs(scenes, folder, format)
    for scene in scenes:
        if on_error == "fail" and not _reachable(scene):
            raise InputError(f"{scene}: no such file; check the path")
    for out in outputs:
        Output(out, overwrite=overwrite, resume=resume, format=format)
    network = loaded(model, options.get("device", "auto"))
    done: dict[str, Path] = {}
    summaries: list[Summary] = []
    failures: list[Failure] = []
    try:
        for index, (scene, out) in enumerate(zip(scenes, outputs, strict=True)):
            progress = None if announce is None else announce(index, len(scenes), scene)
            try:
                summary = predict_to_file(
                    scene,
                    out,
                    network,
                    overwrite=overwrite,
                    resume=resume,
                    format=format,
                    crs=crs,
                    progress=progress,
                    **options,
                )
            except (D2DetError, OSError, MemoryError) as error:
                failures.append(Failure(scene, _reason(error), getattr(error, "exit_code", 1)))
                if on_error == "fail":
                    error.add_note(f"{len(done)} of {len(scenes)} scenes are done: --resume goes on with the others")
                    raise
            else:
                done[scene] = out
                summaries.append(summary)
    finally:
        _list_failures(folder / FAILED, failures)
    objects = sum(summary.objects for summary in summaries)
    return BatchSummary(done, tuple(summaries), tuple(failures), objects, time.perf_counter() - started)


def _outputs(scenes: Sequence[str], folder: Path, name: str) -> list[Path]:
    suffix = next((suffix for suffix, known in FORMATS.items() if known.lower() == name.lower()), None)
    if suffix is None:
        raise UsageError(f"--format {name}: no such format; there are {', '.join(sorted(set(FORMATS.values())))}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise D2DetError(f"{folder}: cannot be made a folder ({error.strerror}); choose another") from error
    return [folder / name for name in output_names(scenes, suffix)]


def _reachable(scene: str) -> bool:
    return is_address(scene) or Path(scene).exists()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _list_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write the scenes that failed, each under its reason; without any, an earlier list goes."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    lines = [f"# {failure.reason}\n{failure.scene}\n" for failure in failures]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
