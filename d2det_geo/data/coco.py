"""COCO JSON as labelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from d2det_geo.data.annotated import labelled_images
from d2det_geo.data.formats import coco
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.truth import ClassMap


def coco_images(
    annotations_json: Path,
    images_dir: Path | None,
    *,
    class_map: ClassMap,
    gsd_m: float | None = None,
    image_gsd_m: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[LabelledImage]:
    """Read a COCO file.

    Args:
        annotations_json: ``images``, ``annotations`` and ``categories``; an image may say its ``gsd_m``.
        images_dir: what ``file_name`` is relative to, and must lie in; None looks beside the file.
        class_map: as of ``labelled_images``, which has the rules.
        gsd_m: likewise.
        image_gsd_m: likewise.
        tell: hears the notices of the reader.

    Raises:
        InputError: the file is not COCO, a row is wrong, or as ``labelled_images``; the message names the row.
    """
    reading = Reading()
    annotations = coco.read(annotations_json, reading)
    if tell is not None:
        for notice in reading.notices:
            tell(notice)
    return labelled_images(
        annotations,
        images_dir,
        class_map=class_map,
        source=annotations_json,
        gsd_m=gsd_m,
        image_gsd_m=image_gsd_m,
    )
