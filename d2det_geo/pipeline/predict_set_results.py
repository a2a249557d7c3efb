"""Detections of an image set in the format a protocol wants them in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images, Runs
from d2det_geo.data.formats.registry import Write, format_named
from d2det_geo.detections import Detections
from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.pipeline.folder import atomic_folder, check_folder
from d2det_geo.pipeline.manifest import read_manifest, write_manifest
from d2det_geo.pipeline.predict_set_classes import Categories
from d2det_geo.pipeline.predict_set_images import ImageSet
from d2det_geo.runs import whole
from d2det_geo.vector.output import atomic_path

COCO_RESULTS = "coco-results"
FILES = {COCO_RESULTS: ".json", "isaid": ".zip"}
"""Formats that are one file, and its suffix."""
FOLDERS = ("dota-task1", "dota-task2", "uavdt", "visdrone")
"""Formats that are a folder of text files; those of DOTA may be a ``.zip`` of them, as its server takes it."""
FORMATS = (*FILES, *FOLDERS)
MASKED = ("isaid", "dota-task1")
"""Of those that are written at once, the formats that masks make a difference to."""
BOX_DIGITS, SCORE_DIGITS = 3, 6
_BETWEEN = ",\n"


class Sink(Protocol):
    """Takes the detections of images, in the order of the set."""

    def write(self, row: int, size: tuple[int, int], found: Detections, masks: Sequence[Runs] | None) -> None:
        """Add an image.

        Args:
            row: of the set's images.
            size: ``(width, height)``, px.
            found: by falling score, in px of the image; labels are rows of the set's categories.
            masks: one for each, if the network gives any.
        """
        ...


def check_target(out: Path, format: str, *, overwrite: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: its suffix is not the format's.
        OutputExistsError: it is there and not to be replaced, or a folder of other files.
        D2DetError: it cannot be written.
    """
    suffix = _suffix(out, format)
    if suffix is None:
        check_folder(out, overwrite=overwrite, own_files=_own_files)
        if not out.parent.is_dir():
            raise D2DetError(f"{out}: its folder does not exist; make it, or choose another")
        return
    if out.suffix.lower() != suffix:
        raise UsageError(f"{out}: results of format {format} are a {suffix} file; call it {out.stem}{suffix}")
    if out.is_dir():
        raise D2DetError(f"{out}: is a folder; give the path of a file")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out}: exists already; pass --overwrite to replace it")
    with atomic_path(out):
        pass


def check_writable(format: str, images: ImageSet, categories: Categories, targets: Collection[int]) -> None:
    """Refuse classes and names of images that the format has no place for, before the network runs.

    Writes results of one detection of each class, and throws them away.

    Raises:
        InputError: as the format's ``write_results``.
    """
    if format == COCO_RESULTS or not len(images.images):
        return
    labels = np.array(sorted(targets), np.int64)
    count = len(labels)
    outlines = np.empty(count, dtype=object)
    outlines[:] = [Runs(0, 0, 1, 1, b"01")] * count
    trial = Annotations(
        images=replace(images.images, sizes=np.ones((len(images.images), 2), np.int64)),
        classes=categories.names,
        image=np.zeros(count, np.int64),
        boxes=np.tile([0.0, 0, 1, 1], (count, 1)),
        labels=labels,
        ignored=np.zeros(count, np.bool_),
        scores=np.ones(count),
        outlines=outlines if format == "isaid" else None,
        class_ids=categories.ids,
    )
    write = cast(Write, format_named(format, "write_results").write_results)
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(trial, Path(folder) / f"trial{FILES.get(format, '')}")
        except InputError as error:
            error.add_note("nothing was predicted yet; --class-map A=B renames classes for the results")
            raise


@contextmanager
def open_results(out: Path, format: str, images: ImageSet, categories: Categories) -> Iterator[Sink]:
    """Write results that appear complete or not at all, replacing what ``check_target`` let pass.

    Raises:
        D2DetError: they cannot be written.
    """
    if format == COCO_RESULTS:
        with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            sink = CocoResults(file, images.images, categories)
            yield sink
            sink.finish()
        return
    write = cast(Write, format_named(format, "write_results").write_results)
    collected = Collected(images.images, categories, masks=format in MASKED)
    yield collected
    target: AbstractContextManager[Path] = (
        atomic_path(out) if _suffix(out, format) else atomic_folder(out, overwrite=True, own_files=_own_files)
    )
    with target as fresh:
        if fresh.is_dir():
            fresh.rmdir()
        write(collected.annotations(), fresh)
        if fresh.is_dir():
            # Whose files they are must be known before they are there: a run may be killed any time.
            check_folder(out, overwrite=True, own_files=_own_files)
            known = _own_files(out)
            write_manifest(out, {"files": sorted({*known, *written_files(fresh)})})


