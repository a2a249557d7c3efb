"""d2det convert: every format into every other, what is lost and told, and what is left alone when something fails."""

import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.annotations import REGION
from d2det_geo.data.formats import coco_write
from d2det_geo.data.formats.coco_outlines import filled
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import FORMATS
from d2det_geo.errors import D2DetError, InputError, OutputExistsError, UsageError
from d2det_geo.metrics import classes as class_rules
from d2det_geo.metrics.classes import ClassRules
from d2det_geo.pipeline.convert import TruthFile, convert_file, fitted
from d2det_geo.runs import runs_of
from tests.annotation_sets import annotations, images

AERIAL = {"isaid", "dota", "dota-task1", "dota-task2"}  # formats of fixed classes, none of them a car
FLAT = {"dota", "dota-task1", "dota-task2", "visdrone"}  # formats of files without folders
FILES = {"coco": "out.json", "vector": "out.geojson", "isaid": "out.zip"}
TRUTH = [name for name, known in FORMATS.items() if known.read and known.write]
RESULTS = [name for name, known in FORMATS.items() if known.read_results and known.write_results]
TOLERANCE = {"vector": 0.02}  # px: GeoJSON has a centimetre


def names_for(*formats):
    one = "vector" in formats
    if "uavdt" in formats:
        return ("M9901/img000001.jpg",) if one else ("M9901/img000001.jpg", "M9901/img000002.jpg")
    return ("scene.tif",) if one else ("P1.png", "P2.png")


def classes_of(name):
    return ("ship", "plane") if name in AERIAL else ("car", "truck")


def cells():
    mask = np.zeros((40, 60), np.bool_)
    mask[3:9, 20:30] = mask[9:11, 25:27] = True
    return runs_of(mask)


def rows(count, *, scored):
    """Make whole boxes, an ignored one and a region, spread over images; with scores and masks they are detections."""
    truth = [
        {"box": (1, 2, 11, 12), "label": 0},
        {"box": (30, 5, 42, 25), "label": 1},
        {"box": (10, 20, 20, 30), "label": 1, "ignored": True},
        {"box": (40, 10, 60, 40), "label": REGION, "ignored": True},
        {"box": (5, 6, 7, 9), "label": 0},
    ]
    found = [{"box": (20, 3, 30, 11), "label": 0, "score": 0.75}, {"box": (1, 2, 11, 12), "label": 1, "score": 0.5}]
    chosen = found if scored else truth
    return [{**row, "image": place % count} for place, row in enumerate(chosen)]


@pytest.fixture
def place(tmp_path, write_raster):
    """Lay out images, give the raster a place among them, and give what the reader of a format may need."""
    folder = tmp_path / "images"

    def reading(name, of, class_names=()):
        for image in of.names:
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            if image == "scene.tif":
                write_raster(np.zeros((1, 40, 60), np.uint8)).rename(folder / image)
            else:
                Image.new("L", (60, 40)).save(folder / image)
        scene = write_raster(np.zeros((1, 40, 60), np.uint8))
        flat = name in FLAT and "/" in of.names[0]
        return Reading(images=folder / "M9901" if flat else folder, raster=scene, class_names=class_names)

    return reading


def objects(found):
    """List objects by image and box, for comparing; regions have no class."""
    names = [*found.classes, "region"]
    order = np.lexsort((*found.boxes.T[::-1], found.image))
    return [(names[found.labels[row]], bool(found.ignored[row])) for row in order], found.boxes[order]


def assert_alike(found, expected, tolerance):
    ours, boxes = objects(found)
    theirs, others = objects(expected)
    assert ours == theirs
    assert boxes == pytest.approx(others, abs=tolerance)


def out_in(folder, name):
    folder.mkdir()
    return folder / FILES.get(name, "out")


@pytest.mark.parametrize("target", TRUTH)
@pytest.mark.parametrize("source", TRUTH)
def test_truth_of_every_format_in_every_other(tmp_path, place, source, target):
    of = images(*names_for(source, target))
    known = annotations(rows(len(of), scored=False), of, classes_of(source))
    coco_write.write(known, tmp_path / "truth.json")
    first, second = out_in(tmp_path / "a", source), out_in(tmp_path / "b", target)
    convert_file(tmp_path / "truth.json", first, formats=("coco", source), reading=place("coco", of))
    before = fitted(known, FORMATS[source], source)[0]
    class_names = classes_of(source) if source in {"voc", "vector"} else ()  # these sort the names they meet
    reading = place(source, of, class_names)
    assert_alike(FORMATS[source].read(first, reading), before, TOLERANCE.get(source, 1e-6))
    renamed = dict(zip(classes_of(source), classes_of(target), strict=True))
    if target == "uavdt" and source in {*FLAT, "vector"}:
        with pytest.raises(InputError, match=r"M0203/img000001\.jpg"):  # these lose the sequence
            convert_file(first, second, formats=(source, target), reading=reading, class_map=renamed)
        return
    summary = convert_file(first, second, formats=(source, target), reading=reading, class_map=renamed)
    expected = fitted(replace(before, classes=classes_of(target)), FORMATS[target], target)[0]
    after = FORMATS[target].read(second, place(target, of, classes_of(target) if target == "vector" else ()))
    assert_alike(after, expected, TOLERANCE.get(source, 0) + TOLERANCE.get(target, 1e-6))
    assert summary.objects + summary.regions == len(expected)


