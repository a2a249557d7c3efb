"""Many scenes, one model: an output for each, and a list of those that failed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
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
"""In the folder of outputs: the scenes that failed or were not reached, to be given as ``@failed.txt``."""
NAMES = "outputs.json"
"""In the folder of outputs: what the output of each scene is called, without suffix."""
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
    """in all outputs"""
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
        resume: leave complete outputs alone, and go on with an interrupted one; together with ``overwrite``, replace
            those of other runs.
        crs: of the outputs.
        announce: asked before each scene who is told of its progress.
        options: fields of ``PredictOptions``.

    Raises:
        UsageError, OutputExistsError, D2DetError: as ``predict_to_file``; said before the first scene where it can be.
    """
    started = time.perf_counter()
    PredictOptions.of(options)
    names = _names(scenes, folder)
    outputs = _outputs(scenes, names, folder, format)
    where: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "format": format}
    for scene, out in outputs.items():
        if on_error == "fail" and not _reachable(scene):
            raise InputError(f"{scene}: no such file; check the path")
        Output(out, **where)
    network = loaded(model, options.get("device", "auto"))
    _write(folder / NAMES, json.dumps(names, indent=2) + "\n")
    done: dict[str, Summary] = {}
    with _failures_listed(folder / FAILED, list(outputs), done) as failures:
        for index, (scene, out) in enumerate(outputs.items()):
            progress = None if announce is None else announce(index, len(outputs), scene)
            try:
                done[scene] = predict_to_file(scene, out, network, crs=crs, progress=progress, **where, **options)
            except BaseException as error:
                failures.append(Failure(scene, _reason(error), getattr(error, "exit_code", 1)))
                if on_error == "fail" or not isinstance(error, (D2DetError, OSError, MemoryError)):
                    error.add_note(f"{len(done)} of {len(outputs)} scenes are done: --resume goes on with the others")
                    raise
    return BatchSummary(
        {scene: outputs[scene] for scene in done},
        tuple(done.values()),
        tuple(failures),
        sum(summary.objects for summary in done.values()),
        time.perf_counter() - started,
    )


def _names(scenes: Sequence[str], folder: Path) -> dict[str, str]:
    """Name the outputs of scenes beside those of earlier batches into a folder, by scene: theirs and all others'."""
    path = folder / NAMES
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not (isinstance(known, dict) and all(isinstance(name, str) and _is_name(name) for name in known.values())):
            raise ValueError("it does not name outputs")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, or choose another --out-dir") from error
    return known | output_names(scenes, known)


def _is_name(text: str) -> bool:
    return text not in {"", "..", "."} and Path(text).name == text


def _outputs(scenes: Sequence[str], names: Mapping[str, str], folder: Path, name: str) -> dict[str, Path]:
    suffix = next((suffix for suffix, known in FORMATS.items() if known.lower() == name.lower()), None)
    if suffix is None:
        raise UsageError(f"--format {name}: no such format; there are {', '.join(sorted(set(FORMATS.values())))}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise D2DetError(f"{folder}: cannot be made a folder ({error.strerror}); choose another") from error
    return {scene: folder / f"{names[scene]}{suffix}" for scene in scenes}


def _reachable(scene: str) -> bool:
    return is_address(scene) or Path(scene).exists()


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return " ".join("; ".join([str(error), *getattr(error, "__notes__", ())]).split()) or type(error).__name__


@contextmanager
def _failures_listed(path: Path, scenes: Sequence[str], done: Mapping[str, Summary]) -> Iterator[list[Failure]]:
    """Collect what fails in a batch, and list it however the batch ends, with the scenes it did not reach."""
    failures: list[Failure] = []
    try:
        yield failures
    except BaseException:
        tried = {*done, *(failure.scene for failure in failures)}
        missed = [Failure(scene, "not reached", 1) for scene in scenes if scene not in tried]
        with suppress(D2DetError, OSError):  # what ended the batch is what counts
            _list_failures(path, scenes, [*failures, *missed])
        raise
    _list_failures(path, scenes, failures)


def _list_failures(path: Path, scenes: Sequence[str], failures: Sequence[Failure]) -> None:
    """Write which of ``scenes`` failed, each under its reason; what an earlier list says of others stays on it."""
    lines = [*_listed_of_others(path, set(scenes)), *(f"# {failure.reason}\n{failure.scene}\n" for failure in failures)]
    if lines:
        _write(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def _listed_of_others(path: Path, scenes: Set[str]) -> Iterator[str]:
    remark = ""
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    for line in text.splitlines():
        if line.startswith("#"):
            remark = f"{line}\n"
        elif line.strip() and line.strip() not in scenes:
            yield f"{remark}{line}\n"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
