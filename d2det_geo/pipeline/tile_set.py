"""Tile sets: the images of a whole data set cut into PNG chips, and their truth into COCO files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from d2det_geo import __version__
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import D2DetError, OutputExistsError, UsageError
from d2det_geo.pipeline.folder import resumable_folder, unfinished_path
from d2det_geo.pipeline.tile import check_sizes
from d2det_geo.pipeline.tile_set_book import Tally, write_books
from d2det_geo.pipeline.tile_set_cut import plan_cut
from d2det_geo.pipeline.tile_set_dota import plan_dota
from d2det_geo.pipeline.tile_set_isaid import OVERLAP, SIZE, plan_isaid
from d2det_geo.pipeline.tile_set_plan import Plan
from d2det_geo.pipeline.tile_set_run import cut_scenes, stamps_beside
from d2det_geo.pipeline.tile_set_stamp import stamps_of

MANIFEST = "tiling.json"
"""In the folder of output: what it was made of, and its files."""
Devkit = Literal["isaid", "dota"]


@dataclass(frozen=True, slots=True)
class TileSetSummary:
    """What the tiling of a set did."""

    out: Path
    scenes: int
    chips: int
    annotations: int
    """In the chips; an object in the overlap of two counts twice."""
    left_out: dict[str, int]
    """Reason -> parts of objects in chips that were left out."""
    annotation_files: tuple[str, ...]
    """COCO files in ``out``."""
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetToTile:
    """A data set, and how it is cut."""

    source: Path
    """Folder of iSAID or DOTA, or what the reader of ``format`` takes."""
    devkit: Devkit | None = None
    """Cut as this data set's own tools do."""
    format: str | None = None
    """Of the truth, where no devkit is named."""
    images: Path | None = None
    """Folder of the images, for ``format``."""
    class_names: tuple[str, ...] = ()
    """For formats that know numbers only."""
    exact: bool = False
    """Of ``isaid-png``: masks to the pixel instead of the devkit's outlines."""
    split: Literal["train", "test"] | None = None
    """Of ``uavdt``: the part of the benchmark; None is all that is there."""
    chip_size: int | None = None
    """px; None is 800, for DOTA 1024. iSAID knows no other."""
    overlap: int | None = None
    """px neighbouring chips share; None is 200."""
    devkit_ids: bool = False
    """iSAID's own numbering of annotations, from 0, which COCO evaluators get wrong, and only the classes seen listed.
    Otherwise annotations count from 1 and all 15 classes are listed."""


