"""The Triton kernels of RoIAlign against the plain torch they replace."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import roi_align
from d2det_ops.pyramid import roi_levels
from d2det_ops.roi_align import op, reference
from d2det_ops.sampling import pyramid_shape
from tests.ops.aot import compile_launches
from tests.ops.regions import ROIS, STRIDES, close, pyramid, scattered_rois

kernel = pytest.importorskip("d2det_ops.roi_align.kernel")

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["aligned", "legacy"])
CROSSING = ROIS[[1, 2, 9]]


def noise(*shape, dtype=torch.float32, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def check(device, features, rois, bins, samples, legacy=False, tolerance=2e-6):
    """Compare forward and backward with the reference on the CPU."""
    strides = STRIDES[: len(features)]
    levels = roi_levels(rois, len(features))
    expected = reference.roi_align(features, rois, levels, bins, samples, strides, legacy)
    there = [level.detach().to(device) for level in features]
    place = rois.to(device), levels.to(device)
    pooled = kernel.forward(there, *place, bins, samples, strides, legacy)
    assert pooled.stride() == expected.stride()
    close([pooled.cpu()], [expected.detach()], tolerance)
    upstream = noise(*expected.shape, dtype=expected.dtype)
    shape = pyramid_shape(features)
    found = kernel.backward(upstream.to(device), *place, shape, samples, strides, legacy, False)
    close([level.cpu() for level in found], list(torch.autograd.grad(expected, features, upstream)), tolerance)


@LEGACY
def test_it_is_the_reference_wherever_rois_lie(kernel_device, legacy):
    check(kernel_device, pyramid(), ROIS, 2, 2, legacy)


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
    check(kernel_device, features, rois, bins, samples, legacy, 1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)]
)
def test_other_types(kernel_device, dtype, tolerance):
    check(kernel_device, pyramid(channels=5, dtype=dtype), CROSSING, 1, 2, tolerance=tolerance)


@LEGACY
@pytest.mark.parametrize("part", [1, 2, 3, 4])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_roi_that_is_no_number_anywhere(kernel_device, legacy, part, value):
    roi = ROIS[:1].clone()
    roi[:, part] = value
    check(kernel_device, pyramid(channels=3), roi, 1, 2, legacy)


def test_no_rois(kernel_device):
    check(kernel_device, pyramid(channels=3), ROIS[:0], 5, 2)


def test_channels_in_several_blocks(kernel_device):
    check(kernel_device, pyramid(channels=300)[:1], CROSSING[:1], 1, 2)


@pytest.mark.parametrize("image", [-1.0, 2.0, 1e30, math.nan, math.inf])
def test_a_roi_of_no_image_gives_zero_and_touches_nothing(kernel_device, image):
    features, roi = [level.to(kernel_device) for level in pyramid(channels=3)], ROIS[:1].clone()
    roi[:, 0] = image
    place = roi.to(kernel_device), roi_levels(roi).to(kernel_device)
    pooled = kernel.forward(features, *place, 1, 2, STRIDES, False)
    assert pooled.abs().max() == 0
    found = kernel.backward(torch.ones_like(pooled), *place, pyramid_shape(features), 2, STRIDES, False, False)
    assert all(level.abs().max() == 0 for level in found)


def test_features_and_gradients_may_lie_as_they_like(kernel_device):
    features = [level.detach().to(kernel_device) for level in pyramid(channels=6)]
    last = [level.contiguous(memory_format=torch.channels_last) for level in features]
    place = CROSSING.to(kernel_device), roi_levels(CROSSING).to(kernel_device)
    pooled, other = (kernel.forward(form, *place, 1, 2, STRIDES, False) for form in (features, last))
    assert torch.equal(pooled, other)
    same = torch.ones(1, 1, 1, 1, device=kernel_device).expand(pooled.shape)
    shape = pyramid_shape(features)
    forms = (same, same.contiguous())
    spread, again = (kernel.backward(form, *place, shape, 2, STRIDES, False, False) for form in forms)
    close(spread, again, 1e-6)


@LEGACY
def test_deterministic_gradients_do_not_depend_on_the_order(kernel_device, legacy):
    features, rois = pyramid(channels=4), ROIS[[0, 0, 9, 10, 0]]
    levels, upstream = roi_levels(rois), noise(len(rois), 4, 2, 2)
    shape, order = pyramid_shape(features), torch.tensor([3, 0, 4, 2, 1])
    found = []
    for rows in (slice(None), slice(None), order):
        arguments = [part[rows].to(kernel_device) for part in (upstream, rois, levels)]
        found.append(kernel.backward(*arguments, shape, 2, STRIDES, legacy, True))
    for again in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], again, strict=True))
    truth = reference.features_gradient(upstream.double(), rois, levels, shape, 2, STRIDES, legacy)
    largest, adding = upstream.abs().max().item(), len(rois) * 4
    bound = adding * largest * (2**-30 + 2**-23)  # of whole numbers, and of float32 that they are made from
    for level, expected in zip(found[0], truth, strict=True):
        assert (level.cpu().double() - expected).abs().max() <= bound


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_deterministic_gradient_shows_what_is_not_finite(kernel_device, value):
    upstream = noise(1, 3, 1, 1)
    upstream[0, 1] = value
    arguments = [part.to(kernel_device) for part in (upstream, ROIS[:1], roi_levels(ROIS[:1]))]
    found = kernel.backward(*arguments, pyramid_shape(pyramid()), 1, STRIDES, False, True)
    assert not any(level.isfinite().any() for level in found)


@pytest.mark.parametrize("size", [0.0, 2.0**-100, 2.0**100])
def test_a_deterministic_gradient_of_any_size(kernel_device, size):
    arguments = torch.full((1, 3, 1, 1), size), ROIS[:1], roi_levels(ROIS[:1]), pyramid_shape(pyramid())
    expected = reference.features_gradient(*arguments, 1, STRIDES, False)
    there = [part.to(kernel_device) for part in arguments[:3]]
    found = kernel.backward(*there, arguments[3], 1, STRIDES, False, True)
    for level, other in zip(found, expected, strict=True):
        torch.testing.assert_close(level.cpu(), other, atol=0, rtol=1e-5)


def test_the_operator_gives_kernels_what_they_take(kernel_device, monkeypatch):
    monkeypatch.setattr(op, "usable", lambda device: True)
    features = [level.detach().to(kernel_device) for level in pyramid(channels=3)]
    rois, levels = ROIS[:1].to(kernel_device), roi_levels(ROIS[:1]).to(kernel_device)
    pooled = op._roi_align._backend_fns["cuda"](features, rois, levels, 2, 1, STRIDES, True)
    close([pooled], [reference.roi_align(features, rois, levels, 2, 1, STRIDES, True)], 2e-6)
    arguments = pooled, rois, levels, pyramid_shape(features), 1, STRIDES, True
    found = op._backward._backend_fns["cuda"](*arguments)
    close(found, reference.features_gradient(*arguments), 2e-6)


def launches():
    features = [noise(2, 256, *size).contiguous(memory_format=torch.channels_last) for size in ((8, 9), (4, 5))]
    rois, levels = ROIS[:4], torch.zeros(4, dtype=torch.int64)
    pooled = kernel.forward(features, rois, levels, 7, 2, STRIDES[:2], False)
    for deterministic in (False, True):
        kernel.backward(pooled, rois, levels, pyramid_shape(features), 2, STRIDES[:2], False, deterministic)


def test_kernels_compile_for_every_gpu():
    for built in compile_launches(f"{__name__}:launches"):
        assert built.local == 0, built
        assert "ld.global.v4" in built.ptx
        if built.name == "spread_bins" and built.architecture == 90 and "add.u64" not in built.ptx:
            assert "red.global.gpu.relaxed.add.v4.f32" in built.ptx


@pytest.mark.gpu
@LEGACY
@pytest.mark.parametrize("deterministic", [False, True])
def test_ten_thousand_rois_as_on_the_cpu(legacy, deterministic):
    features, rois = pyramid(channels=64), scattered_rois(3, 10_000)
    there = [level.detach().cuda().requires_grad_() for level in features]
    pooled = roi_align(features, rois, bins=7, samples=2, strides=STRIDES, legacy=legacy)
    torch.use_deterministic_algorithms(deterministic)
    try:
        found = roi_align(there, rois.cuda(), bins=7, samples=2, strides=STRIDES, legacy=legacy)
        upstream = noise(*pooled.shape)
        spread = [torch.autograd.grad(found, there, upstream.cuda(), retain_graph=True) for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)
    close([found.cpu()], [pooled], 1e-5)
    close([level.cpu() for level in spread[0]], list(torch.autograd.grad(pooled, features, upstream)), 1e-4)
    if deterministic:
        assert all(torch.equal(one, other) for one, other in zip(*spread, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_errors_are_those_of_rounding(dtype):
    features = [noise(2, 256, *size).to("cuda", dtype) for size in ((200, 200), (100, 100), (50, 50), (25, 25))]
    rois = scattered_rois(5, 1000).cuda()
    levels = roi_levels(rois)
    exact = reference.roi_align([level.double() for level in features], rois, levels, 7, 2, STRIDES, False)
    pooled = kernel.forward(features, rois, levels, 7, 2, STRIDES, False)
    assert ((pooled - exact).abs() <= 1e-4 + torch.finfo(dtype).eps * exact.abs()).all()


@pytest.mark.gpu
def test_maps_beyond_two_billion_numbers():
    features = torch.zeros(1, 3001, 3002, 256, dtype=torch.float16, device="cuda").permute(0, 3, 1, 2)
    features[:, :, -1, -1] = 1
    roi = torch.tensor([[0.0, 3001.0, 3000.0, 3002.0, 3001.0]], device="cuda")
    level = torch.zeros(1, dtype=torch.int64, device="cuda")
    assert (kernel.forward([features], roi, level, 1, 1, [1], False) == 1).all()
    spread = kernel.backward(torch.ones(1, 256, 1, 1, device="cuda"), roi, level, [1, 3001, 3002], 1, [1], False, False)
    assert spread[0].sum() == 256
    assert (spread[0][:, :, -1, -1] == 1).all()
