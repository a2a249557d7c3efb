"""Bundles: what comes back is what was saved, and nothing else is accepted."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from d2det_geo.config import Config
from d2det_geo.errors import InputError, UsageError
from d2det_geo.model.bundle import build_from_card, find_bundle, load_model, packaged_bundles, read_card, save_bundle
from d2det_geo.model.convention import Convention
from d2det_geo.model.weights import load_backbone
from d2det_geo.pipeline.card import describe

CONFIG = Config.model_validate(
    {
        "classes": ["building", "tank"],
        "bundle": {"name": "tiny", "data": ["a line of data"]},
        "data": {"train": [{"kind": "town"}], "gsd_m": 0.2, "chip_size": 96, "overlap": 32},
        "run": {"steps": 1},
        "model": {
            "backbone": "mobilenet_v2",
            "channels": 32,
            "dlr_convs": 1,
            "dlr_channels": 32,
            "classifier_width": 16,
            "offset_width": 16,
            "mask_iou_width": 16,
        },
        "inference": {"class_score": 0.01, "rpn_post_nms": 40},
    }
)
CARD = describe(CONFIG)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_from_card(CARD).eval()


def detect(network):
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    return network.detect(images, [(96, 128), (80, 100)])


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_network_detects_the_same(tmp_path, network, half):
    path = tmp_path / "tiny.safetensors"
    if half:  # float16 rounds once: compare with the rounded network
        network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    save_bundle(path, network, CARD, half=half)
    again = load_model(path)
    assert again.card == CARD
    assert not again.training
    for first, second in zip(detect(network), detect(again), strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.scores, second.scores)
        np.testing.assert_array_equal(first.masks, second.masks)


def test_a_card_from_before_the_conventions_means_what_it_meant(network):
    newer = {"architecture": {"convention", "deformable"}, "sampling": {"regression_loss"}, "inference": {"candidates"}}
    values = CARD.model_dump()
    for part, names in newer.items():
        values[part] = {name: value for name, value in values[part].items() if name not in names}
    old = build_from_card(CARD.model_validate(values)).eval()
    old.load_state_dict(network.state_dict())
    assert (old.convention, old.sampling) == (Convention.ALIGNED, network.sampling)
    for first, second in zip(detect(network), detect(old), strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)


def test_the_settings_reach_the_network():
    model = CONFIG.model.model_copy(update={"convention": "legacy"})
    sampling = CONFIG.sampling.model_copy(update={"regression_loss": "official"})
    inference = CONFIG.inference.model_copy(update={"candidates": 7})
    changed = CONFIG.model_copy(update={"model": model, "sampling": sampling, "inference": inference})
    network = build_from_card(describe(changed))
    assert network.convention is Convention.LEGACY
    assert network.localiser.convention is Convention.LEGACY
    assert network.sampling.regression_loss == "official"
    assert network.inference.candidates == 7


def test_a_legacy_bundle_stays_one(tmp_path):
    card = CARD.model_copy(update={"architecture": CARD.architecture | {"convention": "legacy"}})
    save_bundle(tmp_path / "legacy.safetensors", build_from_card(card), card, half=False)
    again = load_model(tmp_path / "legacy.safetensors")
    assert again.convention is Convention.LEGACY
    wrong = card.model_copy(update={"architecture": CARD.architecture | {"convention": "sideways"}})
    save_bundle(tmp_path / "wrong.safetensors", again, wrong, half=False)
    with pytest.raises(InputError, match="sideways"):
        load_model(tmp_path / "wrong.safetensors")


def test_the_card_is_read_without_the_tensors(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    save_bundle(path, network, CARD, half=True)
    card = read_card(path)
    assert (card.classes, card.gsd_m, card.data) == (("building", "tank"), 0.2, ("a line of data",))
    assert card.mean == (127.5, 127.5, 127.5)


def test_the_same_network_gives_the_same_bytes(tmp_path, network):
    for name in ("a", "b"):
        save_bundle(tmp_path / name, network, CARD, half=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Evil:
    def __reduce__(self):
        return (print, ("ran code",))


def write_pickle(path, protocol=2):
    path.write_bytes(pickle.dumps({"x": Evil()}, protocol))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "not a model bundle"),
        (lambda path: path.write_text("hello, this is text"), "not a model bundle"),
        (write_pickle, "pickle"),
        (lambda path: torch.save({"x": torch.zeros(2)}, path), "pickle"),
        (lambda path: save_file({"x": torch.zeros(2)}, path), "without a d2det card"),
        (lambda path: save_file({"x": torch.zeros(2)}, path, {"d2det": '{"name": 3}'}), "unreadable d2det card"),
        (lambda path: save_file({"x": torch.zeros(2)}, path, {"d2det": "{"}), "unreadable d2det card"),
    ],
    ids=["empty", "text", "pickle", "torch.save", "no card", "wrong card", "broken card"],
)
def test_what_is_no_bundle_is_refused_in_words(tmp_path, capfd, write, message):
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{message}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "ran code" not in capfd.readouterr().out


@pytest.mark.parametrize("damage", ["truncate", "missing", "shape"])
def test_damaged_tensors_are_refused_in_words(tmp_path, network, damage):
    path = tmp_path / "tiny.safetensors"
    save_bundle(path, network, CARD, half=True)
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        tensors = load_file(path)
        name = "rpn.head.bbox_pred.bias"
        tensors = {**tensors, name: torch.zeros(5)} if damage == "shape" else {"x": tensors[name]}
        save_file(tensors, path, {"d2det": json.dumps(CARD.model_dump(mode="json"))})
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(UsageError, match=r"no such model; packaged are: .*buildings"):
        find_bundle("castles")
    with pytest.raises(UsageError, match="no such model"):
        find_bundle(tmp_path)


def test_the_packaged_bundle_is_small_and_says_where_it_comes_from():
    path = packaged_bundles()["buildings"]
    assert path.stat().st_size <= 12_000_000
    card = read_card("buildings")
    assert card.classes == ("building",)
    assert card.architecture["dlr_convs"] == 8
    assert card.architecture["discriminative_pooling"]
    assert card.architecture["dense_regression"]
    assert card.architecture["masks"]
    assert any("CC BY 4.0" in line for line in card.data)
    assert card.scores["ap50"] > 0.6
    assert card.training["command"].startswith("d2det train")
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}


def test_folded_batch_norms_become_neutral(tmp_path, network):
    body = network.pyramid.body
    state = body.state_dict()
    kept = {
        f"features.{name}": torch.randn(value.shape).numpy()
        for name, value in state.items()
        if name.endswith(("weight", "bias")) and not (name.endswith("weight") and value.ndim == 1)
    }
    np.savez(tmp_path / "backbone.npz", **kept)
    load_backbone(network.pyramid, tmp_path / "backbone.npz")
    norm = body["0"][1]
    np.testing.assert_allclose(norm.bias.detach().numpy(), kept["features.0.1.bias"])
    values = torch.randn(1, 32, 4, 5)
    torch.testing.assert_close(norm.eval()(values), values + norm.bias[:, None, None])


def test_the_wrong_backbone_is_named(tmp_path, network):
    np.savez(tmp_path / "other.npz", **{"conv1.weight": np.zeros((64, 3, 7, 7))})
    with pytest.raises(InputError, match=r"lacks \d+ tensors of this backbone, first "):
        load_backbone(network.pyramid, tmp_path / "other.npz")
    (tmp_path / "bad.npz").write_text("no")
    with pytest.raises(InputError, match="cannot read backbone weights"):
        load_backbone(network.pyramid, tmp_path / "bad.npz")
