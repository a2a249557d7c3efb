"""UAVDT's files: the columns and traps of the specification, both packagings, every bad line named, round trips."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2det_geo.annotations import REGION, Annotations, Images
from d2det_geo.data.formats.reading import Reading
from d2det_geo.data.formats.registry import format_named
from d2det_geo.data.formats.tables import Layout, _read_lines, read_table
from d2det_geo.data.formats.uavdt import read, read_results, split_of
from d2det_geo.data.formats.uavdt_layout import frame_file, frame_of
from d2det_geo.data.formats.uavdt_remarks import remarks
from d2det_geo.data.formats.uavdt_sequences import LENGTHS, TEST, TRAIN, listed_attributes
from d2det_geo.data.formats.uavdt_write import write, write_results
from d2det_geo.errors import InputError
from d2det_geo.pipeline.evaluate import evaluate_files

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def gt(tmp_path):
    """Two sequences that are not the benchmark's, in the real lines of the specification."""
    folder = tmp_path / "GT"
    put(folder / "S1_gt_whole.txt", "1,1,141,147,106,45,1,1,3", "4,30,536,220,17,23,1,1,2", "2,8,0,296,32,21,2,2,1")
    put(folder / "S1_gt_ignore.txt", "1,9,914,189,105,54,1,-1,-1")
    put(folder / "S10_gt_whole.txt", "2,1,5,6,7,8,3,4,1")
    put(folder / "S10_gt_ignore.txt")
    put(folder / "S1_gt.txt", "1,1,141,147,106,45,1,1,-1")
    return folder


def test_the_lines_of_the_specification(gt):
    truth = read(gt, Reading())
    assert truth.classes == ("car", "truck", "bus")
    assert list(truth.images.names) == [f"S1/img00000{n}.jpg" for n in (1, 2, 3, 4)] + [
        f"S10/img00000{n}.jpg" for n in (1, 2)
    ]
    assert truth.images.groups.tolist() == ["S1"] * 4 + ["S10"] * 2
    assert truth.images.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert truth.images.sizes.tolist() == [[0, 0]] * 6
    assert truth.image.tolist() == [0, 3, 1, 0, 5]
    assert truth.boxes[:2].tolist() == [[141, 147, 247, 192], [536, 220, 553, 243]]
    assert truth.boxes[3].tolist() == [914, 189, 1019, 243]
    assert truth.labels.tolist() == [2, 1, 0, REGION, 0]
    assert truth.ignored.tolist() == [False, False, False, True, False]
    assert truth.columns["target_id"].tolist() == [1, 30, 8, 9, 1]
    assert truth.columns["out_of_view"].tolist() == [1, 1, 2, 0, 3]
    assert truth.columns["occlusion"].tolist() == [1, 1, 2, 0, 4]
    assert truth.scores is None
    assert truth.images.tags == {}


def test_the_table_of_sequences():
    assert (len(TRAIN), sum(TRAIN.values()), len(TEST), sum(TEST.values())) == (30, 24_143, 20, 16_592)
    assert (LENGTHS["M0603"], LENGTHS["M1401"]) == (2035, 1050)
    assert listed_attributes("M0209") == {"daylight", "low", "front", "side", "long-term"}
    assert all(listed_attributes(name) & {"daylight", "night", "fog"} for name in TEST)
    assert all(len(listed_attributes(name) & {"low", "medium", "high"}) == 1 for name in TEST)
    assert not listed_attributes("M0101")


@pytest.mark.parametrize("inside", ["", "GT", "UAV-benchmark-MOTD_v1.0/GT"])
def test_the_folder_is_found_from_the_root(tmp_path, inside):
    put(tmp_path / inside / "M0203_gt_whole.txt", "1,1,1,2,3,4,1,1,1")
    truth = read(tmp_path, Reading())
    assert len(truth.images) == 1007  # the benchmark's length, though only frame 1 is annotated
    assert truth.images.tags["night"].all()
    assert not truth.images.tags["daylight"].any()