class CocoResults:
    """COCO results, a row at a time.

    A row carries ``bbox`` (3 decimals), ``score`` (6) and, if the network masks, ``segmentation`` over the whole image.
    pycocotools takes the area of a row with both from its box: leave ``bbox`` out before it judges masks (spec
    section 5, 6); ``d2det evaluate`` needs no such care.
    """

    def __init__(self, file: IO[str], images: Images, categories: Categories) -> None:
        self._file, self._images, self._categories = file, images, categories
        self._begun = False
        file.write("[\n")

    def write(self, row: int, size: tuple[int, int], found: Detections, masks: Sequence[Runs] | None) -> None:
        """Add an image."""
        corners = np.round(found.boxes, BOX_DIGITS)
        boxes = np.round(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), BOX_DIGITS).tolist()
        scores = _rounded(found.scores).tolist()
        outlines = None if masks is None else whole(masks, np.array(size))
        number = int(self._images.ids[row])
        for index, label in enumerate(found.labels.tolist()):
            line = {"image_id": number, "category_id": self._categories.ids[label], "bbox": boxes[index]}
            if outlines is not None:
                line["segmentation"] = {"size": [size[1], size[0]], "counts": outlines[index].counts.decode("ascii")}
            text = json.dumps(line | {"score": scores[index]}, separators=(",", ":"))
            self._file.write(_BETWEEN + text if self._begun else text)
            self._begun = True

    def finish(self) -> None:
        """Complete the file."""
        self._file.write("\n]\n" if self._begun else "]\n")


class Collected:
    """The detections of all images, for formats that are written at once.

    A detection takes 56 bytes, and its mask, kept only where the format needs it, a few hundred.
    """

    def __init__(self, images: Images, categories: Categories, *, masks: bool) -> None:
        self._images, self._categories, self._wanted = images, categories, masks
        self._sizes = images.sizes.copy()
        self._rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._boxes, self._labels = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
        self._scores: list[NDArray[np.float64]] = [np.zeros(0)]
        self._outlines: list[Runs] = []
        self._masked = False

    def write(self, row: int, size: tuple[int, int], found: Detections, masks: Sequence[Runs] | None) -> None:
        """Add an image."""
        self._sizes[row] = size
        self._rows.append(np.full(len(found), row, np.int64))
        self._boxes.append(np.round(found.boxes, BOX_DIGITS))
        self._labels.append(found.labels)
        self._scores.append(_rounded(found.scores))
        if masks is not None and self._wanted:
            self._masked = True
            self._outlines.extend(masks)

    def annotations(self) -> Annotations:
        """Give all of them."""
        rows = np.concatenate(self._rows)
        outlines = np.empty(len(rows), dtype=object) if self._masked else None
        if outlines is not None:
            outlines[:] = self._outlines
        return Annotations(
            images=replace(self._images, sizes=self._sizes),
            classes=self._categories.names,
            image=rows,
            boxes=np.concatenate(self._boxes),
            labels=np.concatenate(self._labels),
            ignored=np.zeros(len(rows), np.bool_),
            scores=np.concatenate(self._scores),
            outlines=outlines,
            class_ids=self._categories.ids,
        )


def _suffix(out: Path, format: str) -> str | None:
    """Give the suffix of results that are one file, None where they are a folder."""
    zipped = format.startswith("dota-") and out.suffix.lower() == ".zip"
    return ".zip" if zipped else FILES.get(format)


def _rounded(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = scores.astype(np.float64)
    return np.round(wide, SCORE_DIGITS)


def _own_files(folder: Path) -> set[str]:
    """Tell which files of a folder an earlier run wrote: those its manifest lists."""
    manifest = read_manifest(folder)
    return set() if manifest is None else set(map(str, manifest.get("files", ())))


def written_files(out: Path) -> list[str]:
    """List the files of a folder of results, for its manifest; none of a file."""
    return sorted(path.name for path in out.iterdir()) if out.is_dir() else []
