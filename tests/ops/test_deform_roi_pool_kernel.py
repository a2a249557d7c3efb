"""The Triton kernels of deformable RoI pooling against the plain torch they replace."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import deform_roi_pool
from d2det_ops.deform_roi_pool import op, reference
from d2det_ops.pyramid import roi_levels
from d2det_ops.sampling import pyramid_shape
from tests.ops.aot import compile_launches
from tests.ops.regions import ROIS, STRIDES, close, offsets, pyramid, scattered_rois

kernel = pytest.importorskip("d2det_ops.deform_roi_pool.kernel")

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["aligned", "legacy"])
CROSSING = ROIS[[1, 2, 9]]


def noise(*shape, dtype=torch.float32, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def check(device, features, rois, moves, samples, legacy=False, tolerance=2e-6):
    """Compare forward and both gradients with the reference on the CPU."""
    strides, bins, shape = STRIDES[: len(features)], moves.shape[2], pyramid_shape(features)
    levels = roi_levels(rois, len(features))
    expected = reference.deform_roi_pool(features, rois, levels, moves, bins, samples, strides, legacy)
    there = [level.detach().to(device) for level in features]
    place = rois.to(device), levels.to(device), moves.detach().to(device)
    pooled = kernel.forward(there, *place, bins, samples, strides, legacy)
    assert pooled.stride() == expected.stride()
    close([pooled.cpu()], [expected.detach()], tolerance)
    upstream = noise(*expected.shape, dtype=expected.dtype)
    found = kernel.features_gradient(upstream.to(device), *place, shape, samples, strides, legacy, False)
    found.append(kernel.offsets_gradient(upstream.to(device), there, *place, samples, strides, legacy))
    gradients = list(torch.autograd.grad(expected, [*features, moves], upstream))
    close([one.cpu() for one in found], gradients, tolerance)


@LEGACY
def test_it_is_the_reference_wherever_rois_lie(kernel_device, legacy):
    check(kernel_device, pyramid(channels=19), ROIS, offsets(2), 2, legacy)


@settings(deadline=None, max_examples=4)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 2),
    levels=st.integers(1, 4),
    bins=st.integers(1, 3),
    samples=st.integers(1, 3),
    channels=st.integers(1, 40),
    legacy=st.booleans(),
)
def test_any_grid_any_pyramid(kernel_device, seed, count, levels, bins, samples, channels, legacy):
    features, rois = pyramid(seed, channels=channels)[:levels], scattered_rois(seed, count)
    check(kernel_device, features, rois, offsets(bins, seed, count=count), samples, legacy, 1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)]
)
def test_other_types(kernel_device, dtype, tolerance):
    moves = offsets(1, count=len(CROSSING), dtype=dtype)
    check(kernel_device, pyramid(channels=5, dtype=dtype), CROSSING, moves, 2, tolerance=tolerance)


@LEGACY
@pytest.mark.parametrize("part", [1, 2, 3, 4])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_roi_that_is_no_number_anywhere(kernel_device, legacy, part, value):
    roi = ROIS[:1].clone()
    roi[:, part] = value
    check(kernel_device, pyramid(channels=3), roi, offsets(1, count=1), 2, legacy)


def test_no_rois(kernel_device):
    check(kernel_device, pyramid(channels=3), ROIS[:0], offsets(4, count=0), 2)


def test_channels_in_several_blocks(kernel_device):
    check(kernel_device, pyramid(channels=300)[:1], CROSSING[:1], offsets(1, count=1), 2)


def test_without_offsets(kernel_device):
    features, levels = [level.detach() for level in pyramid(channels=5)], roi_levels(CROSSING)
    arguments = [level.to(kernel_device) for level in features], CROSSING.to(kernel_device), levels.to(kernel_device)
    pooled = kernel.forward(*arguments, None, 2, 1, STRIDES, True)
    close([pooled.cpu()], [reference.deform_roi_pool(features, CROSSING, levels, None, 2, 1, STRIDES, True)], 2e-6)


@LEGACY
def test_on_the_centre_of_a_cell(kernel_device, legacy):
    """There the gradients of two cells meet: the reference takes the right one, the authors none."""
    features, moves = pyramid(channels=3)[:1], torch.zeros(1, 2, 2, 2, requires_grad=True)
    check(kernel_device, features, torch.tensor([[1, 6.0, 10.0, 22.0, 26.0]]), moves, 1, legacy)


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf, 3e38])
def test_offsets_that_lead_nowhere_give_zero(kernel_device, strange):
    features, roi = [level.to(kernel_device) for level in pyramid(channels=3)], ROIS[:1].to(kernel_device)
    levels, moves = roi_levels(roi), torch.full((1, 2, 1, 1), strange, device=kernel_device)
    pooled = kernel.forward(features, roi, levels, moves, 1, 2, STRIDES, True)
    upstream = torch.ones_like(pooled)
    shape = pyramid_shape(features)
    found = kernel.features_gradient(upstream, roi, levels, moves, shape, 2, STRIDES, True, False)
    found.append(kernel.offsets_gradient(upstream, features, roi, levels, moves, 2, STRIDES, True))
    assert all(one.abs().max() == 0 for one in (pooled, *found))


def test_deterministic_gradients_do_not_depend_on_the_order(kernel_device):
    rois, moves = ROIS[[0, 0, 10]], offsets(2, count=3).detach()
    levels, upstream, shape = roi_levels(rois), noise(3, 4, 2, 2), pyramid_shape(pyramid())
    found = []
    for rows in (slice(None), torch.tensor([2, 1, 0])):
        arguments = [part[rows].to(kernel_device) for part in (upstream, rois, levels, moves)]
        found.append(kernel.features_gradient(*arguments, shape, 2, STRIDES, True, True))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    expected = reference.features_gradient(upstream, rois, levels, moves, shape, 2, STRIDES, True)
    close([level.cpu() for level in found[0]], expected, 2e-6)


def test_the_operator_gives_kernels_what_they_take(kernel_device, monkeypatch):
    monkeypatch.setattr(op, "usable", lambda device: True)
    features = [level.detach().to(kernel_device) for level in pyramid(channels=3)]
    place = [part.to(kernel_device) for part in (ROIS[:1], roi_levels(ROIS[:1]), offsets(2, count=1).detach())]
    pooled = op._deform_roi_pool._backend_fns["cuda"](features, *place, 2, 1, STRIDES, True)
    close([pooled], [reference.deform_roi_pool(features, *place, 2, 1, STRIDES, True)], 2e-6)
    arguments = pooled, *place, pyramid_shape(features), 1, STRIDES, True
    close(op._backward._backend_fns["cuda"](*arguments), reference.features_gradient(*arguments), 2e-6)
    arguments = pooled, features, *place, 1, STRIDES, True
    moved = op._offsets_backward._backend_fns["cuda"](*arguments)
    close([moved], [reference.offsets_gradient(*arguments)], 2e-6)


def launches():
    rois, levels, moves = ROIS[:4], torch.zeros(4, dtype=torch.int64), noise(4, 2, 7, 7)
    sizes = ((16, 9), (8, 1))  # Triton would take 16 and 1 for something else
    for dtype in (torch.float32, torch.bfloat16):
        features = [noise(1, 256, *size, dtype=dtype).contiguous(memory_format=torch.channels_last) for size in sizes]
        pooled = kernel.forward(features, rois, levels, moves, 7, 2, STRIDES[:2], True)
    kernel.offsets_gradient(pooled, features, rois, levels, moves, 2, STRIDES[:2], True)
    kernel.features_gradient(pooled, rois, levels, moves, pyramid_shape(features), 2, STRIDES[:2], True, False)


def test_kernels_compile_for_every_gpu():
    for built in compile_launches(f"{__name__}:launches"):
        assert built.local <= 8, built  # what a division that is not usual needs, when it is called
        assert "ld.global.v" in built.ptx


@pytest.mark.gpu
@LEGACY
def test_ten_thousand_rois_as_on_the_cpu(legacy):
    features, rois, moves = pyramid(channels=64), scattered_rois(3, 10_000), offsets(6, count=10_000)
    there = [part.detach().cuda().requires_grad_() for part in (*features, moves)]
    pooled = deform_roi_pool(features, rois, moves, bins=6, samples=2, strides=STRIDES, legacy=legacy)
    found = deform_roi_pool(there[:-1], rois.cuda(), there[-1], bins=6, samples=2, strides=STRIDES, legacy=legacy)
    close([found.cpu()], [pooled], 1e-5)
    upstream = noise(*pooled.shape)
    spread = torch.autograd.grad(found, there, upstream.cuda())
    close([part.cpu() for part in spread], list(torch.autograd.grad(pooled, [*features, moves], upstream)), 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_errors_are_those_of_rounding(dtype):
    features = [noise(2, 256, *size).to("cuda", dtype) for size in ((200, 200), (100, 100), (50, 50), (25, 25))]
    rois, moves = scattered_rois(5, 1000).cuda(), offsets(14, count=1000).detach().cuda()
    place = rois, roi_levels(rois), moves, 14, 2, STRIDES, False
    exact = reference.deform_roi_pool([level.double() for level in features], *place)
    pooled = kernel.forward(features, *place)
    assert ((pooled - exact).abs() <= 1e-4 + torch.finfo(dtype).eps * exact.abs()).all()