def tile_set(
    data: SetToTile,
    out: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TileSetSummary:
    """Cut the images of a set into chips, and its truth with them.

    The bytes of the output do not depend on ``workers``, nor on interruptions.

    Args:
        data: the set, and how it is cut.
        out: folder to make; appears complete or not at all. Until then ``<out>.unfinished`` holds what is done.
        workers: scenes cut at once; None is one for each processor.
        overwrite: replace a folder of an earlier tiling.
        resume: go on with an interrupted tiling of the same set. Scenes whose files changed since, as those that were
            damaged and fetched again, are cut again. A complete output is left as it is, if the files are the same.
        progress: called with the chips done and the chips in all.

    Raises:
        UsageError: options that make no sense together, or unfinished work of another set.
        OutputExistsError: ``out`` is not empty, and ``overwrite`` is off or it holds other things.
        InputError: a file of the set is missing, damaged or does not fit the others.
        D2DetError: ``out`` cannot be written.
    """
    plan = _plan(data)
    key, threads = _key(plan), workers or _processors()
    if resume and not overwrite and not unfinished_path(out).exists() and out.is_dir() and any(out.iterdir()):
        return _complete(out, key, plan, threads)
    with (
        _on_disk(out),
        resumable_folder(out, key, overwrite=overwrite, resume=resume, own_files=_own_files) as work,
    ):
        for name in plan.folders:
            (work.fresh / name).mkdir(parents=True, exist_ok=True)
        rows = [work.done / f"{index:06}.jsonl" for index in range(len(plan.scenes))]
        cut_scenes(plan.scenes, rows, work.fresh, threads, progress)
        books = [
            (book, [path for scene, path in zip(plan.scenes, rows, strict=True) if scene.book == index])
            for index, book in enumerate(plan.books)
        ]
        tally = write_books(work.fresh, books)
        _write_manifest(work.fresh, _made_of(key, plan, stamps_beside(rows)), plan, tally)
    return _summary(out, plan, tally)


def _plan(data: SetToTile) -> Plan:
    size = (1024 if data.devkit == "dota" else SIZE) if data.chip_size is None else data.chip_size
    overlap = OVERLAP if data.overlap is None else data.overlap
    _check(data, size, overlap)
    if data.devkit == "isaid":
        return plan_isaid(data.source, devkit_ids=data.devkit_ids)
    if data.devkit == "dota":
        return plan_dota(data.source, size, overlap)
    reading = Reading(images=data.images, class_names=data.class_names, exact=data.exact, split=data.split)
    return plan_cut(data.source, str(data.format), reading, (size, overlap))


def _check(data: SetToTile, size: int, overlap: int) -> None:
    """Refuse options that make no sense together.

    Raises:
        UsageError: the message names them.
    """
    if data.devkit is not None and data.format is not None:
        raise UsageError(
            f"--devkit {data.devkit} and --from {data.format}: both say how to read the set; leave out one of them"
        )
    if data.devkit is None and data.format is None:
        raise UsageError("say how to read the set: --devkit isaid, --devkit dota, or --from FORMAT")
    if data.devkit is not None and data.images is not None:
        raise UsageError(f"--images {data.images}: --devkit {data.devkit} finds them in the set itself; leave it out")
    if data.exact and data.format != "isaid-png":
        raise UsageError("--exact: takes the masks of --from isaid-png as they are; leave it out")
    if data.split is not None and data.format != "uavdt":
        raise UsageError(f"--split {data.split}: chooses a part of UAVDT; give --from uavdt, or leave it out")
    if data.devkit_ids and data.devkit != "isaid":
        raise UsageError("--devkit-ids: numbers annotations as iSAID's devkit does; give --devkit isaid, too")
    check_sizes(size, overlap)
    if data.devkit == "isaid" and (size, overlap) != (SIZE, OVERLAP):
        raise UsageError(
            f"--chip-size {size}, --overlap {overlap}: iSAID's devkit cuts {SIZE} px with {OVERLAP} px of overlap;"
            " leave them out, or use --from isaid-png"
        )


def _key(plan: Plan) -> dict[str, Any]:
    """Say what a run to be resumed must have in common: all but the content of the scenes, which have stamps."""
    books = [[book.path, [list(category) for category in book.categories]] for book in plan.books]
    scenes = [[[str(path) for path in scene.inputs], list(scene.size)] for scene in plan.scenes]
    return {**plan.settings, "version": __version__, "categories": books, "scenes": scenes}


def _write_manifest(fresh: Path, made_of: dict[str, Any], plan: Plan, tally: Tally) -> None:
    files = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
    counts = {"chips": tally.chips, "annotations": tally.annotations, "left_out": dict(sorted(tally.left_out.items()))}
    content = {"made_of": made_of, "scenes": len(plan.scenes), **counts, "files": [MANIFEST, *files]}
    (fresh / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _made_of(key: dict[str, Any], plan: Plan, stamps: Sequence[str]) -> dict[str, Any]:
    """Say what an output is made of, the same for copies of a set in other folders: content, no times."""
    names = [[path.name for path in scene.inputs] for scene in plan.scenes]
    return {**key, "scenes": [[*some, stamp] for some, stamp in zip(names, stamps, strict=True)]}


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _own_files(folder: Path) -> Collection[str]:
    """Tell which files of a folder an earlier tiling wrote: those its manifest lists."""
    files = _read_manifest(folder).get("files")
    return set(map(str, files)) if isinstance(files, list) else set()


def _complete(out: Path, key: dict[str, Any], plan: Plan, workers: int) -> TileSetSummary:
    """Report what a run that was to be resumed has completed already.

    Raises:
        OutputExistsError: the folder is of another set, or other options, or files of the set have changed since.
    """
    content = _read_manifest(out)
    before = content.get("made_of")
    now = _made_of(key, plan, stamps_of([scene.inputs for scene in plan.scenes], workers))
    if before != now:
        alike = isinstance(before, dict) and {**before, "scenes": []} == {**now, "scenes": []}
        known = before["scenes"] if alike and before is not None else []
        changed = [row[0] for row in now["scenes"] if row not in known]
        if alike and changed:
            raise OutputExistsError(
                f"{out}: exists, made before {changed[0]} or what belongs to it changed; pass --overwrite to cut again"
            )
        raise OutputExistsError(f"{out}: exists, made of another set or with other options; pass --overwrite")
    tally = Tally(content["chips"], content["annotations"], Counter(content["left_out"]))
    return _summary(out, plan, tally)


def _summary(out: Path, plan: Plan, tally: Tally) -> TileSetSummary:
    files = tuple(book.path for book in plan.books)
    left_out = dict(sorted(tally.left_out.items()))
    return TileSetSummary(out, len(plan.scenes), tally.chips, tally.annotations, left_out, files, plan.notices)


def _processors() -> int:
    """Count the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _on_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise D2DetError(f"{out}: cannot be written ({error.strerror or error}); check the disk") from error