def test_attribute_files_beside_one_with_a_space(tmp_path):
    gt = tmp_path / "UAV-benchmark-MOTD_v1.0" / "GT"
    for name in ("M0701", "M0208", "X1"):
        put(gt / f"{name}_gt_whole.txt", "1,1,1,2,3,4,1,1,1")
    put(tmp_path / "M_attr" / "test" / "M0701 _attr.txt", "0,1,0,0,0,1,0,0,1,0")
    put(tmp_path / "M_attr" / "train" / "X1_attr.txt", "1,0,0,1,0,0,1,1,0,1,")
    images = read(gt, Reading()).images
    first = {
        name: next(i for i, group in enumerate(images.groups) if group == name) for name in ("M0701", "M0208", "X1")
    }
    having = {name: {tag for tag in images.tags if images.tags[tag][row]} for name, row in first.items()}
    assert having["M0701"] == {"night", "high", "bird"}  # the file counts, not the toolkit's list
    assert having["M0208"] == {"daylight", "medium", "front"}  # no file: as the toolkit lists it
    assert having["X1"] == {"daylight", "low", "front", "side", "long-term"}


def test_a_wrong_attribute_file_is_named(tmp_path):
    put(tmp_path / "GT" / "X1_gt_whole.txt", "1,1,1,2,3,4,1,1,1")
    file = put(tmp_path / "M_attr" / "test" / "X1_attr.txt", "0,0,2,0,0,1,0,0,1,0")
    with pytest.raises(InputError, match=r"X1_attr.txt:1: fog is 2; give a whole number from 0 to 1"):
        read(tmp_path, Reading())
    file.write_text("")
    with pytest.raises(InputError, match=r"X1_attr.txt: has 0 lines; give one"):
        read(tmp_path, Reading())


def test_one_part_of_the_benchmark(tmp_path):
    for name in ("M0101", "M0203", "M0208"):
        put(tmp_path / f"{name}_gt_whole.txt", "1,1,1,2,3,4,1,1,1")
    assert set(read(tmp_path, Reading(split="test")).images.groups) == {"M0203", "M0208"}
    assert set(read(tmp_path, Reading(split="train")).images.groups) == {"M0101"}
    (tmp_path / "M0101_gt_whole.txt").unlink()
    with pytest.raises(InputError, match="holds no train sequence"):
        read(tmp_path, Reading(split="train"))


@pytest.mark.parametrize(
    ("truth", "results", "split"),
    [
        ("M0101 M0203", "M0203", "test"),
        ("M0101 M0203 M0208", "", "test"),
        ("M0101 M0203", "M0101", "train"),
        ("M0101 M0203", "M0101 M0203", None),
        ("M0203 M0208", "M0203", None),
        ("M0101 X1", "X1", None),
    ],
)
def test_the_part_that_is_judged(tmp_path, truth, results, split):
    for name in truth.split():
        put(tmp_path / "GT" / f"{name}_gt_whole.txt")
    for name in results.split():
        put(tmp_path / "res" / f"{name}.txt")
    assert split_of(tmp_path, tmp_path / "res") == split


@pytest.mark.parametrize("layout", ["{0}", "{0}/img1", "UAV-benchmark-M/{0}"])
def test_both_packagings_of_frames(gt, tmp_path, layout):
    for name, size in (("S1", (10, 6)), ("S10", (9, 5))):
        for frame in (1, 5):
            path = tmp_path / "frames" / layout.format(name) / f"img{frame:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(path)
    images = read(gt, Reading(images=tmp_path / "frames")).images
    assert images.names[4] == "S1/img000005.jpg"  # a frame that is there, though no file speaks of it
    assert images.sizes.tolist() == [[10, 6]] * 5 + [[9, 5]] * 5
    found = frame_file(tmp_path / "frames", images.names[4])
    assert found == tmp_path / "frames" / layout.format("S1") / "img000005.jpg"
    with pytest.raises(InputError, match=r"img000002.jpg: is missing"):
        frame_file(tmp_path / "frames", "S1/img000002.jpg")


