"""Convert: annotations of one format into another, telling what the other cannot hold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from d2det_geo.annotations import REGION, Annotations
from d2det_geo.data.formats import vector
from d2det_geo.data.formats.reading import Format, Holdable, Reading, Write
from d2det_geo.data.formats.registry import check_merging, format_named
from d2det_geo.errors import D2DetError, OutputExistsError, UsageError
from d2det_geo.metrics.classes import kinds_of
from d2det_geo.pipeline.apart import check_apart, check_names


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """What was written."""

    out: Path
    images: int
    objects: int
    """With ignored ones, without regions."""
    ignored: int
    """Of the objects."""
    regions: int
    classes: tuple[str, ...]
    notices: tuple[str, ...]
    """What was lost, and what the user should know about how the input was understood."""


@dataclass(frozen=True, slots=True)
class TruthFile:
    """The truth that detections belong to."""

    path: Path
    format: str


def convert_file(
    source: Path,
    out: Path,
    *,
    formats: tuple[str, str],
    reading: Reading,
    truth: TruthFile | None = None,
    class_map: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ConvertSummary:
    """Read annotations in one format, write them in another.

    Args:
        source: file or folder, as its format has it.
        out: file or folder to make; appears complete or not at all.
        formats: names of the format of ``source`` and of ``out``.
        reading: what a format needs beside the path.
        truth: ``source`` holds detections of the images of this truth.
        class_map: class -> its new name; an empty name drops the class.
        overwrite: replace an earlier output.

    Raises:
        UsageError: there is no such format, or it cannot do this, or something it needs was not given.
        InputError: the input is wrong; names file and row.
        OutputExistsError: ``out`` is there, and ``overwrite`` is off or it holds other files.
        D2DetError: ``out`` cannot be written.
    """
    target = format_named(formats[1], "write" if truth is None else "write_results")
    write = target.write if truth is None else target.write_results
    if reading.merge_patches:
        check_merging(None if truth is None else formats[0])
    check_apart(out, {"input": source, "truth": None if truth is None else truth.path, "--images": reading.images})
    with _output(out, overwrite=overwrite) as fresh:
        annotations = _read(source, formats[0], reading, truth)
        annotations = _renamed(annotations, class_map or {})
        check_names(annotations, source)
        annotations, lost = fitted(annotations, target, formats[1])
        _writer(write, formats[1], reading)(annotations, fresh)
    regions = annotations.labels == REGION
    return ConvertSummary(
        out=out,
        images=len(annotations.images),
        objects=int((~regions).sum()),
        ignored=int((annotations.ignored & ~regions).sum()),
        regions=int(regions.sum()),
        classes=annotations.classes,
        notices=(*reading.notices, *lost),
    )


def _read(source: Path, name: str, reading: Reading, truth: TruthFile | None) -> Annotations:
    if truth is None:
        read = format_named(name, "read").read
        assert read is not None  # noqa: S101 - format_named made sure
        return read(source, reading)
    read_results = format_named(name, "read_results").read_results
    read_truth = format_named(truth.format, "read").read
    assert read_results is not None and read_truth is not None  # noqa: S101, PT018
    return read_results(source, read_truth(truth.path, reading), reading)


def _writer(write: Write | None, name: str, reading: Reading) -> Write:
    if name == "vector":
        return partial(vector.write, raster=reading.raster)
    assert write is not None  # noqa: S101 - format_named made sure
    return write


def _renamed(annotations: Annotations, class_map: Mapping[str, str]) -> Annotations:
    """Rename, merge and drop classes. A merged class has the number of the first of its members."""
    unknown = [name for name in class_map if name not in annotations.classes]
    if unknown:
        known = ", ".join(annotations.classes) or "none"
        raise UsageError(f"class map: there is no class {unknown[0]!r}; there are {known}")
    targets = [class_map.get(name, name) for name in annotations.classes]
    classes = tuple(dict.fromkeys(target for target in targets if target))
    if classes == annotations.classes:
        return annotations
    kept = annotations.rows(
        np.array([label == REGION or bool(targets[label]) for label in annotations.labels], np.bool_)
    )
    numbers = np.array([classes.index(target) if target else REGION for target in (*targets, "")], np.int64)
    ids = annotations.class_ids
    if ids is not None:
        ids = tuple(ids[targets.index(name)] for name in classes)
    kinds = kinds_of(annotations, targets, classes)
    return replace(kept, labels=numbers[kept.labels], classes=classes, class_ids=ids, supercategories=kinds)


def fitted(annotations: Annotations, target: Format, name: str) -> tuple[Annotations, list[str]]:
    """Leave out what a format cannot hold.

    Args:
        annotations: what is to be written.
        target: the format.
        name: what messages call it.

    Returns:
        What can be written, and what was lost, one sentence each.
    """
    annotations, lost = _without_rows(annotations, target, name)
    annotations, changed = _without_outlines(annotations, target)
    if changed:
        kinds = {"rings": "of several rings, with holes or of run lengths ", "corners": "not of four corners "}
        kind = next((text for key, text in kinds.items() if key in target.holds), "")
        made = "rectangles" if "corners" in target.holds else "boxes"
        lost.append(f"{changed} outlines {kind}became {made}: {name} cannot hold them")
    if "id" in target.columns and np.any(annotations.columns.get("id", 1) < 1):
        annotations = replace(annotations, columns={k: v for k, v in annotations.columns.items() if k != "id"})
        lost.append("ids count from 1 now: evaluators of COCO take the id 0 for no match")
    columns = [
        column
        for column in annotations.columns
        if column not in {"id", *target.columns} and annotations.columns[column].any()
    ]
    if columns and len(annotations):
        lost.append(f"{', '.join(columns)} left out: {name} has no place for them")
    if target.unsaid is not None and annotations.scores is None:
        lost.extend(target.unsaid(annotations))
    return annotations, lost


def _without_rows(annotations: Annotations, target: Format, name: str) -> tuple[Annotations, list[str]]:
    """Leave out the rows a format cannot mark."""
    regions = annotations.labels == REGION
    flat = np.any(annotations.boxes[:, 2:] <= annotations.boxes[:, :2], axis=1) & (annotations.scores is None)
    kinds: list[tuple[Holdable, NDArray[np.bool_], str]] = [
        ("regions", regions, "regions to ignore"),
        ("ignored", annotations.ignored & ~regions, "ignored objects"),
        ("flat", flat, "objects without width or height"),
    ]
    lost = [(rows, what) for kind, rows, what in kinds if kind not in target.holds and rows.any()]
    if not lost:
        return annotations, []
    dropped = np.any([rows for rows, _ in lost], axis=0)
    return annotations.rows(~dropped), [f"{rows.sum()} {what} left out: {name} has none" for rows, what in lost]


def _without_outlines(annotations: Annotations, target: Format) -> tuple[Annotations, int]:
    """Take away the outlines a format cannot hold, and count them and those it changes."""
    if annotations.outlines is None or "outlines" in target.holds:
        return annotations, 0
    changed = np.array([outline is not None for outline in annotations.outlines], np.bool_)
    if "corners" in target.holds:  # the writer makes rectangles of the others
        return annotations, int((changed & [not _is_ring(outline, 5) for outline in annotations.outlines]).sum())
    if "rings" in target.holds:
        changed &= [not _is_ring(outline) for outline in annotations.outlines]
    outlines = annotations.outlines.copy()
    outlines[changed] = None
    kept = outlines if any(outline is not None for outline in outlines) else None
    return replace(annotations, outlines=kept), int(changed.sum())


def _is_ring(outline: object, points: int | None = None) -> bool:
    if not isinstance(outline, shapely.Polygon) or outline.interiors:
        return False
    return points is None or len(outline.exterior.coords) == points


@contextmanager
def _output(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a path to write a file or folder at, which becomes ``out`` when the block ends well.

    A folder is only replaced by one that has all its files, so a mistyped path cannot cost a user's other files.
    """
    if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise OutputExistsError(f"{out}: exists already; pass --overwrite to replace it")
    try:
        holder = tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.")
    except FileNotFoundError as error:
        raise D2DetError(f"{out}: its folder does not exist; make it, or choose another") from error
    except OSError as error:
        raise D2DetError(f"{out}: its folder cannot be written to ({error.strerror}); choose another") from error
    with holder as name:
        fresh, old = Path(name) / out.name, Path(name) / "old"
        try:
            yield fresh
            _check_replaced(fresh, out)
            if out.is_dir():
                out.rename(old)
            fresh.replace(out)
        except BaseException as error:
            # Ctrl-C, too: between the two renames the earlier output would go with the holder.
            if old.exists() and not out.exists():
                old.rename(out)
            if isinstance(error, D2DetError):
                raise type(error)(str(error).replace(str(fresh), str(out))) from error
            if not isinstance(error, OSError):
                raise
            raise D2DetError(f"{out}: cannot be written ({error.strerror}); check the disk") from error


def _check_replaced(fresh: Path, out: Path) -> None:
    if fresh.is_file():
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
    if not out.exists():
        return
    if out.is_symlink() or fresh.is_dir() != out.is_dir():
        kind = "a folder" if fresh.is_dir() else "a file"
        raise D2DetError(f"{out}: is something else than {kind}, which is what is written; choose another path")
    others = (file.relative_to(out) for file in sorted(out.rglob("*")) if not file.is_dir()) if out.is_dir() else ()
    other = next((file for file in others if not (fresh / file).exists()), None)
    if other is not None:
        raise OutputExistsError(f"{out}: holds '{other}', which would not be written again; choose another folder")
