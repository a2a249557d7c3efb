"""The Triton kernels of non-maximum suppression against all pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from d2det_ops import nms
from d2det_ops.nms.reference import nms as reference
from tests.ops.aot import Kernel, compile_ahead
from tests.ops.crowds import crowd, lattice_crowds, strangers

kernel = pytest.importorskip("d2det_ops.nms.kernel")

KERNELS = [
    Kernel(
        "d2det_ops.nms.kernel",
        "_pairs",
        {"boxes": "*fp64", "ends": "*i64", "threshold": "*fp64", "mask": "*i64", "count": "i32"},
        options={"enable_fp_fusion": False},
    ),
    Kernel(
        "d2det_ops.nms.kernel",
        "_sweep",
        {"ends": "*i64", "mask": "*i64", "kept": "*u8", "count": "i32"},
        {"CHUNK": kernel.CHUNK},
    ),
]


def check(device, drawn, iou, **options):
    kept = kernel.nms(*(part.to(device) for part in drawn), iou, **options)
    assert kept.device.type == device.type
    assert kept.tolist() == reference(*drawn, iou).tolist()


@pytest.mark.parametrize("classes", [1, 3, 90])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_sizes_around_a_word(kernel_device, count, classes):
    check(kernel_device, crowd(count, classes, 60, 4, seed=count), 0.5, chunk=64)


def test_earlier_blocks_are_read_in_parts(kernel_device):
    check(kernel_device, crowd(230, 2, 150, 3), 0.3, chunk=32)


def test_what_is_no_box_or_score(kernel_device):
    check(kernel_device, strangers(70), 0.3)


@settings(deadline=None, max_examples=25)
@given(drawn=lattice_crowds(), iou=st.sampled_from([0.0, 1 / 3, 0.5, 1.0]))
def test_boxes_that_touch_and_tie(kernel_device, drawn, iou):
    check(kernel_device, drawn, iou, chunk=64)


def test_overlaps_are_rounded_as_in_the_reference(kernel_device):
    boxes = torch.tensor([[0.1, 0.2, 3.3, 1.7]], dtype=torch.float64).repeat(40, 1)
    boxes[1:, 2] += torch.rand(39, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for iou in box_iou(boxes[:1], boxes[1:12])[0].tolist():
        check(kernel_device, (boxes, torch.linspace(1, 0, 40), torch.zeros(40)), iou, chunk=64)


def test_kernels_compile_for_every_gpu():
    for built in compile_ahead(KERNELS):
        assert built.local == 0, built
        assert "fma.rn.f64" not in built.ptx


@pytest.mark.gpu
@pytest.mark.parametrize(("count", "classes"), [(5000, 1), (20_000, 15), (70_000, 15)])
def test_many_boxes_on_a_gpu(count, classes):
    boxes, scores, labels = crowd(count, classes, 2000, 10)
    kept = nms(boxes.cuda(), scores.cuda(), labels.cuda(), 0.5)
    assert torch.equal(kept.cpu(), nms(boxes, scores, labels, 0.5))