def test_missing_frames_are_named(gt, tmp_path):
    (tmp_path / "frames").mkdir()
    with pytest.raises(InputError, match=r"frames.S1: holds no frames"):
        read(gt, Reading(images=tmp_path / "frames"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("M0203/img000001.jpg", ("M0203", 1)),
        ("a/b/M0203/img1/img000012.jpg", ("M0203", 12)),
        ("M0203_img000003.jpg", ("M0203", 3)),
        ("P0001.png", None),
    ],
)
def test_names_of_frames(name, parts):
    assert frame_of(name) == parts


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,1,5,6,7,8,1,1", "has 8 columns; give 9: frame, target_id, left"),
        ("1,1,5,6,7,8,1,1,1,1", "has 10 columns; give 9"),
        ("1 1 5 6 7 8 1 1 1", "has 1 columns; give 9"),
        ("1,1,5,six,7,8,1,1,1", "top is 'six'; give a finite number"),
        ("1,1,5,,7,8,1,1,1", "top is ''; give a finite number"),
        ("1,1,nan,6,7,8,1,1,1", "left is 'nan'; give a finite number"),
        ("1,1,5,6,inf,8,1,1,1", "width is 'inf'; give a finite number"),
        ("1,1,5,6,1_0,8,1,1,1", "width is '1_0'; give a finite number"),
        ("1,1,5,6,1e999,8,1,1,1", "width is '1e999'; give a finite number"),
        ("1,1,5,6,0,8,1,1,1", "width is 0; give more than 0 px"),
        ("1,1,5,6,7,-8,1,1,1", "height is -8; give more than 0 px"),
        ("0,1,5,6,7,8,1,1,1", "frame is 0; give a whole number from 1 to 1007"),
        ("1.5,1,5,6,7,8,1,1,1", "frame is 1.5; give a whole number from 1 to 1007"),
        ("1008,1,5,6,7,8,1,1,1", "frame is 1008; give a whole number from 1 to 1007"),
        ("1,1,5,6,7,8,1,1,4", "category is 4; give a whole number from 1 to 3"),
        ("1,1,5,6,7,8,1,1,0", "category is 0; give a whole number from 1 to 3"),
    ],
)
def test_each_bad_line_is_named(tmp_path, line, said):
    file = put(tmp_path / "M0203_gt_whole.txt", "1,1,5,6,7,8,1,1,1", "", line, "2,1,5,6,7,8,1,1,1")
    with pytest.raises(InputError) as caught:
        read(tmp_path, Reading())
    assert str(caught.value).startswith(f"{file}:3: {said}")


def test_bad_ignore_regions_are_named(tmp_path):
    put(tmp_path / "X_gt_whole.txt", "1,1,5,6,7,8,1,1,1")
    file = put(tmp_path / "X_gt_ignore.txt", "1,1,5,6,-7,8,1,-1,-1")
    with pytest.raises(InputError, match=r"X_gt_ignore.txt:1: width is -7"):
        read(tmp_path, Reading())
    file.write_text("1,1,5\n")
    with pytest.raises(InputError, match=r"X_gt_ignore.txt:1: has 3 columns; give 6 or more"):
        read(tmp_path, Reading())


def test_a_region_may_be_of_no_size(tmp_path):
    put(tmp_path / "X_gt_whole.txt")
    put(tmp_path / "X_gt_ignore.txt", "1,1,5,6,0,8,1,-1,-1")
    assert read(tmp_path, Reading()).boxes.tolist() == [[5, 6, 5, 14]]


def test_what_is_no_folder_of_truth(tmp_path):
    with pytest.raises(InputError, match="nothing: is not a folder"):
        read(tmp_path / "nothing", Reading())
    put(tmp_path / "M0203_gt.txt", "1,1,5,6,7,8,1,1,-1")
    with pytest.raises(InputError, match=r"holds no file named like M0203_gt_whole.txt"):
        read(tmp_path, Reading())
    (tmp_path / "M0203_gt_whole.txt").write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match=r"M0203_gt_whole.txt: is not text in UTF-8"):
        read(tmp_path, Reading())


