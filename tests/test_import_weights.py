"""The authors' checkpoints: every name has its place, every file format is read, nothing in a file is run."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from d2det_geo.data.coco_classes import COCO_CLASSES
from d2det_geo.errors import InputError, OutputExistsError, UsageError
from d2det_geo.model.bundle import load_model, read_card
from d2det_geo.model.official import official_name, read_official, translate
from d2det_geo.pipeline.import_weights import import_weights, official_card, skeleton
from tests.golden import weights_rule
from tests.golden.goldens import HERE, golden
from tests.golden.network import IMAGE_SIZE, KEYS, SEED, images

ROOT = Path(__file__).parents[1]


def keys(arch):
    return json.loads((HERE / f"state_dict_keys_{KEYS[arch]}.json").read_text())


def hollow(arch):
    """Make a state of the right names and shapes that takes no room: every tensor repeats one number."""
    return {name: torch.zeros((), dtype=getattr(torch, kind)).expand(shape) for name, shape, kind in keys(arch)}


def d2det(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cuda_ops"))}
    return subprocess.run(
        [sys.executable, "-m", "d2det_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_a_checkpoint_becomes_a_bundle_that_finds_what_the_authors_find(tmp_path):
    state = weights_rule.make_state_dict(keys("r50"), SEED)
    path, out = tmp_path / "D2Det_r50.pth", tmp_path / "coco.safetensors"
    wrapped = {
        "meta": {"epoch": 24, "CLASSES": COCO_CLASSES, "config": "model = dict()"},
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.02, "params": [0]}]},
    }
    torch.save(wrapped, path, _use_new_zipfile_serialization=False)
    done = d2det("import-weights", path, "--arch", "r50", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"out": str(out), "arch": "r50", "tensors": len(state)}
    network = load_model(out)
    ours = network.state_dict()
    assert {official_name(name) for name in ours} == set(state)
    assert all(torch.equal(value, state[official_name(name)]) for name, value in ours.items())
    assert {value.dtype for value in load_file(out).values()} == {torch.float32}
    card = network.card
    assert (card.classes, card.gsd_m, card.chip_size) == (COCO_CLASSES, None, 800)
    assert card.mean == (123.675, 116.28, 103.53)
    assert card.training["imported from"] == "D2Det_r50.pth"
    (found,) = network.detect(images()[:1], [IMAGE_SIZE])
    theirs, labels = golden("r50_detect")["rpn_softnms_dets"].numpy(), golden("r50_detect")["rpn_softnms_labels"]
    order = np.lexsort([theirs[:, 4], labels])
    ours = np.lexsort([found.scores, found.labels])
    assert found.labels[ours].tolist() == labels[order].tolist()
    np.testing.assert_allclose(found.scores[ours], theirs[order, 4], atol=1e-4)
    np.testing.assert_allclose(found.boxes[ours] - [0, 0, 1, 1], theirs[order, :4], atol=0.01)


def test_the_mask_heads_lose_their_background_and_nothing_else(tmp_path):
    state, out = hollow("r101-inst"), tmp_path / "inst.safetensors"
    heads = ("D2Det_head.D2Det_instance", "D2Det_head.fc_instance_iou")
    for head in heads:
        for leaf in ("weight", "bias"):
            shape = state[f"{head}.{leaf}"].shape
            state[f"{head}.{leaf}"] = torch.arange(81.0).reshape(81, *[1] * (len(shape) - 1)).expand(shape)
    state["bbox_head.fc_cls.bias"] = torch.arange(81.0)
    torch.save(state, tmp_path / "inst.pth")
    done = d2det("import-weights", tmp_path / "inst.pth", "--arch", "r101-inst", "--out", out, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    network = load_model(out)
    for layer in (network.localiser.mask.logits, network.localiser.mask_iou.layers[-1]):
        assert layer.bias.tolist() == list(range(1, 81))
        assert (
            layer.weight.flatten(1).amin(1).tolist() == layer.weight.flatten(1).amax(1).tolist() == layer.bias.tolist()
        )
    assert network.classifier.layers[-1].bias.tolist() == list(range(81))


@pytest.mark.parametrize("arch", KEYS)
def test_every_name_of_the_authors_has_one_place(arch):
    wanted = skeleton(arch).state_dict()
    state = {name: torch.empty(shape, device="meta") for name, shape, _ in keys(arch)}
    result = translate(state, wanted)
    assert {name: value.shape for name, value in result.items()} == {
        name: value.shape for name, value in wanted.items()
    }
    assert len({official_name(name) for name in wanted}) == len(state)


@pytest.mark.parametrize(
    ("arch", "proposals", "samples", "inference"),
    [
        ("r50", 1000, 2, (0.03, 0.5, 125, 100, "soft")),
        ("r101", 1000, 1, (0.03, 0.5, 125, 100, "soft")),
        ("r101-dcn", 1000, 1, (0.03, 0.5, 125, 100, "soft")),
        ("r101-inst", 700, 1, (0.05, 0.3, 100, 100, "none")),
    ],
)
def test_the_card_holds_the_authors_settings(arch, proposals, samples, inference):
    card = official_card(arch)
    assert (card.proposals["test_pre_nms"], card.proposals["test_post_nms"]) == (1000, proposals)
    assert card.architecture["pool_samples"] == samples
    assert card.architecture["convention"] == "legacy"
    assert card.architecture["deformable"] == (arch == "r101-dcn")
    values = card.inference
    assert inference == tuple(
        values[name] for name in ("class_score", "class_nms", "candidates", "detections", "final_nms")
    )
    assert values["final_iou"] == 0.5
    assert card.sampling == {
        "rois": 512,
        "positive_fraction": 0.25,
        "dense_rois": 192,
        "jitter": 0.15,
        "regression_loss": "official",
    }


def test_names_of_older_mmdetection_are_understood(tmp_path):
    state = {
        name.replace(".conv2.conv_offset.", ".conv2_offset."): value
        for name, value in hollow("r101-dcn").items()
        if not name.endswith("num_batches_tracked")
    }
    assert "backbone.layer2.0.conv2_offset.weight" in state
    torch.save({"state_dict": state}, tmp_path / "old.pth")
    result = translate(read_official(tmp_path / "old.pth"), skeleton("r101-dcn").state_dict())
    assert result["pyramid.body.layer2.0.conv2.conv_offset.weight"].shape == (27, 128, 3, 3)
    assert result["pyramid.body.bn1.num_batches_tracked"].item() == 0


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, kind):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    document = {"meta": Evil(trace), "state_dict": {"backbone.conv1.weight": torch.zeros(2)}}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(document["meta"], 2))
    else:
        torch.save(document, path, _use_new_zipfile_serialization=kind == "zip")
    assert not trace.exists()
    done = d2det("import-weights", path, "--arch", "r50", "--out", tmp_path / "out.safetensors")
    assert done.returncode == 4
    assert done.stderr.startswith(f"d2det: error: {path}: refused: ")
    assert "open" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [path]


def cut(path):
    state = {"state_dict": {"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}}
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-100])


def cut_legacy(path, at=-100):
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "cannot read the checkpoint .No such file"),
        (lambda path: path.mkdir(), "cannot read the checkpoint .Is a directory"),
        (lambda path: path.write_bytes(b""), "not a PyTorch checkpoint"),
        (lambda path: path.write_text("<html>Not found</html>"), "not a PyTorch checkpoint"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), "not a PyTorch checkpoint"),
        (lambda path: path.write_bytes(b"\x80\x02" + bytes(range(256)) * 9), "damaged"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(300)), "damaged"),
        (cut, "damaged"),
        (cut_legacy, "damaged"),
        (lambda path: cut_legacy(path, 90), "damaged"),
        (lambda path: torch.save([torch.zeros(2)], path), "no parameters by name"),
        (lambda path: torch.save({}, path), "no parameters by name"),
        (lambda path: torch.save({"state_dict": {}}, path), "no parameters by name"),
        (lambda path: torch.save({3: torch.zeros(2)}, path), "no parameters by name"),
        (lambda path: torch.save({"epoch": 3}, path), "epoch is int, not a tensor"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_words(tmp_path, write, message):
    path = tmp_path / "official.pth"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        import_weights(path, "r50", tmp_path / "out.safetensors")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def altered(**changes):
    state = hollow("r101")
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("state", "messages"),
    [
        (altered(neck__lateral_convs__1__conv__bias=None), ["1 missing: neck.lateral_convs.1.conv.bias"]),
        (altered(mask_head__convs=torch.zeros(3)), ["1 unexpected: mask_head.convs"]),
        (
            altered(bbox_head__fc_cls__bias=torch.zeros(91), bbox_head__fc_cls__weight=torch.zeros(91, 1024)),
            ["2 mis-shaped: bbox_head.fc_cls.bias is [91] and not [81], bbox_head.fc_cls.weight is [91, 1024]"],
        ),
        (
            {f"layer{index}.weight": torch.zeros(1) for index in range(9)},
            [
                "missing: D2Det_head.D2Det_mask.bias, ",
                "9 unexpected: layer0.weight, layer1.weight, layer2.weight and 6",
            ],
        ),
    ],
    ids=["missing", "unexpected", "mis-shaped", "another network"],
)
def test_names_and_shapes_that_do_not_fit_are_listed_and_counted(tmp_path, state, messages):
    torch.save(state, tmp_path / "official.pth")
    with pytest.raises(InputError, match="not a checkpoint of --arch r101: ") as caught:
        import_weights(tmp_path / "official.pth", "r101", tmp_path / "out.safetensors")
    assert all(message in str(caught.value) for message in messages)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["official.pth"]


def test_another_configuration_is_recognised(tmp_path):
    torch.save(hollow("r101-dcn"), tmp_path / "official.pth")
    with pytest.raises(InputError, match="not a checkpoint of --arch r101 but of r101-dcn: 60 unexpected: backbone"):
        import_weights(tmp_path / "official.pth", "r101", tmp_path / "out.safetensors")


def test_outputs_are_guarded(tmp_path):
    path, out = tmp_path / "official.pth", tmp_path / "out.safetensors"
    torch.save(hollow("r50"), path)
    with pytest.raises(UsageError, match=r"ends with \.safetensors"):
        import_weights(path, "r50", tmp_path / "out.pth")
    with pytest.raises(UsageError, match="use one of r50, r101, r101-dcn, r101-inst"):
        import_weights(path, "r18", out)
    out.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        import_weights(path, "r50", out)
    assert out.read_text() == "mine"
    import_weights(path, "r50", out, overwrite=True)
    assert read_card(out).name == "coco-r50"


def test_the_coco_classes_are_the_80():
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[11], COCO_CLASSES[-1]) == ("person", "stop sign", "toothbrush")
