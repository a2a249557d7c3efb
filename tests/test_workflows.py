"""From a data set as it is released to its score, by the command alone: convert, tile, train, predict, evaluate.

Objects are bright on dark, but twenty steps teach little: what must hold is that every piece fits the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from d2det_cli.main import app

Box = tuple[int, int, int, int]
STEPS = 20
TINY: dict[str, Any] = {
    "bundle": {"name": "tiny", "half": False},
    "model": {
        "backbone": "mobilenet_v2",
        "trainable_stages": 5,
        "channels": 32,
        "anchor_sizes": [16, 24, 32, 64, 128],
        "dlr_convs": 1,
        "dlr_channels": 32,
        "classifier_width": 16,
        "offset_width": 16,
        "mask_iou_width": 16,
    },
    "sampling": {"rpn_pre_nms": 100, "rpn_post_nms": 50, "rois": 32},
    "inference": {"rpn_pre_nms": 50, "rpn_post_nms": 20, "class_score": 0.01, "detections": 50},
    "run": {"steps": STEPS, "batch_size": 2},
    "optimiser": {"warmup_steps": 2},
}


@pytest.fixture
def d2det(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command that must succeed; give its report, if it was asked for."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, fails: int = 0) -> Any:
        result = CliRunner().invoke(app, list(words))
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        assert result.exit_code == fails, result.stderr
        return json.loads(result.stdout) if "--json" in words else result.stderr

    return run


def trained(d2det: Callable[..., Any], classes: list[str], data: dict[str, Any], *, masks: bool) -> list[str]:
    """Train the tiny network; give the options that choose it."""
    config = {**TINY, "classes": classes, "data": {"chip_size": 96, "overlap": 32, **data}}
    config["model"] = {**TINY["model"], "masks": masks}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    d2det("train", "config.yaml", "--out", "run", "--device", "cpu", "--progress", "none")
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert any(entry["step"] == STEPS and "loss" in entry for entry in log)
    return ["--model", "run/tiny.safetensors", "--device", "cpu", "--progress", "none"]


def picture(boxes: list[Box], width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(30, 60, (height, width, 3), np.uint8)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        pixels[y1:y2, x1:x2] = (220, 220 - 60 * (index % 2), 200)
    return Image.fromarray(pixels)


def plausible(report: dict[str, Any], protocol: str, **counts: int) -> None:
    """See that a report says what was compared, and that its numbers are numbers, or null where undefined."""
    assert report["protocol"] == protocol
    for name, count in counts.items():
        assert report["counts"][name] == count, name
    metrics = report["metrics"]
    assert "ap" in metrics
    assert all(value is None or 0 <= value <= 100 for value in metrics.values())


# UAVDT

FRAMES = {"M0701": {1: [(20, 20, 50, 44), (80, 60, 120, 90)], 2: [(24, 22, 54, 46)]}, "M9001": {1: [(60, 10, 90, 40)]}}
REGION = (100, 0, 140, 30)


def release_uavdt(root: Path, new_packaging: bool) -> None:
    """Write two sequences, one of the benchmark's test set and one of nobody's, as they are downloaded."""
    truth = root / "UAV-benchmark-MOTD_v1.0/GT"
    truth.mkdir(parents=True)
    (root / "M_attr/test").mkdir(parents=True)
    (root / "M_attr/test/M0701 _attr.txt").write_text("0,0,1,0,0,1,0,0,1,0")
    for sequence, frames in FRAMES.items():
        place = root / "UAV-benchmark-M" / sequence / ("img1" if new_packaging else "")
        place.mkdir(parents=True)
        rows = []
        for frame in (1, 2, 3):
            boxes = frames.get(frame, [])
            picture(boxes, 160, 100, frame).save(place / f"img{frame:06d}.jpg", quality=95)
            for number, (x1, y1, x2, y2) in enumerate(boxes):
                rows.append(f"{frame},{number + 1},{x1},{y1},{x2 - x1},{y2 - y1},1,1,{number + 1}")
        (truth / f"{sequence}_gt_whole.txt").write_text("\n".join(rows) + "\n")
        x1, y1, x2, y2 = REGION
        ignored = f"1,1,{x1},{y1},{x2 - x1},{y2 - y1},1,-1,-1\n" if sequence == "M0701" else ""
        (truth / f"{sequence}_gt_ignore.txt").write_text(ignored)


@pytest.mark.parametrize("new_packaging", [False, True])
def test_uavdt(d2det: Callable[..., Any], tmp_path: Path, new_packaging: bool) -> None:
    release_uavdt(tmp_path, new_packaging)
    truth, frames = "UAV-benchmark-MOTD_v1.0/GT", "UAV-benchmark-M"
    data = {
        "train": [{"kind": "dataset", "format": "uavdt", "path": truth, "images": frames}],
        "class_map": {"car": "vehicle", "truck": "vehicle", "bus": "vehicle"},
        "ignore_regions": "blackout" if new_packaging else "mask-loss",
    }
    model = trained(d2det, ["vehicle"], data, masks=False)
    found = d2det("predict", frames, "--out", "RES_DET", "--json", *model)
    assert (found["format"], found["images"], found["failed"]) == ("uavdt", 6, [])
    assert sorted(path.name for path in Path("RES_DET").iterdir()) == ["M0701.txt", "M9001.txt"]
    rows = [line.split(",") for path in Path("RES_DET").iterdir() for line in path.read_text().splitlines()]
    assert len(rows) == found["objects"] > 0
    arguments = ("--truth", truth, "--pred", "RES_DET", "--protocol", "uavdt", "--json")
    report = d2det("evaluate", *arguments)
    plausible(report, "uavdt", truths=4, predictions=len(rows), ignore_regions=1)
    # Of the truth as detections everything is right.
    Path("PERFECT").mkdir()
    for sequence, boxes in FRAMES.items():
        lines = [
            f"{frame},-1,{x1},{y1},{x2 - x1},{y2 - y1},1,1,-1"
            for frame, some in boxes.items()
            for x1, y1, x2, y2 in some
        ]
        Path(f"PERFECT/{sequence}.txt").write_text("\n".join(lines) + "\n")
    report = d2det("evaluate", "--truth", truth, "--pred", "PERFECT", "--protocol", "uavdt", "--json")
    assert (report["metrics"]["ap"], report["metrics"]["ap_percent"]) == (1, 100)
    # Converted, it is a COCO set of the same frames, with the same ids.
    d2det("convert", truth, "uavdt.json", "--from", "uavdt", "--to", "coco", "--images", frames)
    content = json.loads(Path("uavdt.json").read_text())
    assert {row["name"] for row in content["categories"]} >= {"car", "truck", "bus"}
    ids = {row["file_name"]: row["id"] for row in content["images"]}
    some = [row for row in content["images"] if row["file_name"] in {"M0701/img000002.jpg", "M9001/img000001.jpg"}]
    Path("some.json").write_text(json.dumps({**content, "images": some, "annotations": []}))
    d2det("predict", "some.json", "--images", frames, "--out", "r.json", "--class-map", "vehicle=car", *model)
    found = {row["image_id"] for row in json.loads(Path("r.json").read_text())}
    assert found <= {ids[row["file_name"]] for row in some}
