"""Image sets: whose ids, which files, which classes, what of failures, and the same bytes however often interrupted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.annotations import Annotations, Images, Runs
from d2det_geo.data.formats import uavdt
from d2det_geo.data.formats.reading import Reading
from d2det_geo.detections import Detections, Pieces
from d2det_geo.errors import InputError, OutputExistsError, UsageError
from d2det_geo.model.convention import Convention
from d2det_geo.pipeline.ledger import ledger_path
from d2det_geo.pipeline.manifest import manifest_path
from d2det_geo.pipeline.predict_set import predict_set
from d2det_geo.pipeline.predict_set_images import open_set
from d2det_geo.pipeline.predict_set_masks import mask_runs
from d2det_geo.pipeline.predict_set_results import Collected
from d2det_geo.runs import measured, pixels, whole
from tests.kills import write_inputs
from tests.test_predict import CARD, GROUND, ROOF, RectangleDetector

SHEDS = {"a": [(10, 12, 60, 40), (101, 90, 141, 131)], "b": [(20, 20, 50, 68)], "c": [(20, 100, 250, 150)], "d": []}


def picture(boxes: Sequence[tuple[int, int, int, int]], width: int = 300, height: int = 170) -> NDArray[np.uint8]:
    pixels = np.full((height, width, 3), GROUND, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = ROOF
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    place.mkdir()
    for name, boxes in SHEDS.items():
        Image.fromarray(picture(boxes)).save(place / f"{name}.png")
    return place


def listing(folder: Path, **more: Any) -> Path:
    """Write a COCO JSON of the images, in another order, with ids of its own."""
    rows = [{"id": 7 * place, "file_name": f"{name}.png"} for place, name in enumerate("cadb", start=3)]
    content = {"images": rows, "categories": [{"id": 40, "name": "house"}, {"id": 9, "name": "Shed"}], **more}
    path = folder / "test.json"
    path.write_text(json.dumps(content))
    return path


def boxes_of(results: list[dict[str, Any]]) -> dict[int, list[list[float]]]:
    found: dict[int, list[list[float]]] = {}
    for row in results:
        x, y, width, height = row["bbox"]
        found.setdefault(row["image_id"], []).append([x, y, x + width, y + height])
    return {number: sorted(boxes) for number, boxes in found.items()}


def run(path: Path, out: Path, *, masks: bool = False, **more: Any) -> Any:
    options = {"class_map": {"hall": ""}, "gsd": "native", **more}
    return predict_set(path, out, RectangleDetector(masks=masks), **options)


def test_a_json_file_keeps_its_ids_and_categories(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = run(listing(folder), tmp_path / "r.json", progress=lambda done, total: seen.append((done, total)))
    rows = json.loads((tmp_path / "r.json").read_text())
    found = boxes_of(rows)
    ids = {"c": 21, "a": 28, "d": 35, "b": 42}
    assert list(found) == [21, 28, 42]
    for name, boxes in SHEDS.items():
        assert np.allclose(found.get(ids[name], []), boxes, atol=0.01)
    assert {row["category_id"] for row in rows} == {9}
    assert {row["score"] for row in rows} == {round(float(np.float32(ROOF / 255)), 6)}
    assert "segmentation" not in rows[0]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (summary.images, summary.objects, summary.failed) == (4, 4, ())
    assert not ledger_path(tmp_path / "r.json").exists()
    assert json.loads(manifest_path(tmp_path / "r.json").read_text())["run"] == summary.run


def test_masks_are_run_lengths_over_the_whole_image(folder: Path, tmp_path: Path) -> None:
    run(listing(folder), tmp_path / "r.json", masks=True)
    for row in json.loads((tmp_path / "r.json").read_text()):
        assert row["segmentation"]["size"] == [170, 300]
        drawn = pixels(Runs(0, 0, 300, 170, row["segmentation"]["counts"].encode()))
        x, y, width, height = np.round(row["bbox"]).astype(int)
        expected = np.zeros((170, 300), np.bool_)
        expected[y : y + height, x : x + width] = 1
        assert np.array_equal(drawn, expected)  # also of the shed that no chip holds whole


def test_images_of_a_folder_are_numbered_in_natural_order(tmp_path: Path) -> None:
    place = tmp_path / "patches"
    place.mkdir()
    for name in ("P2_0_800_0_800", "P10_0_800_0_800", "P10_0_800_600_1400"):
        Image.fromarray(picture([(10, 10, 40, 40)])).save(place / f"{name}.png")
    Image.fromarray(picture([])).save(place / "P2_0_800_0_800_instance_id_RGB.png")
    run(place, tmp_path / "r.json", format="coco-results")
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [row["image_id"] for row in rows] == [0, 1, 2]
    assert {row["category_id"] for row in rows} == {1}
    ids = json.loads(manifest_path(tmp_path / "r.json").read_text())["image_ids"]
    assert list(ids) == ["P2_0_800_0_800.png", "P10_0_800_0_800.png", "P10_0_800_600_1400.png"]


@pytest.mark.parametrize("packaging", ["", "img1"])
def test_sequences_become_a_folder_of_uavdt_results(tmp_path: Path, packaging: str) -> None:
    for name, sheds in (("M0301", [(10, 10, 40, 40)]), ("M0203", [(100, 50, 140, 90)])):
        place = tmp_path / "frames" / name / packaging
        place.mkdir(parents=True)
        for frame in (1, 2, 10):
            Image.fromarray(picture(sheds if frame != 2 else [])).save(place / f"img{frame:06d}.jpg", quality=95)
    summary = run(tmp_path / "frames", tmp_path / "RES", class_map={"shed": "car", "hall": ""})
    assert summary.format == "uavdt"
    assert sorted(path.name for path in (tmp_path / "RES").iterdir()) == ["M0203.txt", "M0301.txt"]
    rows = [line.split(",") for line in (tmp_path / "RES/M0203.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == ["1", "10"]
    assert np.allclose(np.array(rows, float)[:, 2:6], [100, 50, 40, 40], atol=0.2)
    assert {row[8] for row in rows} == {"1"}
    found = open_set(tmp_path / "frames").images
    assert found.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.names[:3].tolist() == [f"M0203/img{frame:06d}.jpg" for frame in (1, 2, 10)]
    # One sequence alone has the same result, and its own name.
    run(tmp_path / "frames/M0203", tmp_path / "one", class_map={"shed": "car", "hall": ""})
    assert (tmp_path / "one/M0203.txt").read_text() == (tmp_path / "RES/M0203.txt").read_text()
    names = np.array(["M0203/img000001.jpg", "M0203/img000010.jpg"], dtype=object)
    truth = Annotations(
        Images(names, np.arange(2), np.full((2, 2), 200)),
        uavdt.CLASSES,
        np.zeros(0, np.int64),
        np.zeros((0, 4)),
        np.zeros(0, np.int64),
        np.zeros(0, np.bool_),
    )
    assert len(uavdt.read_results(tmp_path / "one", truth, Reading())) == 2


def test_a_folder_of_results_is_only_replaced_by_results(tmp_path: Path) -> None:
    place = tmp_path / "M0203"
    place.mkdir()
    Image.fromarray(picture([(10, 10, 40, 40)])).save(place / "img000001.jpg")
    run(place, tmp_path / "RES")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run(place, tmp_path / "RES")
    run(place, tmp_path / "RES", overwrite=True)
    (tmp_path / "RES/mine.txt").write_text("")
    with pytest.raises(OutputExistsError, match=r"mine\.txt"):
        run(place, tmp_path / "RES", overwrite=True)


def test_dotas_results_may_be_a_zip(folder: Path, tmp_path: Path) -> None:
    for out in ("task2", "task2.zip"):
        run(folder, tmp_path / out, format="dota-task2")
    with zipfile.ZipFile(tmp_path / "task2.zip") as archive:
        assert archive.namelist() == ["Task2_shed.txt"]
        assert archive.read("Task2_shed.txt").decode() == (tmp_path / "task2/Task2_shed.txt").read_text()


# Frames, chips and batches


def test_images_that_say_their_gsd_are_seen_at_the_models(folder: Path, tmp_path: Path) -> None:
    rows = [{"id": 1, "file_name": "a.png", "gsd_m": 0.3}, {"id": 2, "file_name": "b.png"}]
    path = listing(folder, images=rows)
    sizes: list[tuple[int, ...]] = []

    class Watching(RectangleDetector):
        def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
            sizes.extend(image_sizes)
            return super().detect(images, image_sizes)

    detector = Watching()
    detector.card = CARD.model_copy(update={"gsd_m": 0.6, "chip_size": 512})
    summary = predict_set(path, tmp_path / "r.json", detector, class_map={"hall": ""})
    assert sizes == [(85, 150), (170, 300)]
    assert "1 of 2 images do not say their GSD" in summary.notices[0]
    found = boxes_of(json.loads((tmp_path / "r.json").read_text()))
    assert np.allclose(found[1], SHEDS["a"], atol=1.0)
    assert np.allclose(found[2], SHEDS["b"], atol=0.01)


def test_small_images_share_batches(folder: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    class Watching(RectangleDetector):
        def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
            calls.append(len(images))
            return super().detect(images, image_sizes)

    predict_set(folder, tmp_path / "r.json", Watching(), class_map={}, batch_size=3, chip_size=512, overlap=0)
    assert calls == [3, 1]
    run(folder, tmp_path / "one.json", batch_size=1)
    run(folder, tmp_path / "many.json", batch_size=3)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "many.json").read_bytes()


def test_a_chip_over_the_cap_is_looked_at_in_quarters(tmp_path: Path) -> None:
    """Parts of several images and their quarters in one batch stay apart."""
    place = tmp_path / "set"
    place.mkdir()
    many = [(x, y, x + 6, y + 6) for x in range(4, 120, 12) for y in range(4, 120, 12)]
    for name, boxes in {"a": [(10, 10, 40, 40)], "b": many, "c": [(60, 60, 90, 90)]}.items():
        Image.fromarray(picture(boxes, 128, 128)).save(place / f"{name}.png")

    class Capped(RectangleDetector):
        def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
            return [found.select(np.arange(min(len(found), 50))) for found in super().detect(images, image_sizes)]

    summary = predict_set(place, tmp_path / "r.json", Capped(), batch_size=3)
    found = boxes_of(json.loads((tmp_path / "r.json").read_text()))
    assert {number: len(boxes) for number, boxes in found.items()} == {0: 1, 1: len(many), 2: 1}
    assert np.allclose(found[2], [[60, 60, 90, 90]])
    assert summary.split_chips == 1


# Interruptions and failures


class Interrupting(RectangleDetector):
    """Is stopped after some images."""

    left = 3

    def detect(self, images: Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().detect(images, image_sizes)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_resumed_run_writes_the_same_bytes(folder: Path, tmp_path: Path, batch_size: int) -> None:
    options = {"class_map": {}, "chip_size": 512, "batch_size": batch_size}
    predict_set(folder, tmp_path / "whole.json", RectangleDetector(masks=True), **options)
    out, detector = tmp_path / "r.json", Interrupting(masks=True)
    detector.left = 3 // batch_size
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict_set(folder, out, detector, **options)
    assert "images are done and kept" in stopped.value.__notes__[0]
    assert not out.exists()
    with pytest.raises(OutputExistsError, match="--resume"):
        predict_set(folder, out, RectangleDetector(masks=True), **options)
    with pytest.raises(UsageError, match=r"--score was 0\.0 and is 0\.5"):
        predict_set(folder, out, RectangleDetector(masks=True), resume=True, score=0.5, **options)
    again = RectangleDetector(masks=True)
    predict_set(folder, out, again, resume=True, **options)
    assert again.images == 4 - 3 // batch_size * batch_size
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    summary = predict_set(folder, out, RectangleDetector(masks=True), resume=True, **options)
    assert summary.notices == ("the output was complete, nothing was done",)
    assert summary.objects == len(json.loads(out.read_text()))


def test_an_image_that_changed_since_is_looked_at_again(folder: Path, tmp_path: Path) -> None:
    out, detector = tmp_path / "r.json", Interrupting()
    with pytest.raises(KeyboardInterrupt):
        predict_set(folder, out, detector, class_map={}, chip_size=512)
    Image.fromarray(picture([(5, 5, 100, 100)])).save(folder / "b.png")
    predict_set(folder, out, RectangleDetector(), class_map={}, chip_size=512, resume=True)
    assert boxes_of(json.loads(out.read_text()))[1] == [[5, 5, 100, 100]]


def test_failures_are_skipped_told_and_tried_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    good = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match=r"b\.png: damaged image"):
        run(folder, out)
    assert not out.exists()
    summary = run(folder, out, on_error="skip", resume=True)
    assert [failure.scene for failure in summary.failed] == ["b.png"]
    assert list(boxes_of(json.loads(out.read_text()))) == [0, 2]
    (folder / "b.png").write_bytes(good)
    assert run(folder, out, resume=True).failed == ()
    run(folder, tmp_path / "whole.json")
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not ledger_path(out).exists()


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_map": {}}, r"class 'hall' of the model is none of the set's \(house, Shed\).*--class-map hall="),
        ({"class_map": {"barn": "house"}}, "class 'barn': rectangles does not know it; it knows shed, hall"),
        ({"format": "gpkg"}, "--format gpkg: is none of an image set; there are coco-results, isaid"),
        ({"simplify": 1.0}, "--simplify means nothing for an image set"),
        ({"bbox": (0, 0, 1, 1)}, "--bbox means nothing"),
        ({"chip_size": 32, "overlap": 32}, "--overlap 32"),
    ],
)
def test_what_makes_no_sense(folder: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(listing(folder), tmp_path / "r.json", **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": [{"id": 1, "file_name": "../a.png"}]}, r"test\.json: images\[0\]: file_name '\.\./a\.png' leads"),
        ({"images": [{"id": 1, "file_name": "x.png"}]}, r"images\[0\]: image file .*x\.png is missing"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 5, "height": 5}]}, "300 x 170 px, the row says 5 x 5"),
        ({"images": []}, "images is empty"),
        ({"images": None}, "images is missing"),
    ],
)
def test_bad_sets(folder: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(listing(folder, **change), tmp_path / "r.json")
    assert list(tmp_path.glob("r.json*")) == []


def test_sets_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a COCO JSON file nor a folder"):
        open_set(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no"):
        open_set(tmp_path / "empty")
    with pytest.raises(InputError, match="holds no frames such as"):
        open_set(tmp_path / "empty", sequences=True)
    with pytest.raises(UsageError, match="--images"):
        open_set(tmp_path / "empty", tmp_path)
    with pytest.raises(UsageError, match=r"results of format coco-results are a \.json file"):
        run(image_folder(tmp_path), tmp_path / "r.txt")


def image_folder(tmp_path: Path) -> Path:
    Image.fromarray(picture([])).save(tmp_path / "empty/a.png")
    return tmp_path / "empty"


# Masks


def test_masks_of_pieces_are_their_union() -> None:
    shapes = np.ones((2, 28, 28), np.float32)
    shapes[1, :, :14] = 0
    found = Detections(
        boxes=np.array([[0.0, 0, 40, 20], [5, 5, 8, 8], [3, 3, 3, 9]]),
        scores=np.ones(3, np.float32),
        labels=np.zeros(3, np.int64),
        masks=np.ones((3, 28, 28), np.float32) * np.array([1, 0.1, 1], np.float32)[:, None, None],
        pieces=Pieces(np.array([0, 0]), np.array([[0.0, 0, 15, 20], [10, 10, 40, 20]]), shapes),
    )
    masks = mask_runs(found, (50, 30), Convention.ALIGNED)
    assert measured(masks).areas.tolist() == [15 * 20 + 15 * 10, 0, 0]  # what one piece does not see the other may
    expected = np.zeros((30, 50), np.bool_)
    expected[:20, :15] = expected[10:20, 25:40] = True
    assert np.array_equal(pixels(whole(masks, np.array([50, 30]))[0]), expected)


# The command


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    write_inputs(tmp_path, 96)

    def invoke(*arguments: str) -> tuple[int, str, str]:
        model = ["--model", str(tmp_path / "tiny.safetensors"), "--progress", "none"]
        result = CliRunner().invoke(app, ["predict", *arguments, *model])
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


def test_the_command_tells_sets_from_scenes(folder: Path, tmp_path: Path, command: Any) -> None:
    for name in SHEDS:
        Image.fromarray(picture([(10, 10, 30, 30)], 64, 48)).save(folder / f"{name}.png")
    out = tmp_path / "r.json"
    code, stdout, stderr = command(str(listing(folder)), "--out", str(out), "--json", "--class-map", "building=house")
    assert (code, json.loads(stdout)["format"]) == (0, "coco-results")
    assert "4 images (coco-results)" in stderr
    assert {row["category_id"] for row in json.loads(out.read_text())} <= {40}
    for word in ([], ["--as-set"]):
        code, _, _ = command(str(folder), "--out", str(tmp_path / f"set{len(word)}.json"), *word)
        assert code == 0
    (folder / "one").mkdir()
    Image.fromarray(picture([], 64, 48)).save(folder / "one/a.png")
    code, _, _ = command(str(folder / "one"), "--out", str(tmp_path / "one.json"))
    assert (code, json.loads((tmp_path / "one.json").read_text())["type"]) == (0, "FeatureCollection")  # as ever
    code, _, _ = command(str(folder / "one"), "--out", str(tmp_path / "two.json"), "--as-set")
    assert (code, {row["image_id"] for row in json.loads((tmp_path / "two.json").read_text())}) == (0, {0})
    code, _, stderr = command(str(folder), "--out", str(tmp_path / "x.geojson"))
    assert (code, "there are 4 scenes" in stderr) == (2, True)  # as ever
    code, _, stderr = command(str(folder / "a.png"), "--out", str(tmp_path / "x.geojson"), "--class-map", "a=b")
    assert (code, "belong to an image set" in stderr) == (2, True)
    code, _, stderr = command(str(folder), "--out-dir", str(tmp_path), "--as-set")
    assert (code, "give --out FILE" in stderr) == (2, True)
    (folder / "b.png").write_bytes(b"")
    code, _, stderr = command(str(folder), "--out", str(tmp_path / "s.json"), "--as-set", "--on-error", "skip")
    assert code == 3
    assert "1 of 4 images failed and have no results" in stderr


# What a format has no place for is said before the network runs


@pytest.mark.parametrize(
    ("format", "class_map", "words"),
    [
        ("visdrone", {"shed": "shed", "hall": ""}, "class 'shed' has no category in VisDrone"),
        ("dota-task2", {"shed": "small shed", "hall": ""}, "small shed"),
        ("isaid", {"shed": "shed", "hall": ""}, "class 'shed' .*is none of"),
    ],
)
def test_classes_are_refused_before_the_network_runs(
    folder: Path, tmp_path: Path, format: str, class_map: dict[str, str], words: str
) -> None:
    detector = RectangleDetector()
    out = tmp_path / ("r.zip" if format == "isaid" else "RES")
    with pytest.raises((InputError, UsageError), match=words):
        predict_set(folder, out, detector, format=format, class_map=class_map)
    assert detector.images == 0
    assert list(tmp_path.glob("R*")) == []


def test_names_of_images_are_refused_before_the_network_runs(folder: Path, tmp_path: Path) -> None:
    detector = RectangleDetector()
    with pytest.raises(InputError, match=r"c\.png: is no frame"):
        predict_set(listing(folder), tmp_path / "RES", detector, format="uavdt", class_map={"hall": "", "shed": "Shed"})
    assert detector.images == 0


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_killed_between_output_and_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    place = tmp_path / "M0203"
    place.mkdir()
    Image.fromarray(picture([(10, 10, 40, 40)])).save(place / "img000001.jpg")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("d2det_geo.pipeline.predict_set.manifest_of", killed)
        with pytest.raises(KeyboardInterrupt):
            run(place, tmp_path / "RES")
    assert ledger_path(tmp_path / "RES").exists()
    assert (tmp_path / "RES/M0203.txt").is_file()
    summary = run(place, tmp_path / "RES", **{how: True})
    assert summary.objects == 1
    assert json.loads(manifest_path(tmp_path / "RES").read_text())["run"] == summary.run
    assert not ledger_path(tmp_path / "RES").exists()


# What is a sequence


def frames_in(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(picture([(10, 10, 40, 40)], 64, 48)).save(folder / name)
    return folder


@pytest.mark.parametrize("stray", ["M0203/thumb.png", "P7.png", "M0205/cover.jpg", "M0203/img1.png"])
def test_an_image_among_sequences_is_no_reason_to_drop_any(tmp_path: Path, stray: str) -> None:
    for name in ("M0203", "M0301"):
        frames_in(tmp_path / "frames" / name, "img000001.jpg")
    path = tmp_path / "frames" / stray
    frames_in(path.parent, path.name)
    with pytest.raises(InputError, match=rf"{stray}: lies among frames"):
        open_set(tmp_path / "frames")


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    for name in ("M0203", "M0301"):
        frames_in(tmp_path / "frames" / name, "img000001.jpg")
        (tmp_path / "frames" / name / "._img000001.png").write_bytes(b"\0\5\x16\7")
    frames_in(tmp_path / "frames/.thumbnails", "a.png")
    assert open_set(tmp_path / "frames").images.names.tolist() == ["M0203/img000001.jpg", "M0301/img000001.jpg"]
    (tmp_path / "plain").mkdir()
    frames_in(tmp_path / "plain", "a.png")
    (tmp_path / "plain/._a.png").write_bytes(b"\0\5\x16\7")
    assert open_set(tmp_path / "plain").images.names.tolist() == ["a.png"]


@pytest.mark.parametrize("names", [("img1.png", "img2.png"), ("img00001.jpg",), ("img000001.JPG", "img000002.JPG")])
def test_frames_are_taken_by_the_names_they_have(tmp_path: Path, names: tuple[str, ...]) -> None:
    place = frames_in(tmp_path / "photos", *names)
    found = open_set(place)
    released = names[0].endswith(".JPG")
    assert (found.kind, found.images.ids[0]) == (("sequences", 1) if released else ("folder", 0))
    for one in (found, open_set(place, sequences=True)):
        assert [one.files.decode(index).shape for index in range(len(names))] == [(3, 48, 64)] * len(names)
    run(place, tmp_path / "RES", format="uavdt", class_map={"shed": "car", "hall": ""})
    assert len((tmp_path / "RES/photos.txt").read_text().splitlines()) == len(names)


@pytest.mark.parametrize(("format", "kept"), [("dota-task1", True), ("dota-task2", False), ("visdrone", False)])
def test_masks_are_only_kept_for_formats_that_need_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, kept: bool
) -> None:
    outlines: list[object] = []
    given = Collected.annotations

    def watched(self: Collected) -> Annotations:
        outlines.append(given(self).outlines)
        return given(self)

    monkeypatch.setattr(Collected, "annotations", watched)
    run(folder, tmp_path / "RES", format=format, masks=True, class_map={"shed": "car", "hall": ""})
    assert (outlines[0] is not None) == kept
