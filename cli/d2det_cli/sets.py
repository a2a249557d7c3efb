"""Predictions of image sets as a command line tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from d2det_cli.predictions import Talk
from d2det_cli.progress import progress
from d2det_cli.say import print_json, say
from d2det_geo.errors import PartialError, UsageError
from d2det_geo.pipeline.inputs import SCENE_SUFFIXES
from d2det_geo.pipeline.predict_set import predict_set
from d2det_geo.pipeline.predict_set_results import FORMATS
from d2det_geo.pipeline.predict_set_summary import SetSummary
from d2det_geo.vector.output import FORMATS as VECTOR_FORMATS


def check_format(format: str | None) -> None:
    """Refuse a format that neither scenes nor image sets have.

    Raises:
        UsageError: names those there are.
    """
    of_scenes = [*dict.fromkeys(VECTOR_FORMATS.values())]
    if format is not None and format not in FORMATS and format.lower() not in of_scenes:
        raise UsageError(
            f"--format {format}: unknown format; choose one of {', '.join(of_scenes)};"
            f" of image sets, one of {', '.join(FORMATS)}"
        )


def is_set(names: Sequence[str], format: str | None, out: str | None, as_set: bool) -> bool:
    """Tell an image set from scenes.

    By a format only sets have; a COCO JSON file; because the user says so; or by a folder of anything but one image
    whose results are to go into one ``.json``, ``.zip`` or folder, which scenes never do.
    """
    if as_set or format in FORMATS:
        return True
    if len(names) != 1 or format is not None:
        return False
    path = Path(names[0])
    if path.is_dir() and out not in {None, "-"} and Path(str(out)).suffix.lower() in {".json", ".zip", ""}:
        return sum(item.suffix.lower() in SCENE_SUFFIXES for item in path.iterdir()) != 1
    return path.suffix.lower() == ".json" and path.is_file()


def predict_images(
    names: Sequence[str],
    out: str | None,
    folder: Path | None,
    model: str,
    talk: Talk,
    where: dict[str, Any],
    of_sets: dict[str, Any],
    what: dict[str, Any],
) -> None:
    """Predict the images of one set.

    Raises:
        UsageError: options that mean nothing for a set. PartialError: some images failed, and were to be skipped.
    """
    if len(names) != 1:
        raise UsageError(f"there are {len(names)} image sets; give one")
    if folder is not None or out in {None, "-"}:
        raise UsageError("give --out FILE or --out FOLDER for the results of an image set")
    crs = where.pop("crs")
    if crs is not None:
        raise UsageError("--crs means nothing for an image set; leave it out")
    with progress(talk.show, "predict", quiet=talk.quiet) as report:
        summary = predict_set(Path(names[0]), Path(str(out)), model, progress=report, **where, **of_sets, **what)
    if not talk.quiet:
        _tell(summary, str(out), talk)
    if talk.as_json:
        print_json({"out": str(out), **asdict(summary)})
    if summary.failed:
        raise PartialError(
            f"{len(summary.failed)} of {summary.images} images failed and have no results in {out};"
            " repair them, and go on with --resume"
        )


def _tell(summary: SetSummary, out: str, talk: Talk) -> None:
    for notice in summary.notices:
        say(f"notice: {notice}")
    for failure in summary.failed:
        say(f"failed: {failure.scene}: {failure.reason}")
    seen = summary.images - len(summary.failed)
    say(f"{out}: {summary.objects} objects from {seen} images ({summary.format}) in {summary.seconds['all']:.1f} s")
    if talk.verbose:
        say(", ".join(f"{step} {seconds:.2f} s" for step, seconds in summary.seconds.items()))
