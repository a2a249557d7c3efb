"""Predictions as a command line tells of them: one scene into a file, or several into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2det_cli.progress import ProgressMode, Report, progress
from d2det_cli.say import print_json, say
from d2det_geo.errors import PartialError, UsageError
from d2det_geo.pipeline.batch import FAILED, BatchSummary, predict_batch
from d2det_geo.pipeline.detect import Progress
from d2det_geo.pipeline.inputs import expand_scenes
from d2det_geo.pipeline.predict import Summary, predict_to_file


@dataclass(frozen=True, slots=True)
class Talk:
    """How much is said, and how."""

    show: ProgressMode
    verbose: bool
    quiet: bool
    as_json: bool


def predict_into(
    names: Sequence[str],
    out: str | None,
    folder: Path | None,
    model: str,
    on_error: Any,
    talk: Talk,
    where: dict[str, Any],
    what: dict[str, Any],
) -> None:
    """Predict one scene into ``out``, or any number into ``folder``.

    Raises:
        UsageError: outputs that do not fit the scenes. PartialError: some scenes failed, and were to be skipped.
    """
    if (out is None) == (folder is None):
        raise UsageError("give --out FILE for one scene, or --out-dir DIR for several")
    scenes = expand_scenes(names)
    if out is not None:
        if len(scenes) > 1:
            raise UsageError(f"--out {out}: there are {len(scenes)} scenes, each needs a file; give --out-dir DIR")
        if out == "-" and talk.as_json:
            raise UsageError("--out - and --json: both want standard output; give one")
        _one(scenes[0], None if out == "-" else Path(out), model, talk, where, what)
    elif folder is not None:
        _many(scenes, folder, model, on_error, talk, where, what)


def _one(scene: str, out: Path | None, model: str, talk: Talk, where: dict[str, Any], what: dict[str, Any]) -> None:
    with progress(talk.show, "predict", quiet=talk.quiet) as report:
        summary = predict_to_file(scene, out, model, progress=report, **where, **what)
    if not talk.quiet:
        _tell(summary, "standard output" if out is None else str(out), talk)
    if talk.as_json:
        print_json({"out": str(out), **asdict(summary)})


def _many(
    scenes: Sequence[str],
    folder: Path,
    model: str,
    on_error: Any,
    talk: Talk,
    where: dict[str, Any],
    what: dict[str, Any],
) -> None:
    where = where | {"format": where["format"] or "geojson", "on_error": str(on_error)}
    with progress(talk.show, "predict", quiet=talk.quiet) as report:
        summary = predict_batch(scenes, folder, model, announce=_announcer(report), **where, **what)
    if not talk.quiet:
        for part in summary.scenes:
            _tell(part, str(summary.outputs[part.scene]), talk, f"{part.scene}: ")
        for failure in summary.failed:
            say(f"failed: {failure.reason}")
        say(
            f"{folder}: {summary.objects} objects from {len(summary.scenes)} of {len(scenes)} scenes"
            f" in {summary.seconds:.1f} s"
        )
    if talk.as_json:
        outputs = {scene: str(out) for scene, out in summary.outputs.items()}
        print_json({"out_dir": str(folder), **asdict(summary), "outputs": outputs})
    _judge(summary, folder)


def _announcer(report: Report) -> Any:
    """Show the scenes as the units of progress, and the windows of the current one as a note."""

    def announce(index: int, count: int, scene: str) -> Progress:
        def told(done: int, total: int) -> None:
            report(index + (done == total), count, f"{Path(scene).name}: window {done} of {total}")

        return told

    return announce


def _tell(summary: Summary, out: str, talk: Talk, scene: str = "") -> None:
    for notice in summary.notices:
        say(f"notice: {scene}{notice}")
    say(f"{out}: {summary.objects} objects from {summary.chips} chips in {summary.seconds['all']:.1f} s")
    if talk.verbose:
        say(", ".join(f"{step} {seconds:.2f} s" for step, seconds in summary.seconds.items()))


def _judge(summary: BatchSummary, folder: Path) -> None:
    if not summary.failed:
        return
    error = PartialError(
        f"{len(summary.failed)} of {len(summary.failed) + len(summary.scenes)} scenes failed;"
        f" they are listed in {folder / FAILED}: try again with @{folder / FAILED} --resume,"
        " or --overwrite --resume where the scene was repaired"
    )
    if not summary.scenes:
        error.exit_code = summary.failed[0].exit_code
    raise error
