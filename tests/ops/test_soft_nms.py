"""Soft-NMS by hand, against a loop over all pairs and against the reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from d2det_ops import soft_nms
from d2det_ops.soft_nms.op import _soft_nms
from d2det_ops.soft_nms.reference import soft_nms as reference
from tests.ops.crowds import crowd, lattice_crowds, strangers

FUNCTIONS = pytest.mark.parametrize("function", [soft_nms, reference], ids=["op", "reference"])
METHODS = pytest.mark.parametrize("method", ["linear", "gaussian"])
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [0, 0, 10, 8]])
SCORES, LABELS = torch.tensor([0.9, 0.8, 0.5, 0.7]), torch.tensor([0, 0, 0, 1])


def check(drawn, **options):
    kept, decayed = soft_nms(*drawn, **options)
    expected, scores = reference(*drawn, **options)
    assert kept.tolist() == expected.tolist()
    torch.testing.assert_close(decayed, scores)
    assert decayed.dtype == drawn[1].dtype
    return kept, decayed


@FUNCTIONS
def test_linear_by_hand(function):
    kept, decayed = function(BOXES, SCORES, LABELS)
    # box 1 overlaps box 0 by 0.8 and falls to 0.8 * 0.2; box 3 is of another class
    assert kept.tolist() == [0, 3, 2, 1]
    torch.testing.assert_close(decayed, torch.tensor([0.9, 0.7, 0.5, 0.16]))


@FUNCTIONS
def test_gaussian_by_hand(function):
    kept, decayed = function(BOXES, SCORES, LABELS, method="gaussian", sigma=0.4, iou=1.0)
    assert kept.tolist() == [0, 3, 2, 1]
    torch.testing.assert_close(decayed, torch.tensor([0.9, 0.7, 0.5, 0.8 * math.exp(-(0.8**2) / 0.4)]))


@FUNCTIONS
def test_what_falls_below_the_least_score_is_dropped(function):
    boxes, scores = BOXES[:1].expand(3, 4), torch.tensor([0.9, 0.8, 0.0005])
    assert function(boxes, scores, torch.zeros(3))[0].tolist() == [0]
    kept, decayed = function(boxes, scores, torch.zeros(3), least_score=0.0)
    assert kept.tolist() == [0, 1, 2]
    assert decayed[1:].tolist() == [0, 0]


@FUNCTIONS
def test_ties_go_to_the_lower_position(function):
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.5], [9, 9, 11, 11], [20, 0, 22, 2]])
    scores = torch.tensor([0.5, 1.0, 0.5, 0.125], dtype=torch.float64)
    # box 0 overlaps box 1 by 0.75 and falls to where box 3 is
    assert function(boxes, scores, torch.zeros(4))[0].tolist() == [1, 2, 0, 3]


@METHODS
def test_what_is_no_box_or_score(method):
    boxes, scores, labels = strangers(40)
    kept, _ = check((boxes, scores, labels), method=method, least_score=0.0)
    assert set(range(14)) <= set(kept.tolist())
    assert not {37, 38} & set(kept.tolist())


def test_scores_without_bound_do_not_harm():
    boxes, scores, labels = crowd(30, 2)
    scores[[3, 9, 12]] = float("inf")
    boxes[12] = boxes[9]
    check((boxes, scores, labels))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_a_loop_over_pairs_gives_the_same(seed, count):
    boxes, scores, labels = crowd(count, 2, 30, 3, seed)
    left, expected = {i: scores[i].item() for i in range(count)}, []
    while left:
        best = max(left, key=lambda i: left[i])
        if left[best] < 1e-3:
            break
        expected.append((best, left.pop(best)))
        for i in left:
            iou = box_iou(boxes[best : best + 1], boxes[i : i + 1]).item()
            if labels[i] == labels[best] and iou > 0.5:
                left[i] *= 1 - iou
    kept, decayed = soft_nms(boxes, scores, labels)
    assert kept.tolist() == [i for i, _ in expected]
    assert decayed.tolist() == pytest.approx([score for _, score in expected], abs=1e-5)


@METHODS
@settings(deadline=None, max_examples=100)
@given(drawn=lattice_crowds(), iou=st.sampled_from([0.0, 1 / 3, 0.5, 1.0]), least=st.sampled_from([0.0, 1e-3, 0.3]))
def test_boxes_that_touch_and_tie(method, drawn, iou, least):
    check(drawn, method=method, iou=iou, least_score=least)


@METHODS
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 300),
    classes=st.integers(1, 5),
    side=st.floats(1, 1000),
    iou=st.floats(0, 1),
)
def test_all_pairs_give_the_same(method, seed, count, classes, side, iou):
    check(crowd(count, classes, side, seed=seed), method=method, iou=iou)


@METHODS
def test_one_huge_box_among_many(method):
    boxes, scores, labels = crowd(1500, 2, 500)
    boxes[4] = torch.tensor([-1e6, -1e6, 1e6, 1e6])
    check((boxes, scores, labels), method=method)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_types_and_strides_do_not_matter(dtype):
    boxes, scores, labels = crowd(100, 3, 90)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    before = scores.clone()
    expected = soft_nms(boxes.double(), scores.double(), labels)
    kept, decayed = soft_nms(boxes.T.contiguous().T, scores, labels)
    assert torch.equal(kept, expected[0])
    assert torch.equal(decayed, expected[1].to(dtype))
    assert torch.equal(scores, before)


def test_float64_scores_stay_as_they_were():
    boxes, scores, labels = crowd(100, 1, 40)
    scores = scores.double()
    before = scores.clone()
    soft_nms(boxes, scores, labels)
    assert torch.equal(scores, before)


def test_labels_may_be_none_and_boxes_too():
    boxes, scores, _ = crowd(100, 1, 40)
    assert torch.equal(soft_nms(boxes, scores, None)[0], soft_nms(boxes, scores, torch.full((100,), 5))[0])
    kept, decayed = soft_nms(boxes[:0], scores[:0].half(), None)
    assert (kept.shape, decayed.shape, kept.dtype, decayed.dtype) == ((0,), (0,), torch.int64, torch.float16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou": -0.1}, "from 0 to 1, got -0.1"),
        ({"method": "hard"}, "linear or gaussian, got 'hard'"),
        ({"least_score": -1.0}, "at least 0 and sigma above 0, got -1.0"),
        ({"least_score": float("nan")}, "got nan and 0.5"),
        ({"sigma": 0.0}, "got 0.001 and 0.0"),
    ],
)
def test_what_it_cannot_take_it_says(options, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(BOXES, SCORES, LABELS, **options)


def test_torch_knows_the_operator():
    boxes, scores, labels = crowd(50, 3)
    for sigma in (0.0, 0.5):
        torch.library.opcheck(_soft_nms, (boxes, scores, labels, 0.5, 1e-3, sigma))
    compiled = torch.compile(lambda *drawn: soft_nms(*drawn)[1] * 2, fullgraph=True, backend="aot_eager")
    for count in (50, 31):
        drawn = boxes[:count], scores[:count], labels[:count]
        assert torch.equal(compiled(*drawn), soft_nms(*drawn)[1] * 2)
    assert not soft_nms(boxes, scores.requires_grad_(), labels)[1].requires_grad
