"""The labelled images a configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from d2det_geo.config import Config
from d2det_geo.config_sources import CocoSource, GeoSource, Source, TownSource
from d2det_geo.data.chips import Augment, ChipSampler
from d2det_geo.data.coco import coco_images
from d2det_geo.data.images import LabelledImage
from d2det_geo.data.towns import town_images
from d2det_geo.data.truth import ClassMap
from d2det_geo.data.vector import labelled_scene
from d2det_geo.errors import InputError


def training_chips(config: Config) -> ChipSampler:
    """Open the training sources.

    Raises:
        InputError: a source is unreadable, holds no object, or lacks the outlines that masks need.
    """
    sources = [(source.weight, open_source(source, config)) for source in config.data.train]
    for index, (_, images) in enumerate(sources):
        _check(f"data.train.{index}", images, config)
    return ChipSampler(sources, config.data.chip_size, Augment(**config.augment.model_dump()))


def validation_images(config: Config) -> list[LabelledImage]:
    """Open the validation sources. Raises ``InputError`` as ``training_chips`` does."""
    sources = [open_source(source, config) for source in config.data.val]
    for index, images in enumerate(sources):
        _check(f"data.val.{index}", images, config)
    return [image for images in sources for image in images]


def open_source(source: Source, config: Config) -> Sequence[LabelledImage]:
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
                source.images or source.annotations.parent,
                class_map=class_map,
                gsd_m=data.gsd_m,
                image_gsd_m=source.gsd_m,
            )
        case TownSource():
            label = class_map.label("building", source="a procedural town")
            if label is None or label < 0:
                raise InputError("a procedural town holds buildings: map them to a class, or drop the source")
            return town_images(source.first_seed, source.towns, source.size, source.gsd_m, data.gsd_m, label=label)


def _check(name: str, images: Sequence[LabelledImage], config: Config) -> None:
    if not any(len(image.truth.boxes) for image in images):
        raise InputError(f"{name}: no object of the classes {', '.join(config.classes)} in it; check class_map and aoi")
    if config.model.masks and any(image.truth.polygons is None for image in images):
        raise InputError(f"{name}: has boxes only, and masks need outlines; set model.masks: false")