def test_line_ends_blanks_and_trailing_commas_are_fine(tmp_path):
    plain = ["1,1,5,6,7,8,1,1,1", "2,2,9,8,7,6.5,1,1,2"]
    texts = [
        "\n".join(plain),
        "\r\n".join(plain) + "\r\n\r\n",
        ",\n".join(plain) + ",\n",
        "\ufeff" + plain[0].replace(",", " , ") + " \n \n\t" + plain[1] + " ,\n\n",
        "+" + plain[0] + "\n" + plain[1].replace("6.5", "65e-1"),
    ]
    for text in texts:
        (tmp_path / "X_gt_whole.txt").write_bytes(text.encode())
        truth = read(tmp_path, Reading())
        assert truth.image.tolist() == [0, 1], text
        assert truth.boxes.tolist() == [[5, 6, 12, 14], [9, 8, 16, 14.5]], text


def test_an_empty_truth_is_a_truth(tmp_path):
    put(tmp_path / "X_gt_whole.txt")
    put(tmp_path / "M0208_gt_whole.txt")
    truth = read(tmp_path, Reading())
    assert len(truth) == 0
    assert len(truth.images) == 265
    found = read_results(put(tmp_path / "res" / "M0208.txt").parent, truth, Reading())
    assert len(found) == 0
    assert found.scores.shape == (0,)


def test_detections_by_hand(gt, tmp_path):
    truth = read(gt, Reading())
    put(tmp_path / "res" / "S1.txt", "4,-1,1.5,2,3,4,0.25,1,2", "1,-1,1,2,3,4,0.5", "1,-1,1,2,3,4,1e-3,1,-1,7,7")
    reading = Reading()
    found = read_results(tmp_path / "res", truth, reading)
    assert found.images is truth.images
    assert found.classes == truth.classes
    assert found.image.tolist() == [3, 0, 0]
    assert found.boxes[0].tolist() == [1.5, 2, 4.5, 6]
    assert found.scores.tolist() == [0.25, 0.5, 0.001]
    assert found.labels.tolist() == [1, 0, 0]
    assert found.columns["category_known"].tolist() == [True, False, False]
    assert reading.notices == [
        f"{tmp_path / 'res'}: has no file of S10; nothing was found there",
        f"{tmp_path / 'res'}: 2 detections have no category, or none of the truth's; "
        "they count where classes are pooled, and as car elsewhere",
    ]


def test_detections_take_the_classes_of_the_truth(gt, tmp_path):
    truth = read(gt, Reading())
    other = Annotations(truth.images, ("bus", "van"), truth.image, truth.boxes, truth.labels * 0, truth.ignored)
    put(tmp_path / "res" / "S1.txt", "1,-1,1,2,3,4,0.5,1,3", "1,-1,1,2,3,4,0.5,1,1")
    found = read_results(tmp_path / "res", other, Reading())
    assert found.labels.tolist() == [0, 0]
    assert found.columns["category_known"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5,-1,1,2,3,4,0.5,1,1", "frame 5 is not in the truth; S1 ends with frame 4"),
        ("0,-1,1,2,3,4,0.5,1,1", "frame 0 is not in the truth"),
        ("1,-1,1,2,3,4", "has 6 columns; give 7 or more: frame"),
        ("1,-1,1,2,3,4,nan,1,1", "score is 'nan'; give a finite number"),
        ("1,-1,1,2,3,-1,0.5,1,1", "height is -1; give 0 or more px"),
        ("1.2,-1,1,2,3,4,0.5,1,1", "frame is 1.2; give a whole number of at least 0"),
    ],
)
def test_each_bad_detection_is_named(gt, tmp_path, line, said):
    file = put(tmp_path / "res" / "S1.txt", "1,-1,1,2,3,4,0.5,1,1", line)
    with pytest.raises(InputError) as caught:
        read_results(tmp_path / "res", read(gt, Reading()), Reading())
    assert str(caught.value).startswith(f"{file}:2: {said}")


def test_detections_may_be_of_no_size(gt, tmp_path):
    put(tmp_path / "res" / "S1.txt", "1,-1,141,147,0,45,0.9,1,3", "1,-1,141,147,106,45,0.5,1,3", "1,-1,920,190,0,0,0.7")
    found = read_results(tmp_path / "res", read(gt, Reading()), Reading())
    assert found.boxes[:, 2:].tolist() == [[141, 192], [247, 192], [920, 190]]
    outcome = evaluate_files(gt, tmp_path / "res", protocol="uavdt")
    assert (outcome.counts["predictions"], outcome.counts["predictions_ignored"]) == (2, 1)


