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
