"""Every setting of a training run: frozen, typed, with its one default here.

A YAML file lists differences only. Unknown keys and mistyped values are errors that name
the key. Only ``pipeline`` and ``cli`` see these classes; the rooms below receive plain arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, PositiveInt, ValidationError, model_validator
from pydantic_core import ErrorDetails

from d2det_geo.config_keys import advice, is_within, key_of
from d2det_geo.config_sources import Section, Source
from d2det_geo.errors import InputError, UsageError


class DataSettings(Section):
    """What the network sees, and at which ground sample distance."""

    train: tuple[Source, ...] = Field(min_length=1)
    val: tuple[Source, ...] = ()
    gsd_m: float | None = Field(None, gt=0, description="images are resampled to this GSD; null keeps their own")
    chip_size: int = Field(512, ge=64, multiple_of=32)
    overlap: int = Field(128, ge=0, description="of neighbouring chips in validation and prediction, px")
    class_map: dict[str, str] = Field({}, description="class in the data -> class of the model; empty drops it")
    ignore: tuple[str, ...] = Field((), description="classes of the data that mean ignore region")
    ignore_regions: Literal["none", "blackout", "mask-loss"] = Field(
        "mask-loss",
        description="in training, ignore regions are 'none': background; 'blackout': black, without the objects in "
        "them; 'mask-loss': neither right nor wrong. Validation always leaves them out",
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.overlap >= self.chip_size:
            raise ValueError(f"overlap {self.overlap} must be smaller than chip_size {self.chip_size}")
        return self


class AugmentSettings(Section):
    """How a training chip differs from what the camera saw."""

    flip: bool = True
    rotate: Literal["none", "quarter", "any"] = Field("quarter", description="'any' needs outlines, not only boxes")
    scale: tuple[float, float] = Field((0.8, 1.33), description="log-uniform zoom")
    brightness: float = Field(0.25, ge=0, lt=1)
    contrast: float = Field(0.25, ge=0, lt=1)
    saturation: float = Field(0.3, ge=0, le=1)
    colour: float = Field(0.08, ge=0, lt=1, description="gain of each band on its own")
    blur: float = Field(0.0, ge=0, le=1, description="probability of a slight Gaussian blur")
    noise: float = Field(0.0, ge=0, le=32, description="largest standard deviation of added noise, grey levels")

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be [low, high] with 0 < low <= high, got {list(self.scale)}")
        return self


class ModelSettings(Section):
    """The size of the network; the method is the same at every size. Defaults: D2Det R50 as published."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"] = "resnet50"
    backbone_weights: Path | None = Field(None, description="npz or safetensors with torchvision's parameter names")
    trainable_stages: int = Field(3, ge=0, le=5, description="backbone stages that learn, counted from the top")
    masks: bool = True
    discriminative_pooling: bool = Field(True, description="off: plain RoIAlign in the classification branch")
    dense_regression: bool = Field(True, description="off: one box per RoI from fully connected layers")
    channels: int = Field(256, gt=0, multiple_of=16, description="of the feature pyramid")
    anchor_sizes: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128, 256, 512)
    dlr_convs: int = Field(8, gt=0)
    dlr_channels: int = Field(576, gt=0, multiple_of=16)
    classifier_width: int = Field(1024, gt=0)
    offset_width: int = Field(1024, gt=0)
    mask_iou_width: int = Field(1024, gt=0)
    pool_samples: int = Field(1, gt=0, description="sampling points per side of a pooling bin (S)")
    deformable: bool = Field(False, description="modulated deformable 3x3 convolutions in stages 2 to 4 of a ResNet")
    convention: Literal["aligned", "legacy"] = Field("aligned", description="'legacy': as the authors count pixels")


class SamplingSettings(Section):
    """Which anchors and RoIs the losses see (per image, except ``dense_rois``: per batch)."""

    rpn_pre_nms: int = Field(2000, gt=0)
    rpn_post_nms: int = Field(2000, gt=0)
    rois: int = Field(512, gt=0)
    positive_fraction: float = Field(0.25, gt=0, le=1)
    dense_rois: int = Field(192, gt=0)
    jitter: float = Field(0.15, ge=0, lt=0.5)
    regression_loss: Literal["masked", "official"] = Field("masked", description="the paper's, or the authors' code's")


class InferenceSettings(Section):
    """Thresholds and caps of the test-time flow, stored in the bundle."""

    rpn_pre_nms: int = Field(1000, gt=0)
    rpn_post_nms: int = Field(1000, gt=0)
    class_score: float = Field(0.05, ge=0, lt=1, description="least classification score that is refined")
    class_nms: float = Field(0.5, gt=0, le=1, description="IoU of the NMS on proposals")
    detections: int = Field(300, gt=0, description="cap per chip")
    candidates: int | None = Field(None, gt=0, description="cap of boxes that are refined; null is 'detections'")
    final_nms: Literal["soft", "hard", "none"] = "hard"
    final_iou: float = Field(0.5, gt=0, le=1, description="IoU of the NMS on refined boxes")
    chip_size: int | None = Field(
        None, ge=64, multiple_of=32, description="of validation and prediction, px; null is data.chip_size"
    )
    score: float | None = Field(
        None, ge=0, lt=1, description="default of predict --score; null is the score of the best F1 in validation"
    )


