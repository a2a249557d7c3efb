"""The labelled images a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from d2det_geo.annotations import Annotations
from d2det_geo.config import Config
from d2det_geo.config_sources import CocoSource, DatasetSource, GeoSource, Source, TownSource
from d2det_geo.data.annotated import chosen_images, labelled_images
from d2det_geo.data.chips import Augment, ChipSampler
from d2det_geo.data.coco import coco_images
from d2det_geo.data.formats.registry import Read, Reading, format_named
from d2det_geo.data.ignoring import with_ignore_regions
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.towns import town_images
from d2det_geo.data.truth import ClassMap
from d2det_geo.data.vector import labelled_scene
from d2det_geo.errors import InputError

Tell = Callable[[str], None]


def training_chips(config: Config, tell: Tell | None = None) -> ChipSampler:
    """Open the training sources.

    Args:
        config: says which, and what becomes of their ignore regions.
        tell: hears what the user should know of them.

    Raises:
        InputError: a source is unreadable, holds no object, or lacks the outlines that masks need.
    """
    sources = []
    for index, source in enumerate(config.data.train):
        images = [with_ignore_regions(image, config.data.ignore_regions) for image in open_source(source, config, tell)]
        _check(f"data.train.{index}", images, config)
        sources.append((source.weight, images))
    return ChipSampler(sources, config.data.chip_size, Augment(**config.augment.model_dump()))


def validation_images(config: Config, tell: Tell | None = None) -> list[LabelledImage]:
    """Open the validation sources. Raises ``InputError`` as ``training_chips`` does."""
    sources = [open_source(source, config, tell) for source in config.data.val]
    for index, images in enumerate(sources):
        _check(f"data.val.{index}", images, config)
    return [image for images in sources for image in images]


def open_source(source: Source, config: Config, tell: Tell | None = None) -> Sequence[LabelledImage]:
    """Open one source at the GSD of the run."""
    data = config.data
    class_map = ClassMap(config.classes, data.class_map, data.ignore)
    match source:
        case GeoSource():
            scene = labelled_scene(
                source.scene,
                source.labels,
                class_map=class_map,
                aoi=source.aoi,
                class_field=source.class_field,
                gsd_m=data.gsd_m,
            )
            return [scene]
        case CocoSource():
            return coco_images(
                source.annotations,
                source.images,
                class_map=class_map,
                gsd_m=data.gsd_m,
                image_gsd_m=source.gsd_m,
                tell=tell,
            )
        case DatasetSource():
            return _dataset(source, class_map, data.gsd_m, tell or (lambda text: None))
        case TownSource():
            label = class_map.label("building", source="a procedural town")
            if label is None or label < 0:
                raise InputError("a procedural town holds buildings: map them to a class, or drop the source")
            return town_images(source.first_seed, source.towns, source.size, source.gsd_m, data.gsd_m, label=label)


def _dataset(source: DatasetSource, class_map: ClassMap, gsd_m: float | None, tell: Tell) -> list[LabelledImage]:
    reading = Reading(images=source.images, class_names=source.class_names, exact=source.exact, split=source.split)
    annotations = cast(Read, format_named(source.format, "read").read)(source.path, reading)
    for notice in reading.notices:
        tell(notice if notice.startswith(str(source.path)) else f"{source.path}: {notice}")
    return labelled_images(
        chosen_images(annotations, _used(source, annotations, tell)),
        source.images,
        class_map=class_map,
        source=source.path,
        gsd_m=gsd_m,
        image_gsd_m=source.gsd_m,
    )


def _used(source: DatasetSource, annotations: Annotations, tell: Tell) -> NDArray[np.bool_]:
    """Say which images ``[M]`` of a set are used."""
    images = annotations.images
    names = images.names if images.groups is None else images.groups
    unknown = set(source.leave_out) - set(names) - set(images.names)
    if unknown:
        raise InputError(f"{source.path}: leave_out names {min(unknown)}, which is not in the set; correct the name")
    used = ~(np.isin(names, source.leave_out) | np.isin(images.names, source.leave_out))
    if not source.empty_images and (source.empty_images is not None or source.format == "uavdt"):
        # Of UAVDT these are the frames nobody annotated, such as the last 314 of M0207.
        empty = used & (np.bincount(annotations.image[annotations.labels >= 0], minlength=len(images)) == 0)
        used &= ~empty
        if empty.any():
            tell(f"{source.path}: {int(empty.sum())} of {len(images)} images hold no object and are not used")
    return used


def _check(name: str, images: Sequence[LabelledImage], config: Config) -> None:
    if not any(len(image.truth.boxes) for image in images):
        raise InputError(
            f"{name}: no object of the classes {', '.join(config.classes)} in it;"
            " check class_map, and aoi or leave_out where it has them"
        )
    if config.model.masks and any(image.truth.polygons is None for image in images):
        raise InputError(f"{name}: has boxes only, and masks need outlines; set model.masks: false")
