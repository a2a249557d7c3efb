"""The operators in the authors' convention, forward and backward, against numbers from their code."""

import json

import pytest
import torch

from d2det_geo.model.convention import Convention, from_corners, to_corners
from d2det_ops import deform_roi_pool, nms, roi_align, soft_nms
from tests.golden.goldens import golden
from tests.golden.network import our_boxes

LEGACY = Convention.LEGACY
DEFORMABLE = json.loads(str(golden("deform_pool_golden").arrays["spec_json"]))


TOLERANCES = {torch.float64: 1e-5, torch.float32: 5e-5}  # their numbers are float32


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", range(len(DEFORMABLE)))
def test_deformable_pooling_and_its_gradients(case, dtype):
    numbers, spec, atol = golden("deform_pool_golden"), DEFORMABLE[case], TOLERANCES[dtype]
    features = numbers[f"c{case}_feat"].to(dtype).requires_grad_()
    offsets = spread = None
    if not spec["no_trans"]:
        offsets = numbers[f"c{case}_offset"].to(dtype).requires_grad_()
        repeat = spec["out_size"] // spec["part_size"]
        spread = (offsets * spec["trans_std"]).repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
    pooled = deform_roi_pool(
        [features],
        our_boxes(numbers[f"c{case}_rois"]),
        spread,
        bins=spec["out_size"],
        samples=spec["sample_per_part"],
        strides=[round(1 / spec["spatial_scale"])],
        legacy=True,
    )
    assert pooled.dtype == dtype
    numbers.close(f"c{case}_out", pooled, 1e-5)
    pooled.backward(numbers[f"c{case}_grad_out"].to(dtype))
    numbers.close(f"c{case}_grad_feat", features.grad, atol)
    if offsets is not None:
        numbers.close(f"c{case}_grad_offset", offsets.grad, atol)


@pytest.mark.parametrize("case", range(len(DEFORMABLE)))
def test_the_legacy_sampler_counts_only_what_it_keeps(case):
    numbers, spec = golden("deform_pool_golden"), DEFORMABLE[case]
    bins, samples = spec["out_size"], spec["sample_per_part"]
    spread = None
    if not spec["no_trans"]:
        repeat = bins * samples // spec["part_size"]
        spread = numbers[f"c{case}_offset"].double() * spec["trans_std"]
        spread = spread.repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
    each = deform_roi_pool(  # the samples of a bin are the first samples of so many smaller bins
        [torch.ones(2, 1, 18, 23, dtype=torch.float64)],
        our_boxes(numbers[f"c{case}_rois"]),
        spread,
        bins=bins * samples,
        samples=1,
        strides=[round(1 / spec["spatial_scale"])],
        legacy=True,
    )
    kept = each.unflatten(2, (bins, samples)).unflatten(4, (bins, samples)).sum((3, 5))
    assert torch.equal(kept.round().float(), numbers[f"c{case}_count"])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", range(4))
def test_roi_align_and_its_gradient(case, dtype):
    numbers = golden("roi_align_golden")
    stride = round(1 / numbers[f"c{case}_scale"].item())
    features = numbers[f"c{case}_feat"].to(dtype).requires_grad_()
    rois = our_boxes(numbers[f"c{case}_rois"])
    pooled = roi_align([features], rois, bins=14, samples=2, strides=[stride], legacy=True)
    numbers.close(f"c{case}_out", pooled, 1e-5)
    pooled.backward(numbers[f"c{case}_grad_out"].to(dtype))
    numbers.close(f"c{case}_grad_feat", features.grad, TOLERANCES[dtype])


@pytest.mark.parametrize("name", ["soft_nms", "soft_nms2"])
def test_soft_nms(name):
    numbers = golden("boxes_nms_decode_golden")
    entries = numbers[f"{name}_in"]
    least = numbers["soft_nms_min_score"].item()
    kept, scores = soft_nms(
        our_boxes(entries[:, :4]),
        entries[:, 4],
        torch.zeros(len(entries)),
        iou=numbers[f"{name}_iou_thr"].item(),
        least_score=least,
    )
    assert kept.tolist() == numbers[f"{name}_inds"].tolist()
    numbers.close(f"{name}_dets", torch.cat([entries[kept, :4], scores[:, None]], 1), 1e-6)


def test_soft_nms_of_many_classes():
    numbers = golden("boxes_nms_decode_golden")
    boxes, labels = numbers["mcsoft_boxes"], numbers["mcsoft_labels_1based"] - 1
    kept, scores = soft_nms(our_boxes(boxes), numbers["mcsoft_scores"], labels, iou=0.5)
    found = torch.cat([boxes[kept], scores[:, None]], 1)[:100]
    theirs = numbers["mcsoft_dets"]
    order = theirs[:, 4].argsort(descending=True, stable=True)  # they list class by class
    torch.testing.assert_close(found, theirs[order], atol=1e-5, rtol=0)
    assert labels[kept][:100].tolist() == numbers["mcsoft_labels_0based"][order].tolist()


def test_nms_keeps_the_same_boxes():
    numbers = golden("boxes_nms_decode_golden")
    entries = numbers["nms_in"]
    kept = nms(our_boxes(entries[:, :4]), entries[:, 4], None, numbers["nms_thr"].item())
    assert sorted(kept.tolist()) == numbers["nms_keep"].tolist()


def test_corners_are_the_authors_boxes():
    boxes = torch.tensor([[1.0, 2.0, 11.0, 22.0]])
    assert to_corners(boxes, LEGACY).tolist() == [[1.0, 2.0, 10.0, 21.0]]
    assert torch.equal(to_corners(boxes, Convention.ALIGNED), boxes)
    torch.testing.assert_close(from_corners(to_corners(boxes, LEGACY), LEGACY), boxes)


def test_on_the_centre_of_a_cell_an_offset_has_no_gradient():
    features = torch.randn(1, 3, 6, 7)
    roi = torch.tensor([[0, 6.0, 10.0, 15.0, 19.0]])  # at stride 4 the first sample lies on cell (row 2, column 1)
    offsets = torch.zeros(1, 2, 1, 1, requires_grad=True)
    pooled = deform_roi_pool([features], roi, offsets, bins=1, samples=1, strides=[4], legacy=True)
    assert torch.equal(pooled[0, :, 0, 0], features[0, :, 2, 1])
    pooled.sum().backward()
    assert offsets.grad.abs().sum() == 0