class OptimiserSettings(Section):
    """Optimiser, schedule and averaging."""

    kind: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = Field(4e-4, gt=0)
    backbone_rate: float = Field(1.0, gt=0, description="factor on the learning rate of the backbone")
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = Field(
        (20 / 24, 23 / 24), description="of 'step': shares of the run, x0.1 after each"
    )
    warmup_steps: int = Field(100, ge=0)
    warmup_start: float | None = Field(
        None, gt=0, le=1, description="share of the rate the warm-up starts from; null is 1 / (warmup_steps + 1)"
    )
    clip_norm: float | None = Field(10.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the weight average; 0 turns it off")


class RunSettings(Section):
    """How long to train and how often to look."""

    steps: int = Field(gt=0)
    batch_size: int = Field(2, gt=0)
    seed: int = Field(0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_minutes: float = Field(5.0, gt=0)
    validate_every: int = Field(500, gt=0, description="steps")


class BundleSettings(Section):
    """What the bundle says about itself."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    description: str = ""
    gsd_range_m: tuple[float, float] | None = Field(None, description="GSDs the model was trained for, m/px")
    half: bool = Field(True, description="store float16 weights")
    data: tuple[str, ...] = Field((), description="training data with licence and attribution, one line each")


class Config(Section):
    """One training run."""

    classes: tuple[str, ...] = Field(min_length=1)
    bundle: BundleSettings
    data: DataSettings
    run: RunSettings
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    sampling: SamplingSettings = SamplingSettings()
    inference: InferenceSettings = InferenceSettings()
    optimiser: OptimiserSettings = OptimiserSettings()

    @model_validator(mode="after")
    def _overlap_fits_prediction(self) -> Self:
        size = self.inference.chip_size
        if size is not None and self.data.overlap >= size:
            raise ValueError(f"data.overlap {self.data.overlap} must be smaller than inference.chip_size {size}")
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes repeats a name: {', '.join(self.classes)}")
        unknown = sorted({name for name in self.data.class_map.values() if name} - set(self.classes))
        if unknown:
            raise ValueError(f"data.class_map maps to {', '.join(unknown)}, which classes does not list")
        if self.model.deformable and self.model.backbone not in {"resnet50", "resnet101"}:
            raise ValueError(f"model.deformable needs resnet50 or resnet101, not {self.model.backbone}")
        return self

    def renaming(self, class_map: Mapping[str, str], ignore: Sequence[str]) -> Config:
        """Add to the class map, which is changed where both name a class, and to the classes that mean ignore region.

        Raises:
            UsageError: a class is mapped to one the model does not have.
        """
        unknown = sorted({name for name in class_map.values() if name} - set(self.classes))
        if unknown:
            raise UsageError(f"--class-map: {', '.join(unknown)} is none of the classes, {', '.join(self.classes)}")
        data = {
            "class_map": {**self.data.class_map, **class_map},
            "ignore": tuple(dict.fromkeys((*self.data.ignore, *ignore))),
        }
        return self.model_copy(update={"data": self.data.model_copy(update=data)})


def load_config(path: Path) -> Config:
    """Read a YAML file; relative paths in it are relative to its folder.

    Raises:
        InputError: the file cannot be read, or is not YAML.
        UsageError: a key is unknown, missing or of the wrong type; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the configuration ({error}); give the path of a YAML file") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "malformed"
        raise InputError(f"{path}{line}: not valid YAML ({problem}); correct the file") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a configuration is a mapping of keys to values; configs/ has examples")
    try:
        return _anchored(Config.model_validate(values), path.parent)
    except ValidationError as error:
        raise UsageError(f"{path}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Put the first few problems of a validation error in one line: key, what is wrong, what was given."""
    places = [item["loc"] for item in error.errors()]
    # A list whose only item is wrong is called too short as well.
    items = [item for item in error.errors() if not any(is_within(place, item["loc"]) for place in places)]
    problems = [f"{key_of(item['loc'])}: {_problem(item)}" for item in items[:3]]
    rest = len(items) - len(problems)
    return "; ".join(problems) + (f"; and {rest} more" if rest > 0 else "")


def _problem(item: ErrorDetails) -> str:
    """Say what is wrong in words about the file, not about the library that reads it."""
    match item["type"]:
        case "extra_forbidden":
            return f"no such key; {advice(Config, item['loc'])}"
        case "missing":
            return "is missing; give it"
        case "too_short":
            return f"is empty, got {item['input']!r:.60}; give at least {item['ctx']['min_length']}"
        case "literal_error":
            return f"is {item['input']!r:.60}; choose {item['ctx']['expected']}"
        case "value_error":
            return item["msg"].removeprefix("Value error, ")
    return f"{item['msg']}, got {item['input']!r:.60}"


def _anchored(config: Config, folder: Path) -> Config:
    def source(item: Source) -> Source:
        return item.model_copy(update={key: folder / value for key, value in item if isinstance(value, Path)})

    sources = {"train": tuple(map(source, config.data.train)), "val": tuple(map(source, config.data.val))}
    data = config.data.model_copy(update=sources)
    weights = config.model.backbone_weights
    model = config.model.model_copy(update={"backbone_weights": weights and folder / weights})
    return config.model_copy(update={"data": data, "model": model})