@pytest.mark.parametrize("target", RESULTS)
@pytest.mark.parametrize("source", RESULTS)
def test_detections_of_every_format_in_every_other(tmp_path, place, source, target):
    of = images(*names_for(source, target))
    known = annotations(rows(len(of), scored=True), of, classes_of(source))
    if "isaid" in (source, target):  # which knows masks only
        known = replace(known, outlines=filled([cells(), cells()]))
    truth = TruthFile(tmp_path / "truth.json", "isaid" if source == "isaid" else "coco")
    coco_write.write(replace(known.rows(np.zeros(2, np.bool_)), scores=None), truth.path)
    reading, formats = place(source, of), (source, target)
    class_map = dict(zip(classes_of(source), classes_of(target), strict=True))
    numbers = (1, 14) if source == "isaid" else None  # of ship and plane
    coco_write.write_results(replace(known, class_ids=numbers), tmp_path / "found.json")
    first, second = out_in(tmp_path / "a", source), out_in(tmp_path / "b", target)
    convert_file(tmp_path / "found.json", first, formats=("coco", source), reading=reading, truth=truth)
    if target == "isaid" and not {"outlines", "corners"} & FORMATS[source].holds:
        with pytest.raises(InputError, match="a detection has no outline; iSAID is scored by masks"):
            convert_file(first, second, formats=formats, reading=reading, truth=truth, class_map=class_map)
        return
    summary = convert_file(first, second, formats=formats, reading=reading, truth=truth, class_map=class_map)
    assert (summary.objects, summary.regions) == (2, 0)
    renamed = tmp_path / "renamed.json"
    convert_file(truth.path, renamed, formats=(truth.format, "coco"), reading=reading, class_map=class_map)
    after = FORMATS[target].read_results(
        second, FORMATS["isaid" if target == "isaid" else "coco"].read(renamed, reading), reading
    )
    assert after.scores[np.argsort(-after.scores)].tolist() == [0.75, 0.5]
    expected = replace(known, classes=classes_of(target))
    if "isaid" in formats:  # boxes are those of the masks; drawn as polygons, they may grow
        expected = replace(expected, boxes=np.array([[20, 3, 30, 11]] * 2, np.float64))
    assert_alike(after, expected, 1 if target == "isaid" else TOLERANCE.get(source, 0) + TOLERANCE.get(target, 1e-6))


