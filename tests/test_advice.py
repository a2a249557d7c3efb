"""Mistakes users make: each is refused or told in words that name it and what to do, before anything is lost."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image
from typer.testing import CliRunner

from d2det_cli.main import app
from d2det_geo.pipeline.predict_set_classes import Categories, unnumbered


@pytest.fixture
def d2det():
    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="d2det")
        return result.exit_code, result.stdout, " ".join(result.stderr.split())

    return run


@pytest.fixture
def coco(tmp_path):
    """Make a set of one image of 60 x 40 px and a building in it."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    return listing(tmp_path / "gt.json")


def listing(path: Path, name="building", **more) -> Path:
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 12], "area": 120, "iscrowd": 0, **more}
    images = [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    content = {"images": images, "annotations": [box], "categories": [{"id": 7, "name": name}]}
    path.write_text(json.dumps(content))
    return path


def layer(path: Path, crs="EPSG:32635", origin=(500_000.0, 6_651_000.0), **columns) -> Path:
    """Write two boxes of 10 m with these attributes."""
    shapes = shapely.box(np.array([0, 40]) + origin[0], origin[1], np.array([10, 50]) + origin[0], origin[1] + 10)
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.mark.parametrize("name", ["coco-result", "cocoresults", "yolo"])
@pytest.mark.parametrize("more", [(), ("--images", "images")])
def test_an_unknown_format_of_predictions_is_named_with_all_there_are(d2det, coco, tmp_path, name, more):
    code, _, said = d2det("predict", coco, "--out", tmp_path / "o.json", "--format", name, *more)
    assert code == 2
    assert f"--format {name}: unknown format; choose one of geojson, " in said
    assert "of image sets, one of coco-results, isaid, dota-task1" in said


def test_the_attribute_of_a_rivals_classes_may_have_another_name(d2det, tmp_path):
    truth = layer(tmp_path / "truth.gpkg", **{"class": ["roof", "tree"]})
    rival = layer(tmp_path / "rival.gpkg", kind=["roof", "tree"], score=[0.9, 0.8])
    both = ("evaluate", "--truth", truth, "--pred", rival)
    code, out, _ = d2det(*both, "--pred-class-field", "kind", "--json")
    assert (code, json.loads(out)["metrics"]["ap"]) == (0, 1.0)
    code, _, said = d2det(*both)
    assert code == 4
    assert "rival.gpkg: has no attribute 'class', only kind, score, to tell roof, tree apart" in said
    assert "--pred-class-field" in said
    code, _, said = d2det(*both, "--pred-class-field", "sort")
    assert (code, "rival.gpkg: has no attribute 'sort', only kind, score" in said) == (4, True)
    code, _, said = d2det(*both, "--protocol", "coco", "--pred-class-field", "sort")
    assert (code, "--pred-class-field names an attribute of a vector file" in said) == (2, True)


def test_files_without_attributes_are_said_to_have_none(d2det, tmp_path):
    truth = layer(tmp_path / "truth.gpkg", **{"class": ["roof", "tree"]})
    code, _, said = d2det("evaluate", "--truth", truth, "--pred", layer(tmp_path / "rival.gpkg"))
    assert (code, "rival.gpkg: has no attribute 'class', nor any other, to tell" in said) == (4, True)


def test_swapped_truth_and_predictions_are_pointed_out(d2det, tmp_path):
    truth = layer(tmp_path / "truth.gpkg")
    found = layer(tmp_path / "found.gpkg", score=[0.9, 0.8])
    _, _, said = d2det("evaluate", "--truth", found, "--pred", truth)
    assert "found.gpkg: has scores, and the predictions have none; are the two swapped?" in said
    for pred in (found, truth):
        assert "the two swapped" not in d2det("evaluate", "--truth", truth, "--pred", pred)[2]


def test_convert_does_not_write_over_what_it_reads(d2det, coco, tmp_path):
    before = coco.read_bytes()
    code, _, said = d2det("convert", coco, coco, "--from", "coco", "--to", "coco", "--overwrite")
    assert (code, coco.read_bytes() == before) == (2, True)
    assert "gt.json: is the input, which would be replaced; give another path for the output" in said
    code, _, said = d2det("convert", coco, tmp_path, "--from", "coco", "--to", "yolo", "--overwrite")
    assert (code, "holds the input, which would be replaced" in said) == (2, True)
    (tmp_path / "gt2.json").symlink_to(coco)
    assert d2det("convert", coco, tmp_path / "gt2.json", "--from", "coco", "--to", "coco", "--overwrite")[0] == 2


def test_a_scene_without_georeference_is_said_to_lack_it(d2det, coco, tmp_path):
    truth = layer(tmp_path / "truth.gpkg")
    code, _, said = d2det("evaluate", "--truth", truth, "--pred", truth, "--scene", coco.parent / "images" / "a.png")
    assert (code, "a.png: has no georeference, and the files compared have one; give files" in said) == (4, True)


@pytest.mark.parametrize("swapped", [False, True])
def test_coordinates_that_may_be_degrees_are_not_taken_for_pixels(d2det, tmp_path, swapped):
    degrees = {"crs": "EPSG:4326", "origin": (20.0, 40.0)}
    known = layer(tmp_path / "known.geojson", score=[0.9, 0.8], **degrees)
    with pytest.warns(UserWarning, match="crs"):
        bare = layer(tmp_path / "bare.gpkg", score=[0.9, 0.8], **degrees | {"crs": None})
    truth, pred = (bare, known) if swapped else (known, bare)
    code, _, said = d2det("evaluate", "--truth", truth, "--pred", pred)
    assert code == 4
    assert "bare.gpkg: has no CRS, and its coordinates may be longitude and latitude like those of" in said
    assert "write it with its CRS" in said


def split_of(folder: Path, *others: str) -> Path:
    for name in ("images", *others):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(folder / "images" / "P0001.png")
    return folder


def test_a_split_with_other_labels_is_not_cut_as_one_without(d2det, tmp_path):
    dota = split_of(tmp_path / "dota", "labelTxt")
    code, _, said = d2det("tile", dota, "-o", tmp_path / "out", "--devkit", "isaid")
    assert (code, "labelTxt: holds labels of DOTA" in said, "use --devkit dota" in said) == (4, True, True)
    isaid = split_of(tmp_path / "isaid", "Annotations")
    (isaid / "Annotations" / "iSAID_train.json").write_text("{}")
    code, _, said = d2det("tile", isaid, "-o", tmp_path / "out", "--devkit", "isaid")
    assert (code, "iSAID_train.json: the images have labels, but there are no maps; give" in said) == (4, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("devkit", "what"), [("isaid", "maps of instances"), ("dota", "labelTxt")])
def test_chips_without_annotations_are_told(d2det, tmp_path, devkit, what):
    code, _, said = d2det("tile", split_of(tmp_path / "set"), "-o", tmp_path / "out", "--devkit", devkit)
    assert (code, f"set: has no {what}; its chips have no annotations" in said) == (0, True)


def test_what_to_do_with_a_set_is_said_once(d2det, coco, tmp_path):
    code, _, said = d2det("tile", coco, "-o", tmp_path / "out", "--from", "coco", "--devkit", "dota")
    assert (code, "--devkit dota and --from coco: both say how to read the set; leave out one" in said) == (2, True)
    for source in (coco, coco.parent):
        code, _, said = d2det("tile", source, "-o", tmp_path / "out")
        assert (code, "is no scene; of a data set, say how to read it: --from FORMAT" in said) == (2, True)


TRAINING = """\
classes: [building]
bundle: {{name: tiny}}
data: {{train: [{{kind: dataset, {source}}}]}}
model: {{masks: false}}
run: {{steps: 1, batch_size: 1}}
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("format: coco, path: gt.json, imges: images", "data.train.0.imges: no such key; did you mean images?"),
        ("format: coco, path: gt.json, xyz: 1", "data.train.0.xyz: no such key; there are kind, format, path, images"),
        ("format: coco", "data.train.0.path: is missing; give it"),
        ("format: uavdr, path: GT", "data.train.0.format: is 'uavdr'; choose 'coco', 'dota'"),
    ],
)
def test_a_mistake_in_a_configuration_is_named_by_its_key(d2det, tmp_path, source, message):
    (tmp_path / "run.yaml").write_text(TRAINING.format(source=source))
    code, _, said = d2det("train", tmp_path / "run.yaml", "--out", tmp_path / "out")
    assert code == 2
    assert f"run.yaml: {message}" in said
    assert "Extra inputs" not in said
    assert "Tuple" not in said


def test_no_sources_are_told(d2det, tmp_path):
    (tmp_path / "run.yaml").write_text(TRAINING.replace("[{{kind: dataset, {source}}}]", "[]").format())
    code, _, said = d2det("train", tmp_path / "run.yaml", "--out", tmp_path / "out")
    assert (code, "run.yaml: data.train: is empty, got []; give at least 1" in said) == (2, True)


def test_a_class_without_place_is_named_by_its_image(d2det, coco, tmp_path):
    listing(coco, name="shed")
    (tmp_path / "run.yaml").write_text(TRAINING.format(source="format: coco, path: gt.json, images: images"))
    code, _, said = d2det("train", tmp_path / "run.yaml", "--out", tmp_path / "out")
    assert (
        code,
        "gt.json: annotations[0] (of image a.png): class 'shed' is not one of the model's (building)" in said,
    ) == (4, True)


@pytest.mark.parametrize("name", ["probabilit", "prob"])
def test_scores_under_cut_names_are_scores(d2det, tmp_path, name):
    truth = layer(tmp_path / "truth.gpkg")
    found = layer(tmp_path / "found.shp", **{name: [0.9, 0.8]})
    _, out, said = d2det("evaluate", "--truth", truth, "--pred", found, "--json")
    assert f"{name!r} is taken for it" in said
    assert json.loads(out)["metrics"]["score_threshold"] == 0.8


@pytest.mark.parametrize(("target", "own"), [("visdrone", "VisDrone"), ("uavdt", "UAVDT")])
def test_a_class_a_format_lacks_is_to_be_mapped(d2det, coco, tmp_path, target, own):
    code, _, said = d2det("convert", coco, tmp_path / "out", "--from", "coco", "--to", target)
    assert (code, f"class 'building' has no category in {own} (" in said) == (4, True)
    assert "rename it with --class-map building=..., or drop it with --class-map building=" in said


def test_images_beside_annotations_of_visdrone_are_used(d2det, coco, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.txt").write_text("1,2,10,12,1,4,0,0\n")
    convert = ("--from", "visdrone", "--to", "yolo")
    for source, out in ((tmp_path / "annotations", "one"), (tmp_path, "two")):
        assert d2det("convert", source, tmp_path / out, *convert)[0] == 0
    (tmp_path / "images").rename(tmp_path / "pictures")
    code, _, said = d2det("convert", tmp_path, tmp_path / "three", *convert)
    assert (code, "its size is not known, of which YOLO rows are shares; give --images DIR" in said) == (4, True)


def test_a_row_of_dota_short_of_a_number_has_its_columns_counted(d2det, tmp_path):
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "labelTxt" / "P1.txt").write_text("1 2 3 4 5 6 7 plane 0\n")
    code, _, said = d2det("convert", tmp_path, tmp_path / "out.json", "--from", "dota", "--to", "coco")
    assert (code, "P1.txt:1: y4 is 'plane'; give a finite number (the row has 9 columns of x1, " in said) == (4, True)


def test_sides_are_written_without_the_rest_of_subtracting(d2det, coco, tmp_path):
    listing(coco, name="car", bbox=[1.1, 2.2, 2.78, 3.3])
    assert d2det("convert", coco, tmp_path / "out", "--from", "coco", "--to", "visdrone")[0] == 0
    assert (tmp_path / "out" / "annotations" / "a.txt").read_text() == "1.1,2.2,2.78,3.3,1,4,0,0\n"


def test_classes_without_number_in_uavdt_are_told():
    said = unnumbered(Categories((1, 2), ("building", "car")), "uavdt")
    assert said[0].startswith("building: no class of UAVDT (car, truck, bus), written as category -1")
    assert unnumbered(Categories((1,), ("Bus",)), "uavdt") == unnumbered(Categories((1,), ("roof",)), "visdrone") == ()


def test_a_report_is_html(d2det, tmp_path):
    truth = layer(tmp_path / "truth.gpkg")
    code, _, said = d2det("evaluate", "--truth", truth, "--pred", truth, "--report", tmp_path / "r.pdf")
    assert (code, "r.pdf: the page is HTML; call it r.html" in said, (tmp_path / "r.pdf").exists()) == (2, True, False)


def test_an_empty_annotation_of_voc_is_none(d2det, tmp_path):
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "a.xml").write_text("<annotation></annotation>")
    code, _, said = d2det("convert", tmp_path / "voc", tmp_path / "out.json", "--from", "voc", "--to", "coco")
    assert (code, "a.xml:1: <annotation> is empty; give it a <filename>" in said) == (4, True)


@pytest.mark.parametrize(("difficult", "told"), [(0, False), (1, True)])
def test_difficult_is_only_missed_where_there_was_some(d2det, tmp_path, difficult, told):
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "labelTxt" / "P1.txt").write_text(f"1 2 9 2 9 8 1 8 plane {difficult}\n")
    code, _, said = d2det("convert", tmp_path, tmp_path / "out.json", "--from", "dota", "--to", "coco")
    assert (code, "difficult left out" in said) == (0, told)
