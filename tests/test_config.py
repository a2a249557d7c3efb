"""Settings: strict keys, types and paths, and every file in configs/."""

import re
from pathlib import Path

import pytest
import torch

from d2det_geo.config import load_config
from d2det_geo.data.coco_classes import COCO_CLASSES
from d2det_geo.errors import InputError, UsageError
from d2det_geo.model.bundle import build_from_card
from d2det_geo.model.pooling import DiscriminativePooling, PlainPooling
from d2det_geo.pipeline.card import describe
from d2det_geo.pipeline.import_weights import official_card
from d2det_geo.pipeline.optimise import rate_share

CONFIGS = Path(__file__).parent.parent / "configs"
MINIMAL = """\
classes: [car]
bundle: {name: cars}
data:
  train: [{kind: coco, annotations: train.json}]
run: {steps: 10}
"""


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.data.train[0].annotations == tmp_path / "train.json"
    assert config.model.backbone == "resnet50"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps: 10", "steps: 10, stepps: 3"), "run.stepps: no such key; did you mean steps"),
        (("steps: 10", "steps: ten"), "run.steps: .*got 'ten'"),
        (("steps: 10", "batch_size: 2"), "run.steps: is missing; give it"),
        (("kind: coco", "kind: cocoa"), "data.train.0: .*'cocoa'"),
        (("bundle:", "model: {backbone: resnet5}\nbundle:"), "model.backbone: is 'resnet5'; choose 'resnet18'"),
        (("  train:", "  chip_size: 256\n  overlap: 256\n  train:"), "overlap 256 must be smaller than chip_size 256"),
        (("  train:", "  class_map: {lorry: truck}\n  train:"), "class_map maps to truck"),
        (("[car]", "[car, car]"), "repeats a name"),
        (("bundle:", "augment: {scale: [2, 1]}\nbundle:"), "scale must be"),
        (("bundle:", "model: {backbone: resnet18, deformable: true}\nbundle:"), "deformable needs resnet50"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, change, message):
    path = write(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(UsageError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["classes: [car", "\tclasses: 1", "a: b: c"])
def test_malformed_yaml_names_the_line(tmp_path, text):
    with pytest.raises(InputError, match=r"line \d+: not valid YAML"):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "- 1", "just text"])
def test_a_configuration_is_a_mapping(tmp_path, text):
    with pytest.raises(UsageError, match="mapping"):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "none.yaml"))):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xff")
    with pytest.raises(InputError, match="cannot read"):
        load_config(tmp_path / "binary.yaml")


def test_every_file_in_configs_loads():
    paths = sorted(CONFIGS.glob("**/*.yaml"))
    assert [path.stem for path in paths] == [
        "buildings",
        "coco_r101",
        "coco_r101_dcn",
        "coco_r101_instance",
        "coco_r50",
        "isaid_r101",
        "uavdt_r101",
        "vehicles",
    ]
    assert all(load_config(path).classes for path in paths)


@pytest.mark.parametrize("arch", ["r50", "r101", "r101-dcn", "r101-inst"])
def test_the_coco_configurations_build_the_authors_networks(arch):
    theirs = official_card(arch)
    name = f"coco_{arch.replace('-inst', '-instance').replace('-', '_')}"
    path = CONFIGS / f"{name}.yaml"
    config, ours = load_config(path), describe(load_config(path))
    assert ours.classes == COCO_CLASSES
    assert {**ours.architecture, "convention": "legacy"} == theirs.architecture
    caps = ours.inference["candidates"] or ours.inference["detections"]
    assert {**ours.inference, "candidates": caps} == theirs.inference
    assert (ours.proposals, ours.sampling, ours.score) == (theirs.proposals, theirs.sampling, theirs.score)
    steps = {0: 1 / 80, 500: 0.5 + 0.5 / 80, 1000: 1.0, 20 * 7330 - 1: 1.0, 20 * 7330 + 1: 0.1, 23 * 7330 + 1: 0.01}
    rates = [rate_share(config.optimiser, step, config.run.steps) for step in steps]
    assert rates == pytest.approx(list(steps.values()))
    assert (config.run.steps, config.run.batch_size, config.optimiser.learning_rate) == (24 * 7330, 16, 0.02)
    assert (config.optimiser.momentum, config.optimiser.weight_decay, config.optimiser.clip_norm) == (0.9, 1e-4, None)
    assert (config.model.trainable_stages, config.augment.flip, config.augment.scale) == (3, True, (1, 1))


@pytest.mark.parametrize("path", sorted([*CONFIGS.glob("coco_*"), *CONFIGS.glob("isaid_*"), *CONFIGS.glob("uavdt_*")]))
def test_configurations_of_benchmarks_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30


def test_the_aerial_benchmarks():
    isaid, uavdt = (load_config(CONFIGS / f"{name}_r101.yaml") for name in ("isaid", "uavdt"))
    assert (isaid.model.backbone, isaid.model.masks, isaid.data.chip_size, len(isaid.classes)) == (
        "resnet101",
        True,
        800,
        15,
    )
    assert (isaid.sampling.rois, isaid.sampling.positive_fraction, isaid.inference.detections) == (1024, 0.5, 1000)
    assert (uavdt.model.backbone, uavdt.model.masks, uavdt.classes) == ("resnet101", False, ("vehicle",))
    assert uavdt.data.ignore_regions == "blackout"


@pytest.mark.parametrize("pooling", [False, True])
@pytest.mark.parametrize("votes", [False, True])
def test_the_rows_of_table_2_are_configurations_of_one_model(tmp_path, pooling, votes):
    switches = f"discriminative_pooling: {pooling}, dense_regression: {votes}, "
    text = (CONFIGS / "coco_r50.yaml").read_text(encoding="utf-8").replace("model: {", f"model: {{{switches}")
    with torch.device("meta"):
        network = build_from_card(describe(load_config(write(tmp_path, text))))
    assert isinstance(network.classifier.pooling, DiscriminativePooling if pooling else PlainPooling)
    assert (network.localiser.votes is not None, network.localiser.plain is not None) == (votes, not votes)
