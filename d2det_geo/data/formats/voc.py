"""Pascal VOC: a folder with one XML file an image.

Its corners are pixels, counted from 1 and both of the box: ``(xmin, ymin, xmax, ymax)`` is the box ``(xmin - 1,
ymin - 1, xmax, ymax)`` of edges at integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations, Images
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.files import IMAGE_SUFFIXES, files_in, image_size, inside, natural_key
from d2det_geo.data.formats.json_rows import FARTHEST, first_repeated
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.xml_tree import Element, read_xml
from d2det_geo.errors import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(slots=True)
class _Rows:
    """Objects of all files, as they come."""

    image: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Suffixes:
    """Suffixes of images, by their files."""

    images: Path | None
    known: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Of each folder that was listed, name -> suffix."""

    def of(self, name: str) -> str:
        """Find the suffix of an image; none if there is no such file."""
        if self.images is None:
            return ""
        folder = (self.images / name).parent
        if folder not in self.known:
            files = sorted(folder.glob("*"), reverse=True)  # the first of a name is the last to be noted
            self.known[folder] = {file.stem: file.suffix for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
        return self.known[folder].get(Path(name).name, "")


def read(path: Path, reading: Reading) -> Annotations:
    """Read truth.

    Difficult objects are ignored, and say so in the column ``difficult``. Images are called as ``filename`` says, or
    else like the XML; in which case, and where the size is missing, the image is looked up in ``reading.images``.

    Args:
        path: folder of XML files, in folders like the images; or one that holds it as ``Annotations``.
        reading: ``images``; ``class_names``, in the order that is wanted: otherwise classes are sorted by name.

    Raises:
        InputError: a file is not VOC, an object lacks something or its corners are no box; names file and line.
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.rglob("*.xml"), key=lambda file: natural_key(str(file))) if folder.is_dir() else []
    files = files or files_in(folder, frozenset({".xml"}), "VOC XML files")
    rows, names, sizes, suffixes = _Rows(), [], [], _Suffixes(reading.images)
    for index, file in enumerate(files):
        root = read_xml(file)
        if root.name != "annotation":
            raise InputError(
                f"{file}:{root.line}: is <{root.name}>, not a VOC <annotation>; give a folder of such files"
            )
        if not root.children and reading.images is None:
            raise InputError(f"{file}:{root.line}: <annotation> is empty; give it a <filename>, or remove the file")
        names.append(_image_name(root, file, folder, suffixes))
        sizes.append(_size(root, file, names[-1], reading.images))
        for item in root.all("object"):
            _read_object(item, file, index, rows)
    if len(set(names)) < len(names):
        first, second = first_repeated(names)
        raise InputError(
            f"{files[second]}: image {names[second]!r} is that of {files[first].name}, too; correct filename"
        )
    images = Images(filled(names), np.arange(1, len(names) + 1), np.array(sizes, np.int64))
    return _annotations(rows, images, reading.class_names, folder)


def _annotations(rows: _Rows, images: Images, class_names: tuple[str, ...], folder: Path) -> Annotations:
    classes = class_names or tuple(sorted(set(rows.names)))
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = next((place for place, name in enumerate(rows.names) if name not in numbers), None)
    if unknown is not None:
        image = images.names[rows.image[unknown]]
        raise InputError(f"{folder}: image {image}: class {rows.names[unknown]!r} is not one of {', '.join(classes)}")
    difficult = np.array(rows.difficult, np.bool_)
    return Annotations(
        images=images,
        classes=classes,
        image=np.array(rows.image, np.int64),
        boxes=np.array(rows.boxes, np.float64).reshape(-1, 4),
        labels=np.array([numbers[name] for name in rows.names], np.int64),
        ignored=difficult,
        columns={"difficult": difficult.astype(np.int64)},
    )


def _image_name(root: Element, file: Path, folder: Path, suffixes: _Suffixes) -> str:
    """Name the image: by ``filename``, in the folder the XML lies in, or else by the XML."""
    stem = file.relative_to(folder).with_suffix("")
    element = root.first("filename")
    stated = element.text.strip() if element is not None else ""
    if stated:
        name = (stem.parent / Path(stated.replace("\\", "/")).name).as_posix()
        return name if Path(name).suffix else name + suffixes.of(name)
    return stem.as_posix() + suffixes.of(stem.as_posix())


def _size(root: Element, file: Path, name: str, images: Path | None) -> tuple[int, int]:
    element = root.first("size")
    sides = [_number(element, side, file) for side in ("width", "height")] if element is not None else [0.0, 0.0]
    if element is not None and (min(sides) < 0 or any(side != int(side) for side in sides)):
        raise InputError(f"{file}:{element.line}: size must be whole numbers of px, got {sides[0]:g} x {sides[1]:g}")
    if min(sides) > 0 or images is None:
        return int(sides[0]), int(sides[1])
    return image_size(inside(images, name, str(file)))


def _read_object(item: Element, file: Path, image: int, rows: _Rows) -> None:
    name = item.first("name")
    if name is None or not name.text.strip():
        raise InputError(f"{file}:{item.line}: an object has no name; give its class")
    box = item.first("bndbox")
    if box is None:
        raise InputError(f"{file}:{item.line}: an object has no bndbox; give its corners")
    x1, y1, x2, y2 = (_number(box, corner, file) for corner in _CORNERS)
    if x2 <= x1 - 1 or y2 <= y1 - 1:  # not whole px, as others write them, may be less than one wide
        raise InputError(f"{file}:{box.line}: xmax and ymax must not be less than xmin and ymin; correct the box")
    flag = item.first("difficult")
    if flag is not None and flag.text.strip() not in {"", "0", "1"}:
        raise InputError(f"{file}:{flag.line}: difficult must be 0 or 1, got {flag.text.strip()!r:.40}")
    rows.image.append(image)
    rows.boxes.append([x1 - 1, y1 - 1, x2, y2])
    rows.names.append(name.text.strip())
    rows.difficult.append(flag is not None and flag.text.strip() == "1")


def _number(parent: Element, name: str, file: Path) -> float:
    element = parent.first(name)
    text = "" if element is None else element.text.strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= FARTHEST:
        line = parent.line if element is None else element.line
        raise InputError(f"{file}:{line}: {name} must be a number of px, got {text!r:.40}; correct the file")
    return value


def write(truth: Annotations, path: Path) -> None:
    """Write truth: an XML file for each image. Ignored objects are difficult.

    Args:
        truth: without regions, which VOC cannot say.
        path: folder to make.

    Raises:
        InputError: two images differ in their suffix only, or a name leads out of the folder.
    """
    path.mkdir()
    order, ends = truth.by_image()
    for index, name in enumerate(truth.images.names):
        file = inside(path, str(Path(name).with_suffix(".xml")), f"image {name}")
        if file.exists():
            raise InputError(f"image {name}: {file.name} is another image's already; rename one of them")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_document(truth, index, order[ends[index] : ends[index + 1]]), encoding="utf-8")


def _document(truth: Annotations, image: int, rows: NDArray[np.intp]) -> str:
    width, height = truth.images.sizes[image].tolist()
    size = (
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n" if width and height else ""
    )
    objects = "".join(_object_text(truth, row) for row in rows.tolist())
    name = escape(Path(truth.images.names[image]).name)
    return f"<annotation>\n  <filename>{name}</filename>\n{size}{objects}</annotation>\n"


def _object_text(truth: Annotations, row: int) -> str:
    x1, y1, x2, y2 = truth.boxes[row].tolist()
    corners: Sequence[str] = [f"{value:.6f}".rstrip("0").rstrip(".") for value in (x1 + 1, y1 + 1, x2, y2)]
    box = "".join(f"<{name}>{value}</{name}>" for name, value in zip(_CORNERS, corners, strict=True))
    return (
        f"  <object>\n    <name>{escape(truth.classes[truth.labels[row]])}</name>\n"
        f"    <difficult>{int(truth.ignored[row])}</difficult>\n    <bndbox>{box}</bndbox>\n  </object>\n"
    )
