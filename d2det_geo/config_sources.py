"""Where training images come from, as a configuration says it; ``config`` holds the rest of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A group of settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GeoSource(Section):
    """A georeferenced scene with vector labels."""

    kind: Literal["geo"]
    scene: Path
    labels: Path
    aoi: Path | None = Field(None, description="only this area is used; objects less than half inside are ignored")
    class_field: str = Field("class", description="attribute that holds the class; absent means the only class")
    weight: float = Field(1.0, gt=0, description="share of the chips drawn from this source")


class CocoSource(Section):
    """A COCO JSON file and the folder its file names are relative to."""

    kind: Literal["coco"]
    annotations: Path
    images: Path | None = Field(None, description="default: the folder of the JSON file, or images in it")
    gsd_m: float | None = Field(None, gt=0, description="metres per pixel, where the JSON's images do not say")
    weight: float = Field(1.0, gt=0)


DatasetFormat = Literal["coco", "dota", "isaid", "isaid-png", "uavdt", "visdrone", "voc", "yolo"]
"""Those that can be read as truth without a scene."""


class DatasetSource(Section):
    """A data set in one of the formats ``d2det convert`` reads."""

    kind: Literal["dataset"]
    format: DatasetFormat
    path: Path = Field(description="its labels: a file or a folder, as the format has it")
    images: Path | None = Field(
        None, description="their folder; default: that of the labels, or images in or beside it"
    )
    class_names: tuple[str, ...] = Field((), description="in the order of the format's numbers, where it has numbers")
    split: Literal["train", "test"] | None = Field(None, description="uavdt: the part of the benchmark to read")
    leave_out: tuple[str, ...] = Field((), description="sequences or image names that are not used, such as M0207")
    empty_images: bool | None = Field(
        None, description="use images without objects, as background; default: yes, but no frames of uavdt"
    )
    exact: bool = Field(False, description="isaid-png: masks as they are, not the devkit's polygons")
    gsd_m: float | None = Field(None, gt=0, description="metres per pixel, where the images do not say")
    weight: float = Field(1.0, gt=0)


class TownSource(Section):
    """Procedural towns, drawn from seeds ``first_seed`` to ``first_seed + towns - 1``."""

    kind: Literal["town"]
    first_seed: int = Field(1000, ge=0)
    towns: int = Field(8, gt=0)
    size: int = Field(1200, ge=256, le=8192, description="side of a town, px")
    gsd_m: float = Field(0.15, ge=0.05, le=1)
    weight: float = Field(1.0, gt=0)


Source = Annotated[GeoSource | CocoSource | DatasetSource | TownSource, Field(discriminator="kind")]