@pytest.fixture
def truth_json(tmp_path):
    """Write a truth that has everything a format may not hold."""
    of = images("P1.png", "d/P2.png")
    known = annotations(rows(2, scored=False), of, ("car", "truck", "bus"), columns={"occlusion": np.arange(5)})
    outlines = [cells(), shapely.box(30, 5, 42, 25), None, None, shapely.MultiPolygon([shapely.box(5, 6, 6, 9)] * 2)]
    coco_write.write(replace(known, outlines=filled(outlines)), tmp_path / "truth.json")
    return tmp_path / "truth.json"


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def test_what_is_lost_is_told(tmp_path, truth_json):
    result = run(truth_json, tmp_path / "out", "--from", "coco", "--to", "yolo", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["notices"] == [
        "1 regions to ignore left out: yolo has none",
        "1 ignored objects left out: yolo has none",
        "2 outlines of several rings, with holes or of run lengths became boxes: yolo cannot hold them",
    ]
    numbers = ("images", "objects", "ignored", "regions", "classes")
    assert [report[key] for key in numbers] == [2, 3, 0, 0, ["car", "truck", "bus"]]
    assert report["out"] == str(tmp_path / "out")
    assert "out: 2 images, 3 objects, 0 regions to ignore, 3 classes" in result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("d2det: notice: ")]
    assert len(told) == 3
    quiet = run(truth_json, tmp_path / "out2", "--from", "coco", "--to", "coco", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_columns_and_rectangles_are_told():
    known = annotations(
        rows(2, scored=False)[:2], images("a", "b"), ("ship", "plane"), columns={"occlusion": np.ones(2)}
    )
    known = replace(known, outlines=filled([cells(), shapely.box(0, 0, 3, 3)]))
    assert fitted(known, FORMATS["dota"], "dota")[1] == [
        "1 outlines not of four corners became rectangles: dota cannot hold them",
        "occlusion left out: dota has no place for them",
    ]


def test_objects_without_area_are_told():
    known = annotations([{"image": 0, "box": (3, 4, 9, 4), "label": 0}], images("a"), ("car",))
    kept, told = fitted(known, FORMATS["voc"], "voc")
    assert (len(kept), told) == (0, ["1 objects without width or height left out: voc has none"])
    assert fitted(known, FORMATS["visdrone"], "visdrone")[1] == fitted(known, FORMATS["coco"], "coco")[1] == []
    assert fitted(replace(known, scores=np.ones(1)), FORMATS["voc"], "voc")[1] == []


def test_an_id_of_zero_is_counted_anew_and_told():
    row = {"image": 0, "box": (3, 4, 9, 9), "label": 0}
    known = annotations([row, row], images("a"), ("car",), columns={"id": np.array([0, 1])})
    kept, told = fitted(known, FORMATS["coco"], "coco")
    assert ("id" in kept.columns, told) == (
        False,
        ["ids count from 1 now: evaluators of COCO take the id 0 for no match"],
    )
    later = replace(known, columns={"id": np.array([7, 3])})
    assert fitted(later, FORMATS["coco"], "coco") == (later, [])


def test_what_classes_are_kinds_of_stays_where_all_members_agree(tmp_path):
    path, back = tmp_path / "gt.json", tmp_path / "back.json"
    kinds = {"car": "vehicle", "bus": "vehicle", "ship": "boat", "cat": "animal"}
    classes = [{"id": n, "name": name, "supercategory": kind} for n, (name, kind) in enumerate(kinds.items(), 1)]
    one = {"id": 1, "file_name": "a.png", "width": 9, "height": 9}
    path.write_text(json.dumps({"images": [one], "annotations": [], "categories": classes}))
    class_map = {"car": "road", "bus": "road", "cat": "", "ship": "sea"}
    convert_file(path, back, formats=("coco", "coco"), reading=Reading(), class_map=class_map)
    assert FORMATS["coco"].read(back, Reading()).supercategories == ("vehicle", "boat")
    truth = FORMATS["coco"].read(path, Reading())
    rules = ClassRules({"car": "any", "ship": "any"}, ignore=("cat",))
    judged, predictions, _ = class_rules.renamed(truth, truth, rules)
    assert (judged.classes, judged.supercategories) == (("any", "bus"), ("any", "vehicle"))
    assert predictions.classes == judged.classes


def test_classes_are_renamed_merged_and_dropped(tmp_path, truth_json):
    out = tmp_path / "out.json"
    result = run(truth_json, out, "--from", "coco", "--to", "coco", "--class-map", "truck=vehicle,car=vehicle,bus=")
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["categories"] == [{"id": 1, "name": "vehicle"}, {"id": 2, "name": "ignore"}]
    assert sorted(row["category_id"] for row in content["annotations"]) == [1, 1, 1, 1, 2]
    dropped = run(truth_json, tmp_path / "b.json", "--from", "coco", "--to", "coco", "--class-map", "truck=")
    assert "2 objects, 1 regions" in dropped.stderr
    unknown = run(truth_json, tmp_path / "c.json", "--from", "coco", "--to", "coco", "--class-map", "ship=boat")
    assert unknown.exit_code == 2
    assert "there is no class 'ship'; there are car, truck, bus" in unknown.stderr


def test_an_earlier_output_is_only_replaced_when_asked(tmp_path, truth_json):
    for target in ("coco", "yolo"):
        out = tmp_path / target
        reading = Reading()
        convert_file(truth_json, out, formats=("coco", target), reading=reading)
        with pytest.raises(OutputExistsError, match=f"{target}: exists already; pass --overwrite"):
            convert_file(truth_json, out, formats=("coco", target), reading=reading)
        convert_file(truth_json, out, formats=("coco", target), reading=reading, overwrite=True)
    (tmp_path / "yolo" / "labels" / "mine.txt").write_text("")
    with pytest.raises(OutputExistsError, match=r"yolo: holds 'labels/mine\.txt', which would not be written again"):
        convert_file(truth_json, tmp_path / "yolo", formats=("coco", "yolo"), reading=Reading(), overwrite=True)
    assert (tmp_path / "yolo" / "labels" / "mine.txt").exists()
    with pytest.raises(D2DetError, match="yolo: is something else than a file"):
        convert_file(truth_json, tmp_path / "yolo", formats=("coco", "coco"), reading=Reading(), overwrite=True)
    (tmp_path / "empty").mkdir()
    convert_file(truth_json, tmp_path / "empty", formats=("coco", "voc"), reading=Reading())
    assert len(list((tmp_path / "empty").rglob("*.xml"))) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_left_of_what_fails(tmp_path, truth_json):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"P1\.png: is no frame"):
        convert_file(truth_json, tmp_path / "out", formats=("coco", "uavdt"), reading=Reading())
    with pytest.raises(UsageError, match=rf"^{tmp_path}/out\.geojson: a vector file is of one scene") as caught:
        convert_file(truth_json, tmp_path / "out.geojson", formats=("coco", "vector"), reading=Reading())
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(D2DetError, match="its folder does not exist"):
        convert_file(truth_json, tmp_path / "none" / "x.json", formats=("coco", "coco"), reading=Reading())


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png"])
@pytest.mark.parametrize("target", ["coco", "voc", "yolo", "dota", "visdrone"])
def test_names_that_lead_out_are_refused(tmp_path, name, target):
    path = tmp_path / "truth.json"
    coco_write.write(annotations([], images(name), ("car",)), path)
    with pytest.raises(InputError, match=r"truth\.json: image name '.*' leads out of its folder"):
        convert_file(path, tmp_path / "out", formats=("coco", target), reading=Reading())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["truth.json"]


