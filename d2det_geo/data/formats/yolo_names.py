"""Class names of YOLO data: in a list of lines, or in a YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from d2det_geo.data.formats.files import read_text
from d2det_geo.errors import InputError

CLASSES, DATA = "classes.txt", "data.yaml"
_ABOVE = 2  # folders above the labels that are searched, too: labels/train of a data set


def class_names(labels: Path, given: tuple[str, ...]) -> tuple[str, ...]:
    """Find the names: those given, or else the first list in the folder of labels or the next above.

    Args:
        labels: folder of the text files.
        given: by the user; empty for none.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if given:
        return given
    for folder in (labels, *labels.absolute().parents[:_ABOVE]):
        if (folder / CLASSES).is_file():
            return _lines(folder / CLASSES)
        for name in (DATA, "dataset.yaml"):
            if (folder / name).is_file():
                return _yaml_names(folder / name)
    raise InputError(
        f"{labels}: YOLO files number their classes, and there is no {CLASSES} or {DATA} with the names; "
        "give the names in the order of the numbers"
    )


def _lines(path: Path) -> tuple[str, ...]:
    return _checked(path, [line.strip() for line in read_text(path, "a list of classes").splitlines() if line.strip()])


def _yaml_names(path: Path) -> tuple[str, ...]:
    try:
        document = yaml.safe_load(read_text(path, "a YOLO data YAML"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML ({' '.join(str(error).split()):.120}); correct it") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise InputError(f"{path}: names must be numbered 0 to {len(names) - 1}; correct it")
        names = [names[number] for number in range(len(names))]
    return _checked(path, names)


def _checked(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{path}: must list names of classes, got {names!r:.60}; correct it")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: class {repeated!r} is there twice; make names unique")
    return tuple(names)
