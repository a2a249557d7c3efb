"""The Triton kernel of soft-NMS against all pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import soft_nms
from d2det_ops.soft_nms.reference import soft_nms as reference
from tests.ops.aot import Kernel, compile_ahead
from tests.ops.crowds import crowd, lattice_crowds, strangers

kernel = pytest.importorskip("d2det_ops.soft_nms.kernel")

METHODS = pytest.mark.parametrize("method", ["linear", "gaussian"])
DECAY = Kernel(
    "d2det_ops.soft_nms.kernel",
    "_decay",
    {"boxes": "*fp64", "ends": "*i64", "left": "*fp64", "final": "*fp64", "rule": "*fp64", "count": "i32"},
    {"CHUNK": kernel.CHUNK},
    options={"enable_fp_fusion": False},
)


def check(device, drawn, method, iou=0.5, least_score=1e-3, chunk=64):
    sigma = 0.4 if method == "gaussian" else 0.0
    index, kept = kernel.soft_nms(*(part.to(device) for part in drawn), iou, least_score, sigma, chunk)
    expected, scores = reference(*drawn, iou=iou, least_score=least_score, method=method, sigma=0.4)
    assert index.device.type == device.type
    assert index.tolist() == expected.tolist()
    torch.testing.assert_close(kept.cpu(), scores)


@METHODS
@pytest.mark.parametrize(("count", "classes"), [(0, 1), (1, 1), (33, 1), (32, 40), (70, 3)])
def test_numbers_of_boxes_and_classes(kernel_device, count, classes, method):
    check(kernel_device, crowd(count, classes, 60, 4, seed=count), method)


def test_of_equals_the_first_is_taken_and_what_is_taken_stays_so(kernel_device):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 8], [0, 0, 10, 10]])
    for chunk in (2, 64):
        check(kernel_device, (boxes, torch.full((4,), 0.5), torch.zeros(4)), "linear", least_score=0.0, chunk=chunk)


def test_a_class_is_read_in_parts(kernel_device):
    check(kernel_device, crowd(45, 2, 40, 3), "linear", chunk=8)


@METHODS
def test_what_is_no_box_or_score(kernel_device, method):
    check(kernel_device, strangers(40), method, 0.3)


@settings(deadline=None, max_examples=20)
@given(drawn=lattice_crowds(10), iou=st.sampled_from([0.0, 0.5]), least=st.sampled_from([0.0, 0.3]))
def test_boxes_that_touch_and_tie(kernel_device, drawn, iou, least):
    check(kernel_device, drawn, "linear", iou, least)


def test_half_scores_come_back_as_such(kernel_device):
    boxes, scores, labels = crowd(20, 2, 40)
    check(kernel_device, (boxes, scores.half(), labels), "linear")


def test_the_kernel_compiles_for_every_gpu():
    for built in compile_ahead([DECAY]):
        assert built.local == 0, built


@pytest.mark.gpu
@METHODS
@pytest.mark.parametrize(("count", "classes"), [(3000, 1), (20_000, 15)])
def test_many_boxes_on_a_gpu(count, classes, method):
    drawn = crowd(count, classes, 2000, 10)
    index, kept = soft_nms(*(part.cuda() for part in drawn), method=method)
    expected, scores = soft_nms(*drawn, method=method)
    assert torch.equal(index.cpu(), expected)
    torch.testing.assert_close(kept.cpu(), scores)