@pytest.mark.parametrize("name", ["./", ".", "a/", "a\x00.png", "a\x01.png", "a\n.png", "a\u2028.png", "\ud800.png"])
@pytest.mark.parametrize("target", ["coco", "voc", "yolo", "dota", "visdrone"])
def test_names_that_no_file_can_have_are_refused(tmp_path, name, target):
    path = tmp_path / "truth.json"
    content = {"images": [{"id": 1, "file_name": name, "width": 9, "height": 9}], "annotations": [], "categories": []}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"truth\.json: image name '.*' is no name of a file; rename the image"):
        convert_file(path, tmp_path / "out", formats=("coco", target), reading=Reading())
    content["images"][0]["file_name"], content["categories"] = "a.png", [{"id": 1, "name": f"x{name}\x02"}]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"truth\.json: class 'x.*' holds what no text file can hold"):
        convert_file(path, tmp_path / "out", formats=("coco", target), reading=Reading())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["truth.json"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("M0203/img000001.jpg", "M0203/img000004.jpg"), "M0203 will have 1,007 frames instead of 2"),
        (("X/img000001.jpg", "X/img000002.jpg", "X/img000003.jpg"), "X will have 2 frames instead of 3"),
        (("X/img000001.jpg", "X/img000005.jpg"), "X will have 5 frames instead of 2"),
        (("X/img000001.jpg", "X/img000002.jpg"), ""),
    ],
)
def test_frames_that_uavdt_does_not_tell_are_told(names, told):
    known = annotations([{"image": 1, "box": (1, 2, 3, 4), "label": 0}], images(*names), ("car",))
    expected = [f"UAVDT's files do not list frames: read again, {told}"] if told else []
    assert fitted(known, FORMATS["uavdt"], "uavdt")[1] == expected
    assert fitted(replace(known, scores=np.ones(1)), FORMATS["uavdt"], "uavdt")[1] == []
    assert fitted(known, FORMATS["coco"], "coco")[1] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--from", "kml", "--to", "coco"), 2, "format 'kml' cannot be read as truth; choose one of coco, dota,"),
        (("--from", "coco", "--to", "dota-task1"), 2, "format 'dota-task1' cannot be written as truth"),
        (("--from", "voc", "--to", "coco", "--results", "--truth", "x"), 2, "'voc' cannot be read as detections"),
        (("--from", "coco", "--to", "voc", "--results", "--truth", "x"), 2, "'voc' cannot be written as detections"),
        (("--from", "coco", "--to", "coco", "--results"), 2, "--results and --truth go together"),
        (("--from", "coco", "--to", "coco", "--truth", "x"), 2, "--results and --truth go together"),
        (("--from", "vector", "--to", "coco"), 2, "give --raster"),
        (("--from", "yolo", "--to", "coco"), 4, "is not a folder"),
    ],
)
def test_usage(tmp_path, truth_json, options, code, message):
    result = run(truth_json, tmp_path / "out.json", *options)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not (tmp_path / "out.json").exists()


def test_detections_without_a_truth_format_take_that_of_the_input(tmp_path, truth_json):
    found = [{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    options = ("--from", "coco", "--to", "yolo", "--results", "--truth", truth_json)
    result = run(tmp_path / "found.json", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "labels" / "P1.txt").read_text() == "0 0.0416666667 0.1 0.05 0.1 0.5\n"
    assert (tmp_path / "out" / "labels" / "d" / "P2.txt").read_text() == ""


def test_numbered_classes_get_names(tmp_path):
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    options = ("--from", "yolo", "--to", "coco", "--images", tmp_path, "--class-names", "car, boat")
    result = run(tmp_path / "rows", tmp_path / "out.json", *options)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in content["categories"]] == ["car", "boat"]
    assert content["annotations"][0]["category_id"] == 2