def test_a_frame_number_is_bounded(tmp_path):
    file = put(tmp_path / "X_gt_whole.txt", "1,1,5,6,7,8,1,1,1", "1000000,1,5,6,7,8,1,1,1")
    put(tmp_path / "X_gt_ignore.txt")
    with pytest.raises(InputError, match=rf"{file}:2: frame is 1000000; give a whole number from 1 to 999999"):
        read(tmp_path, Reading())
    assert frame_of("X/img30000000.jpg") is None
    assert frame_of("X/img0000000001.jpg") == ("X", 1)


def test_attributes_do_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    put(tmp_path / "GT" / "X_gt_whole.txt", "1,1,5,6,7,8,1,1,1")
    put(tmp_path / "M_attr" / "train" / "X_attr.txt", "1,0,0,0,0,0,0,0,0,0")
    for folder, path in ((tmp_path, "GT"), (tmp_path / "GT", "."), (tmp_path / "M_attr", "../GT"), (tmp_path, ".")):
        monkeypatch.chdir(folder)
        assert read(Path(path), Reading()).images.tags["daylight"].tolist() == [True]


def test_images_that_are_the_same_frame_are_refused(tmp_path):
    names = np.array(["siteA/day/img000001.jpg", "siteB/day/img000001.jpg"], dtype=object)
    images = Images(names, np.array([1, 2]), np.zeros((2, 2), dtype=np.int64))
    one = (np.array([0]), np.array([[1.0, 2, 3, 4]]), np.array([0]), np.array([False]))
    for way, scores in ((write, None), (write_results, np.ones(1))):
        with pytest.raises(InputError, match=r"siteB/day/img000001.jpg: is frame 1 of day like siteA/day/img000001"):
            way(Annotations(images, ("car",), *one, scores=scores), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_detections_of_what_is_not_there(gt, tmp_path):
    truth = read(gt, Reading())
    put(tmp_path / "res" / "S2.txt", "1,-1,1,2,3,4,0.5,1,1")
    with pytest.raises(InputError, match=r"S2.txt:1: the truth has no sequence 'S2'"):
        read_results(tmp_path / "res", truth, Reading())
    with pytest.raises(InputError, match=r"GT.nothing: is not a folder; give the folder of one detector"):
        read_results(gt / "nothing", truth, Reading())
    images = Images(np.array(["a.png"], dtype=object), np.array([1]), np.zeros((1, 2), dtype=np.int64))
    none = Annotations(
        images, ("car",), *(np.zeros(s, d) for s, d in (((0,), int), ((0, 4), float), ((0,), int), ((0,), bool)))
    )
    with pytest.raises(InputError, match=r"a.png: is no frame of a UAVDT sequence"):
        read_results(tmp_path / "res", none, Reading())


def test_remarks(tmp_path):
    for name in ("M0203", "M0209"):
        frames = [n for n in range(1, LENGTHS[name] + 1) if name != "M0203" or not 831 <= n <= 842]
        put(tmp_path / f"{name}_gt_whole.txt", *(f"{n},1,1,1,5,5,1,1,1" for n in frames))
    reading = Reading()
    (said,) = remarks(read(tmp_path, reading))
    assert said.startswith("Of the test split the truth lacks M0205, M0208, M0403")
    assert said.endswith("and 12 more: numbers compare with none published.")
    assert reading.notices == [
        "Frames without objects count as such: M0203 is annotated in 995 of 1,007 frames.",
        "Ignore regions, which the released files have, are missing in M0203.",  # that of M0209 is empty
    ]
    put(tmp_path / "M0101_gt_whole.txt", "1,1,1,1,5,5,1,1,1")
    assert "training sequences, which published numbers leave out: M0101" in " ".join(
        remarks(read(tmp_path, Reading()))
    )


def test_a_whole_test_split_has_nothing_to_remark(tmp_path):
    for name, length in TEST.items():
        put(tmp_path / f"{name}_gt_whole.txt", *(f"{n},1,1,1,5,5,1,1,1" for n in range(1, length + 1)))
        put(tmp_path / f"{name}_gt_ignore.txt", "1,1,1,1,5,5,1,-1,-1")
    reading = Reading()
    assert remarks(read(tmp_path, reading)) == ()
    assert reading.notices == []


def frames_of(*sequences, count=3):
    names = [f"{name}/img{frame:06d}.jpg" for name in sequences for frame in range(1, count + 1)]
    groups = np.repeat(np.array(sequences, dtype=object), count)
    return Images(
        np.array(names, dtype=object), np.arange(1, len(names) + 1), np.zeros((len(names), 2), dtype=np.int64), groups
    )


@st.composite
def objects(draw, scored):
    images = frames_of("A1", "A2")
    count = draw(st.integers(0, 12))
    floats = st.floats(0, 2000, width=32)
    corner = np.array(draw(st.lists(st.tuples(floats, floats), min_size=count, max_size=count))).reshape(count, 2)
    sides = st.floats(0.5, 500, width=32)
    size = np.array(draw(st.lists(st.tuples(sides, sides), min_size=count, max_size=count))).reshape(count, 2)

    def whole(low, high):
        values = st.lists(st.integers(low, high), min_size=count, max_size=count)
        return np.array(draw(values), dtype=np.int64)

    labels = whole(0 if scored else -1, 2)
    columns = (
        {}
        if scored
        else {name: np.where(labels < 0, 0, whole(1, 4)) for name in ("target_id", "out_of_view", "occlusion")}
    )
    return Annotations(
        images,
        ("car", "truck", "bus"),
        whole(0, 5),
        np.hstack((corner, corner + size)),
        labels,
        labels == REGION,
        scores=whole(0, 10**9) / 10**9 if scored else None,
        columns=columns,
    )


def as_rows(annotations):
    """Rows that do not depend on the order of frames and of objects and regions."""
    columns = [annotations.image, annotations.labels < 0, *annotations.boxes.T, annotations.labels]
    columns += [annotations.columns[name] for name in sorted(annotations.columns) if name != "category_known"]
    columns += [] if annotations.scores is None else [annotations.scores]
    rows = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    return rows[np.lexsort((np.arange(len(rows)), rows[:, 1], rows[:, 0]))].tolist()


@SLOW
@given(objects(scored=False))
def test_truth_is_read_as_it_was_written(tmp_path_factory, truth):
    path = tmp_path_factory.mktemp("uavdt") / "GT"
    write(truth, path)
    again = read(path, Reading())
    names = list(again.images.names)
    assert set(names) <= set(truth.images.names)  # frames after the last object of all are not told
    place = np.array([list(truth.images.names).index(name) for name in names], dtype=np.int64)
    placed = Annotations(
        truth.images, again.classes, place[again.image], again.boxes, again.labels, again.ignored, columns=again.columns
    )
    assert as_rows(placed) == as_rows(truth)


@SLOW
@given(objects(scored=True))
def test_detections_are_read_as_they_were_written(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("uavdt") / "res"
    write_results(found, path)
    assert sorted(file.name for file in path.iterdir()) == ["A1.txt", "A2.txt"]
    again = read_results(path, found, Reading())
    assert as_rows(again) == as_rows(found)
    assert again.columns["category_known"].all()


def test_lines_as_the_benchmark_writes_them(gt, tmp_path):
    truth = read(gt, Reading())
    write(truth, tmp_path / "out")
    lines = (tmp_path / "out" / "S1_gt_whole.txt").read_text().split()
    assert lines == ["1,1,141,147,106,45,1,1,3", "2,8,0,296,32,21,2,2,1", "4,30,536,220,17,23,1,1,2"]
    assert (tmp_path / "out" / "S1_gt_ignore.txt").read_text() == "1,9,914,189,105,54,1,-1,-1\n"
    assert (tmp_path / "out" / "S10_gt_ignore.txt").read_text() == ""


def test_what_a_format_of_frames_cannot_hold(tmp_path):
    images = frames_of("A")
    one = (np.array([1]), np.array([[1.0, 2, 3, 4]]), np.array([0]))
    vehicle = Annotations(images, ("vehicle",), *one, np.array([False]), scores=np.array([0.5]))
    write_results(vehicle, tmp_path / "res")
    assert (tmp_path / "res" / "A.txt").read_text() == "2,-1,1,2,2,2,0.5,1,-1\n"
    with pytest.raises(InputError, match="class 'vehicle' has no category in UAVDT"):
        write(vehicle, tmp_path / "gt")
    ignored = Annotations(images, ("Car",), *one, np.array([True]))
    write(ignored, tmp_path / "gt")
    assert (tmp_path / "gt" / "A_gt_whole.txt").read_text() == ""
    photo = Images(np.array(["a.png"], dtype=object), np.array([1]), np.zeros((1, 2), dtype=np.int64))
    with pytest.raises(InputError, match=r"a.png: is no frame"):
        write_results(
            Annotations(photo, ("car",), one[0] * 0, *one[1:], np.array([False]), scores=np.ones(1)), tmp_path / "r"
        )
    assert not (tmp_path / "r").exists()


def test_the_registry_knows_it():
    for ability in ("read", "read_results", "write", "write_results"):
        assert format_named("uavdt", ability).holds == {"regions"}


NUMBERS = st.one_of(st.integers(-999, 999).map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr))
CELLS = st.one_of(NUMBERS, st.text("0123456789.eE+-_ nainfx\t\"'", max_size=6))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=5),
    st.sampled_from([("\n", ","), ("\r\n", ","), ("\n", " "), ("\r", ","), ("\r", " ")]),
)
def test_the_fast_way_reads_what_the_careful_way_reads(rows, way):
    ends, separator = way
    layout = Layout(("a", "b", "c", "d"), 3, words=("b",) if separator == " " else (), separator=separator)
    text = "".join(separator.join(row) + ends for row in rows)
    careful, wrong = outcome(_read_lines, "x", text.replace("\r\n", "\n").replace("\r", "\n"), layout)
    table, also_wrong = outcome(read_table, "x", text, layout)
    assert wrong == also_wrong
    if not wrong:
        assert table.numbers.tobytes() == careful[0].tobytes()
        for name, (codes, known) in careful[1].items():
            got_codes, got = table.words[name]
            assert [got[code] for code in got_codes] == [known[code] for code in codes]


