"""Training runs: resumed equals uninterrupted, bundles that predict, failures in words."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from d2det_geo.config import Config, OptimiserSettings
from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.model.bundle import load_model, read_card
from d2det_geo.pipeline import run
from d2det_geo.pipeline.checkpoint import FILE
from d2det_geo.pipeline.optimise import rate_share, update_average
from d2det_geo.pipeline.sources import training_chips
from d2det_geo.pipeline.train import LOG, train

TINY = {
    "classes": ["building"],
    "bundle": {"name": "tiny", "half": False},
    "data": {
        "train": [{"kind": "town", "towns": 1, "size": 256}],
        "val": [{"kind": "town", "first_seed": 3, "towns": 1, "size": 256}],
        "chip_size": 96,
        "overlap": 32,
    },
    "model": {
        "backbone": "mobilenet_v2",
        "trainable_stages": 5,
        "channels": 32,
        "dlr_convs": 1,
        "dlr_channels": 32,
        "classifier_width": 16,
        "offset_width": 16,
        "mask_iou_width": 16,
    },
    "sampling": {"rpn_pre_nms": 100, "rpn_post_nms": 50, "rois": 32},
    "inference": {"rpn_pre_nms": 50, "rpn_post_nms": 20, "class_score": 0.01},
    "run": {"steps": 6, "validate_every": 4},
}


def config(**changes):
    return Config.model_validate({**TINY, **changes})


def tensors(folder):
    return load_file(folder / "tiny.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    seen = []
    summary = train(config(), folder, device="cpu", progress=lambda done, total, note: seen.append((done, total, note)))
    return folder, summary, seen


def test_a_run_leaves_a_bundle_that_detects(whole):
    folder, summary, seen = whole
    assert summary.bundle == folder / "tiny.safetensors"
    assert [done for done, _, note in seen if note.startswith("loss")] == [1, 2, 3, 4, 5, 6]
    assert [done for done, _, note in seen if note == "validating"] == [3, 6]
    assert set(summary.scores) >= {"ap", "ap50", "ap75"}
    network = load_model(summary.bundle)
    assert network.detect(torch.zeros(1, 3, 96, 96), [(96, 96)])[0].masks is not None
    card = read_card(summary.bundle)
    assert card.training["steps"] == 6
    assert card.scores == summary.scores
    assert card.gsd_m is None


def test_the_log_holds_losses_and_validation(whole):
    entries = [json.loads(line) for line in (whole[0] / LOG).read_text().splitlines()]
    assert [entry["step"] for entry in entries if "validation" in entry] == [4]
    assert all(np.isfinite(value) for entry in entries for value in entry.get("loss", {}).values())
    assert "bundle" in entries[-1]


def test_a_resumed_run_equals_an_uninterrupted_one(whole, tmp_path):
    train(config(), tmp_path, max_steps=2, device="cpu")
    train(config(), tmp_path, max_steps=3, resume=True, device="cpu")
    summary = train(config(), tmp_path, resume=True, device="cpu")
    assert summary.steps == 6
    first, second = tensors(whole[0]), tensors(tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_keeps_its_steps(tmp_path):
    def stop(done, total, note):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config(), tmp_path, device="cpu", progress=stop)
    assert torch.load(tmp_path / FILE, weights_only=True)["step"] == 2
    assert not (tmp_path / "tiny.safetensors").exists()


def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(whole, tmp_path, monkeypatch):
    average = run.update_average

    def interrupt(weights, network, decay, step):
        if step == 2:
            signal.raise_signal(signal.SIGINT)  # the weights have changed, their average has not
        average(weights, network, decay, step)

    monkeypatch.setattr(run, "update_average", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config(), tmp_path, device="cpu")
    monkeypatch.undo()
    assert torch.load(tmp_path / FILE, weights_only=True)["step"] == 3
    train(config(), tmp_path, resume=True, device="cpu")
    first, second = tensors(whole[0]), tensors(tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_overwriting_touches_only_the_run_and_only_when_the_new_one_can_start(tmp_path):
    train(config(), tmp_path, max_steps=1, device="cpu")
    other = tmp_path / "other.safetensors"
    other.write_text("not ours")
    before = (tmp_path / "tiny.safetensors").read_bytes()
    broken = config(data={**TINY["data"], "train": [{"kind": "coco", "annotations": tmp_path / "none.json"}]})
    with pytest.raises(InputError):
        train(broken, tmp_path, overwrite=True, device="cpu")
    assert (tmp_path / "tiny.safetensors").read_bytes() == before
    train(config(), tmp_path, overwrite=True, max_steps=2, device="cpu", command="d2det train tiny.yaml")
    assert read_card(tmp_path / "tiny.safetensors").training["command"] == "d2det train tiny.yaml"
    assert other.read_text() == "not ours"


def test_training_lowers_the_loss(tmp_path):
    losses = []
    settings = config(
        run={"steps": 30}, optimiser={"learning_rate": 1e-3, "warmup_steps": 5}, data={**TINY["data"], "val": []}
    )

    def keep(done, total, note):
        losses.extend(float(value) for value in re.findall(r"^loss ([\d.]+)", note))

    train(settings, tmp_path, device="cpu", progress=keep)
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])


def test_a_folder_in_use_is_not_overwritten(whole, tmp_path):
    with pytest.raises(OutputExistsError, match="--resume"):
        train(config(), whole[0], device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(D2DetError, match="cannot use this folder"):
        train(config(), tmp_path / "file" / "out", device="cpu")


def test_resume_needs_a_checkpoint_of_the_same_settings(whole, tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        train(config(), tmp_path, resume=True, device="cpu")
    changed = config(run={"steps": 6, "validate_every": 4, "batch_size": 3})
    with pytest.raises(UsageError, match=r"run\.batch_size was 2 and is now 3"):
        train(changed, whole[0], resume=True, device="cpu")
    (tmp_path / FILE).write_bytes(b"\x80\x02nonsense")
    with pytest.raises(InputError, match="damaged checkpoint"):
        train(config(), tmp_path, resume=True, device="cpu")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    settings = config(optimiser={"learning_rate": 1e18, "warmup_steps": 0, "clip_norm": None})
    with pytest.raises(D2DetError, match="the loss is not finite"):
        train(settings, tmp_path, device="cpu")


def coco(folder: Path, boxes, names=("car",)):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 160, 3), dtype=np.uint8)).save(folder / "a.png")
    rows = [
        {"id": index + 1, "image_id": 1, "category_id": 1 + index % len(names), "bbox": box, "area": 1, "iscrowd": 0}
        for index, box in enumerate(boxes)
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 128}],
        "annotations": rows,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
    }
    (folder / "train.json").write_text(json.dumps(data))
    return {"train": [{"kind": "coco", "annotations": folder / "train.json"}], "chip_size": 96, "overlap": 32}


def test_boxes_train_without_masks_and_map_classes(tmp_path):
    data = coco(tmp_path, [[10, 10, 30, 20], [60, 50, 40, 30], [100, 20, 30, 30]], ("car", "lorry", "dust"))
    data = {**data, "class_map": {"car": "vehicle", "lorry": "vehicle"}, "ignore": ["dust"]}
    settings = config(classes=["vehicle"], data=data, model={**TINY["model"], "masks": False}, run={"steps": 2})
    summary = train(settings, tmp_path / "out", device="cpu")
    assert load_model(summary.bundle).detect(torch.zeros(1, 3, 64, 64), [(64, 64)])[0].masks is None


@pytest.mark.parametrize(
    ("changes", "boxes", "message"),
    [
        ({}, [[10, 10, 30, 20]], "boxes only, and masks need outlines"),
        ({"model": {**TINY["model"], "masks": False}}, [], "no object of the classes car"),
    ],
)
def test_data_that_cannot_train_is_refused(tmp_path, changes, boxes, message):
    settings = config(classes=["car"], data=coco(tmp_path, boxes), **changes)
    with pytest.raises(InputError, match=re.escape(message)):
        training_chips(settings)


def test_the_rate_warms_up_and_falls():
    cosine = OptimiserSettings(warmup_steps=4)
    assert rate_share(cosine, 0, 100) == pytest.approx(0.2)
    assert rate_share(cosine, 4, 100) == pytest.approx(1.0)
    assert rate_share(cosine, 52, 100) == pytest.approx(0.5)
    assert rate_share(cosine, 100, 100) == pytest.approx(0.0)
    steps = OptimiserSettings(schedule="step", warmup_steps=0, milestones=(0.5, 0.75))
    assert [rate_share(steps, step, 100) for step in (0, 49, 50, 75)] == pytest.approx([1, 1, 0.1, 0.01])


def test_the_average_follows_the_weights():
    network = nn.Linear(1, 1, bias=False)
    average = {"weight": torch.zeros(1, 1)}
    with torch.no_grad():
        network.weight.fill_(1.0)
    update_average(average, network, 0.9, step=1_000_000)
    assert average["weight"].item() == pytest.approx(0.1)
    update_average(average, network, 0.0, step=0)
    assert average["weight"].item() == 1.0
