"""Pascal VOC: inclusive corners from 1, difficult objects, and XML that means harm."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from d2det_geo.data.formats import voc
from d2det_geo.data.formats.reading import Reading
from d2det_geo.errors import InputError
from tests.annotation_sets import annotations, assert_same, images, sets

OBJECT = """<object><name>car</name><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""
SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def car(*corners, difficult=0):
    return OBJECT.format(*corners, difficult=difficult)


@pytest.fixture
def folder(tmp_path):
    def make(**files):
        for stem, content in files.items():
            path = tmp_path / "xml" / f"{stem.replace('__', '/')}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"<annotation>\n{content}\n</annotation>")
        return tmp_path / "xml"

    return make


def test_truth_by_hand(folder):
    path = folder(
        a10=f"<filename>a10.jpg</filename>{SIZE}{car(1, 1, 60, 40)}{car('2.5', 3, 7, 3, difficult=1)}",
        a2=f"<folder>x</folder><filename>C:\\photos\\a2.png</filename>{SIZE}",
        sub__b=SIZE + car(5, 5, 5, 5).replace("car", "boat"),
    )
    found = voc.read(path, Reading())
    assert found.images.names.tolist() == ["a2.png", "a10.jpg", "sub/b"]
    assert found.images.sizes.tolist() == [[60, 40]] * 3
    assert found.classes == ("boat", "car")
    assert found.image.tolist() == [1, 1, 2]
    assert found.boxes.tolist() == [[0, 0, 60, 40], [1.5, 2, 7, 3], [4, 4, 5, 5]]
    assert found.labels.tolist() == [1, 1, 0]
    assert found.ignored.tolist() == [False, True, False]
    assert found.columns["difficult"].tolist() == [0, 1, 0]
    assert voc.read(path, Reading(class_names=("car", "boat", "tree"))).classes == ("car", "boat", "tree")
    with pytest.raises(InputError, match=r"image sub/b: class 'boat' is not one of car"):
        voc.read(path, Reading(class_names=("car",)))


def test_names_and_sizes_come_from_the_images(folder, tmp_path):
    Image.new("L", (31, 17)).save(tmp_path / "a.png")
    path = folder(a=car(1, 1, 2, 2))
    found = voc.read(path, Reading(images=tmp_path))
    assert (found.images.names.tolist(), found.images.sizes.tolist()) == (["a.png"], [[31, 17]])
    assert voc.read(path, Reading()).images.sizes.tolist() == [[0, 0]]


def test_a_folder_that_holds_annotations(folder, tmp_path):
    path = folder(a=SIZE)
    path.rename(tmp_path / "Annotations")
    assert len(voc.read(tmp_path, Reading()).images) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (car(5, 5, 4, 9), r":4: xmax and ymax must not be less than xmin and ymin"),
        (car("nan", 5, 4, 9), r":4: xmin must be a number of px, got 'nan'"),
        (car("", 5, 4, 9), r":4: xmin must be a number of px, got ''"),
        (car(5, "1e400", 4, 9), r":4: ymin must be a number of px"),
        (car(5, 5, 9, 9, difficult=2), r":3: difficult must be 0 or 1, got '2'"),
        ("<object><name>car</name></object>", r":3: an object has no bndbox"),
        ("<object><name> </name><bndbox/></object>", r":3: an object has no name"),
        ("<object><name>car</name><bndbox><xmin>3</xmin></bndbox></object>", r":3: ymin must be a number"),
        ("<size><width>-6</width><height>40</height></size>", r":3: size must be whole numbers of px, got -6 x 40"),
        ("<size><width>6.5</width><height>40</height></size>", r":3: size must be whole numbers"),
        ("<size><width>6</width></size>", r":3: height must be a number"),
        ("<object>", r":4: is not whole XML \(mismatched tag\)"),
        ("&nbsp;", r":3: is not whole XML \(undefined entity\)"),
    ],
)
def test_wrong_files_are_named(folder, content, message):
    path = folder(good=SIZE, wrong=f"<folder/>\n{content}")
    with pytest.raises(InputError, match=rf"wrong\.xml{message}") as caught:
        voc.read(path, Reading())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.xml:1: is not whole XML \(no element found\)"),
        ("<annotation><object>", r"a\.xml:1: is not whole XML \(no element found\)"),
        ("<kml/>", r"a\.xml:1: is <kml>, not a VOC <annotation>"),
        (
            '\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>',
            r":2: has a document",
        ),
        ('<!DOCTYPE a SYSTEM "http://localhost/x.dtd"><annotation/>', r":1: has a document type"),
        ('<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotation>&z;</annotation>', r":1: has a document type"),
    ],
)
def test_files_that_are_not_voc(folder, text, message):
    path = folder(a="")
    (path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        voc.read(path, Reading())


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "no-such"])
def test_encodings_nobody_can_read(folder, encoding):
    path = folder(a="")
    (path / "a.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?>\n<annotation/>')
    with pytest.raises(InputError, match=r"a\.xml:1: (its encoding cannot be read|is not whole XML)"):
        voc.read(path, Reading())


def test_folders_of_images_are_listed_once(folder, tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "b.png", "b.txt"):
        Image.new("L", (3, 2)).save(tmp_path / name) if name != "b.txt" else (tmp_path / name).write_text("")
    path = folder(a="", b="", c="")
    listed, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda *given: listed.append(given[0]) or glob(*given))
    with pytest.raises(InputError, match="c: cannot be read as an image"):
        voc.read(path, Reading(images=tmp_path))
    assert listed.count(tmp_path) == 1
    (path / "c.xml").unlink()
    assert voc.read(path, Reading(images=tmp_path)).images.names.tolist() == ["a.png", "b.jpg"]


def test_missing_and_repeated(folder, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        voc.read(tmp_path / "none", Reading())
    with pytest.raises(InputError, match=r"holds no \.xml file"):
        voc.read(tmp_path, Reading())
    path = folder(a="<filename>x.png</filename>", b="<filename>x.png</filename>")
    with pytest.raises(InputError, match=r"b\.xml: image 'x\.png' is that of a\.xml, too"):
        voc.read(path, Reading())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(truth=sets())
def test_truth_comes_back(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("voc") / "out"
    voc.write(truth, folder)
    back = voc.read(folder, Reading(class_names=truth.classes))
    if back.images.names.tolist() == truth.images.names.tolist():
        assert_same(back, truth, 1e-6)
    assert sorted(back.images.names) == sorted(truth.images.names)
    assert sorted(back.ignored) == sorted(truth.ignored)


def test_whole_px_are_written_whole(tmp_path):
    rows = [{"image": 0, "box": (0, 0, 60, 40), "label": 0}, {"image": 0, "box": (1.5, 2, 7.25, 3), "label": 0}]
    voc.write(annotations(rows, images("a.png"), ("car",)), tmp_path / "out")
    text = (tmp_path / "out" / "a.xml").read_text()
    assert "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>" in text
    assert "<bndbox><xmin>2.5</xmin><ymin>3</ymin><xmax>7.25</xmax><ymax>3</ymax></bndbox>" in text


def test_names_that_lead_out_are_refused(tmp_path):
    with pytest.raises(InputError, match="leads out of"):
        voc.write(annotations([], images("../x.png"), ("car",)), tmp_path / "out")
    assert not (tmp_path / "x.xml").exists()