def test_a_row_after_any_line_end_has_its_line():
    table = read_table("x", "1,2\r3,4\r\n5,6\n7,-8", Layout(("a", "b"), 2))
    with pytest.raises(InputError, match="x:4: b is -8; give a whole number of at least 0"):
        table.whole("b", 0)


def outcome(function, *arguments):
    try:
        return function(*arguments), ""
    except InputError as error:
        return None, str(error)


def test_the_released_folder_of_both_parts_is_judged_by_the_test_part(tmp_path):
    for name in ("M0101", "M0203"):
        put(tmp_path / "GT" / f"{name}_gt_whole.txt", "1,1,10,10,50,30,1,1,1")
    put(tmp_path / "res" / "M0203.txt", "1,-1,10,10,50,30,0.9,1,1")
    found = evaluate_files(tmp_path / "GT", tmp_path / "res", protocol="uavdt")
    assert found.metrics["ap"] == 1
    assert any("holds both parts of UAVDT; the test sequences are judged" in notice for notice in found.notices)
    with pytest.raises(InputError, match=r"M0203.txt:1: the truth has no sequence 'M0203'"):
        evaluate_files(tmp_path / "GT", tmp_path / "res", protocol="uavdt", split="train")


@pytest.mark.parametrize("path", ["GT", "."])
def test_attributes_are_found_from_any_working_folder(tmp_path, monkeypatch, path):
    truth = tmp_path / "UAV-benchmark-MOTD_v1.0/GT"
    truth.mkdir(parents=True)
    (truth / "M9002_gt_whole.txt").write_text("1,1,10,10,20,20,1,1,1\n")
    (truth / "M9002_gt_ignore.txt").write_text("")
    (tmp_path / "M_attr/test").mkdir(parents=True)
    (tmp_path / "M_attr/test/M9002_attr.txt").write_text("0,0,1,0,0,1,0,0,1,0")
    monkeypatch.chdir(truth if path == "." else truth.parent)
    assert read(Path(path), Reading()).images.tags["fog"].all()
