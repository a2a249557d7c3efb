"""Non-maximum suppression by hand, against torchvision and against all pairs."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import nms
from d2det_ops.nms.op import _nms
from d2det_ops.nms.reference import nms as reference
from d2det_ops.suppression import place
from tests.ops.crowds import crowd, lattice_crowds, strangers

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [0, 0, 10, 8], [10, 0, 20, 10]])
LABELS = torch.tensor([0, 0, 0, 1, 0])
FUNCTIONS = pytest.mark.parametrize("function", [nms, reference], ids=["op", "reference"])


def by_class(boxes, scores, labels, iou):
    """What torchvision keeps of each class, by descending score and ascending position."""
    boxes, scores, kept = boxes.double(), scores.double(), []
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        kept.append(rows[torchvision.ops.nms(boxes[rows], scores[rows], iou)])
    found = torch.cat(kept).sort()[0] if kept else labels
    return found[scores[found].argsort(descending=True, stable=True)]


@FUNCTIONS
def test_by_hand(function):
    scores = torch.tensor([0.8, 0.9, 0.5, 0.7, 0.6])
    # box 1 drops box 0 (0.8); box 3 is of another class, box 4 touches only
    assert function(BOXES, scores, LABELS, 0.5).tolist() == [1, 3, 4, 2]
    assert function(BOXES, scores, LABELS, 0.81).tolist() == [1, 0, 3, 4, 2]


@FUNCTIONS
def test_an_overlap_at_the_threshold_stays(function):
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])
    assert function(boxes, torch.ones(2), torch.zeros(2), 0.5).tolist() == [0, 1]
    assert function(boxes, torch.ones(2), torch.zeros(2), 0.4999).tolist() == [0]


@FUNCTIONS
def test_ties_go_to_the_lower_position(function):
    assert function(BOXES, torch.full((5,), 0.5), LABELS, 0.5).tolist() == [0, 2, 3, 4]


@FUNCTIONS
def test_what_is_no_box_overlaps_nothing_and_what_is_no_score_comes_last(function):
    boxes, scores, labels = strangers(40)
    kept = function(boxes, scores, labels, 0.3).tolist()
    assert {*range(14), 37} <= {*kept}
    assert kept[-1] == 37
    assert not scores[kept[:-1]].isnan().any()
    assert kept == reference(boxes, scores, labels, 0.3).tolist()


def test_a_score_that_is_no_number_drops_nothing_that_is_better():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    assert nms(boxes, torch.tensor([float("nan"), 0.1]), None, 0.5).tolist() == [1]


@settings(deadline=None, max_examples=300)
@given(drawn=lattice_crowds(), iou=st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.75, 1.0]))
def test_torchvision_keeps_the_same_of_each_class(drawn, iou):
    expected = by_class(*drawn, iou).tolist()
    assert nms(*drawn, iou).tolist() == expected
    assert reference(*drawn, iou).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 400),
    classes=st.integers(1, 5),
    side=st.floats(1, 3000),
    iou=st.floats(0, 1),
)
def test_all_pairs_give_the_same(seed, count, classes, side, iou):
    drawn = crowd(count, classes, side, seed=seed)
    assert torch.equal(nms(*drawn, iou), reference(*drawn, iou))


@pytest.mark.parametrize("classes", [1, 15])
def test_torchvision_keeps_the_same_of_many_boxes(classes):
    boxes, scores, labels = crowd(4000, classes, 800, 10)
    boxes, scores = boxes.double(), scores.double()
    kept = nms(boxes, scores, labels, 0.5)
    assert kept.tolist() == by_class(boxes, scores, labels, 0.5).tolist()
    assert set(kept.tolist()) == set(torchvision.ops.batched_nms(boxes, scores, labels, 0.5).tolist())


def awkward(name):
    boxes, scores, labels = crowd(3000, 2, 600)
    match name:
        case "one among tiny":
            boxes[7] = torch.tensor([-1e6, -1e6, 1e6, 1e6])
        case "one far away":
            boxes[7] = torch.tensor([1e30, 1e30, 1.1e30, 1.1e30])
        case "far away":
            boxes = boxes.double() + 1e6
        case "all the same":
            boxes[:] = boxes[0]
        case "all sizes":
            boxes = boxes.double()
            boxes[:, 2:] += 2.0 ** torch.linspace(-30, 30, 3000)[:, None]
        case "stacked lines":
            boxes = torch.arange(3000.0)[:, None] + torch.tensor([[-1e4, 0.0, 1e4, 1.2]])
    return boxes, scores, labels


@pytest.mark.parametrize("iou", [0.0, 0.05, 0.5])
@pytest.mark.parametrize(
    "name", ["one among tiny", "one far away", "far away", "all the same", "all sizes", "stacked lines"]
)
def test_awkward_scales(name, iou):
    boxes, scores, labels = awkward(name)
    assert nms(boxes, scores, labels, iou).tolist() == by_class(boxes, scores, labels, iou).tolist()
    grid = place(boxes.double().numpy(), labels.numpy(), iou)
    assert sum(array.size for array in grid[:4]) < 12 * len(boxes)


def test_areas_of_few_bits():
    left = torch.arange(40, dtype=torch.float64)
    boxes = torch.stack([left, torch.zeros(40), left + 2, torch.ones(40)], 1) * 1.6e-162
    scores, labels = torch.arange(40) * 7 % 41 / 41, torch.zeros(40)
    # a third of each is common, and all areas are rounded to the same
    assert nms(boxes, scores, labels, 0.75).tolist() == by_class(boxes, scores, labels, 0.75).tolist()


def test_hundred_thousand_boxes_that_are_the_same():
    boxes = torch.tensor([[3.0, 4, 30, 40]]).expand(100_000, 4)
    assert nms(boxes, torch.linspace(0, 1, 100_000), None, 0.5).tolist() == [99_999]


def test_labels_are_any_numbers_or_none():
    boxes, scores, labels = crowd(200, 6, 60)
    expected = reference(boxes, scores, labels, 0.4)
    for others in (labels - 3, labels * 2.0**40, labels / 7, labels.int(), labels * 256, labels.flip(0).flip(0)):
        assert torch.equal(nms(boxes, scores, others, 0.4), expected)
    assert torch.equal(nms(boxes, scores, None, 0.4), nms(boxes, scores, torch.full((200,), 9), 0.4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_types_and_strides_do_not_matter(dtype):
    boxes, scores, labels = crowd(300, 3, 90)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    expected = nms(boxes.double(), scores.double(), labels, 0.5)
    assert torch.equal(nms(boxes.T.contiguous().T, scores, labels, 0.5), expected)


def test_nothing_is_kept_of_nothing():
    kept = nms(torch.zeros(0, 4), torch.zeros(0), None, 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "iou", "message"),
    [
        (torch.zeros(3, 5), torch.zeros(3), None, 0.5, r"boxes must be \[D, 4\], got \[3, 5\]"),
        (torch.zeros(3, 4), torch.zeros(2), None, 0.5, r"scores must be \[D\], got \[2\]"),
        (torch.zeros(3, 4), torch.zeros(3), torch.zeros(3, 1), 0.5, r"labels must be \[D\], got \[3, 1\]"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), None, 0.5, "floating point, got torch.float32 and"),
        (torch.zeros(3, 4), torch.zeros(3), None, 1.5, "from 0 to 1, got 1.5"),
        (torch.zeros(3, 4), torch.zeros(3), None, float("nan"), "from 0 to 1, got nan"),
        (torch.zeros(3, 4), torch.zeros(3, device="meta"), None, 0.5, "scores on meta, boxes on cpu"),
    ],
)
def test_what_it_cannot_take_it_says(boxes, scores, labels, iou, message):
    with pytest.raises(ValueError, match=message):
        nms(boxes, scores, labels, iou)


def test_torch_knows_the_operator():
    boxes, scores, labels = crowd(50, 3)
    torch.library.opcheck(_nms, (boxes, scores, labels, 0.5))
    compiled = torch.compile(lambda *drawn: nms(*drawn, 0.5) + 1, fullgraph=True, backend="aot_eager")
    for count in (50, 31):
        drawn = boxes[:count], scores[:count], labels[:count]
        assert torch.equal(compiled(*drawn), nms(*drawn, 0.5) + 1)
    assert not nms(boxes.requires_grad_(), scores.requires_grad_(), labels, 0.5).requires_grad
