"""RoIAlign over a pyramid: the operator against its reference and torchvision's."""

from functools import partial

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import gather, roi_align
from d2det_ops.pyramid import roi_levels
from d2det_ops.roi_align import cpu, op, reference
from d2det_ops.sampling import pyramid_shape
from tests.ops.regions import CHANNELS, ROIS, STRANGE, STRIDES, close, gradients, pyramid, scattered_rois

KNOWN = ROIS[:-STRANGE]  # torchvision gives something for all others
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["aligned", "legacy"])
GRIDS = pytest.mark.parametrize(("bins", "samples"), [(3, 1), (7, 2), (2, 3)])


def truth(features, rois, bins, samples, legacy=False):
    return reference.roi_align(features, rois, roi_levels(rois, len(features)), bins, samples, STRIDES, legacy)


def by_torchvision(features, rois, bins, samples, legacy):
    """Pool level by level."""
    pooled = torch.zeros(len(rois), features[0].shape[1], bins, bins)
    levels = roi_levels(rois, len(features))
    for level, stride in enumerate(STRIDES):
        rows = (levels == level).nonzero()[:, 0]
        placed = rois[rows]
        if legacy:
            low, high = placed[:, 1:3], placed[:, 3:]
            placed = torch.cat([placed[:, :1], low + stride / 2, torch.maximum(low, high) + stride / 2], 1)
        found = torchvision.ops.roi_align(features[level], placed, bins, 1 / stride, samples, aligned=True)
        pooled = pooled.index_copy(0, rows, found)
    return pooled


@GRIDS
@LEGACY
@pytest.mark.parametrize("rois", [KNOWN, KNOWN[:1], KNOWN[:0]], ids=["many", "one", "none"])
def test_it_is_torchvisions_on_the_level_of_each_roi(bins, samples, legacy, rois):
    features = pyramid()
    pooled = roi_align(features, rois, bins=bins, samples=samples, strides=STRIDES, legacy=legacy)
    expected = by_torchvision(features, rois, bins, samples, legacy)
    torch.testing.assert_close(pooled, expected, atol=2e-5, rtol=0)
    close(gradients(pooled, features), gradients(expected, features), 2e-5)


@GRIDS
@LEGACY
def test_it_is_the_reference(bins, samples, legacy):
    features = pyramid()
    pooled = roi_align(features, ROIS, bins=bins, samples=samples, strides=STRIDES, legacy=legacy)
    expected = truth(features, ROIS, bins, samples, legacy)
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)
    assert pooled.stride() == expected.stride()
    close(gradients(pooled, features), gradients(expected, features), 1e-6)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 30),
    levels=st.integers(1, 4),
    bins=st.integers(1, 8),
    samples=st.integers(1, 4),
    channels=st.integers(1, 40),
    legacy=st.booleans(),
)
def test_it_is_the_reference_wherever_rois_lie(seed, count, levels, bins, samples, channels, legacy):
    features = pyramid(seed, channels=channels)[:levels]
    rois = scattered_rois(seed, count)
    pooled = roi_align(features, rois, bins=bins, samples=samples, strides=STRIDES, legacy=legacy)
    expected = truth(features, rois, bins, samples, legacy)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)
    close(gradients(pooled, features), gradients(expected, features), 1e-5)


@pytest.mark.parametrize("levels", [1, 2, 4, 5])
def test_a_roi_is_pooled_from_its_level_and_from_the_last_if_that_is_missing(levels):
    sizes = [(200, 200), (100, 100), (50, 50), (25, 25), (13, 13)][:levels]
    features = [torch.full((1, 3, *size), float(level)) for level, size in enumerate(sizes)]
    sides = torch.tensor([30.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 780.0])
    rois = torch.stack([torch.zeros(8), sides * 0 + 5, sides * 0 + 6, sides + 5, sides + 6], 1)
    pooled = roi_align(features, rois, bins=2, samples=2, strides=(4, 8, 16, 32, 64))
    expected = [min(level, levels - 1) for level in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert pooled[:, 1, 1, 0].tolist() == expected


def test_levels_begin_a_millionth_early_and_what_is_no_number_has_the_first():
    sides = torch.tensor([111.99, 111.99999, 112.0, 0.0, -5.0, torch.nan, torch.inf])
    rois = torch.stack([torch.zeros(7), torch.zeros(7), torch.zeros(7), sides, sides], 1)
    assert roi_levels(rois).tolist() == [0, 1, 1, 0, 0, 0, 3]
    assert roi_levels(rois, 1).abs().max() == 0


@pytest.mark.parametrize("layout", ["rows and columns", "channels last", "every other column"])
def test_features_may_lie_as_they_like(layout):
    levels = [level.detach() for level in pyramid()]
    match layout:
        case "channels last":
            features = [level.contiguous(memory_format=torch.channels_last) for level in levels]
        case "every other column":
            features = [torch.stack([level, -level], -1).flatten(3)[..., ::2] for level in levels]
        case _:
            features = levels
    expected = truth(levels, ROIS, 3, 2)
    torch.testing.assert_close(roi_align(features, ROIS, bins=3, samples=2, strides=STRIDES), expected)


def test_channels_last_features_are_not_copied():
    last = pyramid()[0].detach().contiguous(memory_format=torch.channels_last)
    assert gather.channels_last(last, torch.float32).ctypes.data == last.data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_float32(dtype):
    features = pyramid(dtype=dtype)
    pooled = roi_align(features, ROIS, bins=3, samples=2, strides=STRIDES)
    whole = [level.detach().float().requires_grad_() for level in features]
    expected = truth(whole, ROIS, 3, 2)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, expected.to(dtype)) or (pooled - expected).abs().max() < 1e-2
    found = gradients(pooled, features)
    assert {level.dtype for level in found} == {dtype}
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(dtype).float()
    exact = torch.autograd.grad(expected, whole, upstream)
    close([level.float() for level in found], list(exact), torch.finfo(dtype).eps)


def test_gradients_match_differences():
    features = [level.double().detach().requires_grad_() for level in pyramid(channels=2, images=1)[1:]]
    rois = scattered_rois(3, 5).double()
    rois[:, 0] = 0
    for legacy in (False, True):
        pool = partial(roi_align, rois=rois, bins=2, samples=2, strides=STRIDES[1:], legacy=legacy)
        assert torch.autograd.gradcheck(lambda *levels, pool=pool: pool(levels), features)
        assert torch.autograd.gradcheck(lambda *levels, legacy=legacy: truth(levels, rois, 2, 2, legacy), features)


def test_the_adjoint_of_the_reference_is_its_gradient():
    features, levels = pyramid(), roi_levels(ROIS)
    expected = truth(features, ROIS, 3, 2, True)
    upstream = torch.randn(expected.shape)
    found = reference.features_gradient(upstream, ROIS, levels, pyramid_shape(features), 2, STRIDES, True)
    close(found, list(torch.autograd.grad(expected, features, upstream)), 1e-6)


def test_a_roi_that_is_no_number_pools_to_zero():
    features = pyramid()
    pooled = roi_align(features, ROIS, bins=3, samples=2, strides=STRIDES)
    assert pooled[-STRANGE:].abs().max() == 0
    assert pooled.isfinite().all()
    assert all(level.isfinite().all() for level in gradients(pooled, features))


def test_features_that_are_no_numbers_spoil_only_what_reads_them():
    features = [level.detach() for level in pyramid()]
    features[0][0, :, :3, :3] = torch.nan
    pooled = roi_align(features, ROIS, bins=3, samples=2, strides=STRIDES)
    assert pooled[0, :, 0, 0].isnan().all()
    assert pooled[[1, 5, 6, 7, 8]].isfinite().all()


def test_no_rois_give_nothing_and_no_gradient():
    features = pyramid()
    pooled = roi_align(features, ROIS[:0], bins=3, samples=2, strides=STRIDES)
    assert pooled.shape == (0, CHANNELS, 3, 3)
    assert all(level.abs().max() == 0 for level in gradients(pooled, features))


@pytest.mark.parametrize("image", [-1.0, 2.0, 1e30, float("nan")])
def test_an_image_beyond_the_batch_is_refused(image):
    rois = ROIS[:2].clone()
    rois[1, 0] = image
    with pytest.raises(ValueError, match=r"of image .* in a batch of 2"):
        roi_align(pyramid(), rois, bins=2, samples=1, strides=STRIDES)
    features, levels = pyramid(), roi_levels(rois)
    for unchecked in (reference.roi_align, cpu.roi_align):  # nothing beyond the batch is read, or written to
        assert unchecked(features, rois, levels, 2, 1, STRIDES, False)[1].abs().max() == 0
    upstream, shape = torch.ones(2, CHANNELS, 2, 2), pyramid_shape(features)
    for unchecked in (reference.features_gradient, cpu.features_gradient):
        first, *others = unchecked(upstream, rois, levels, shape, 1, STRIDES, False)
        assert first[0].sum().item() == pytest.approx(CHANNELS * 4, rel=1e-4)
        assert all(level.abs().max() == 0 for level in [first[1], *others])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rois": ROIS[:, 1:]}, ValueError, r"\[K, 5\]"),
        ({"rois": ROIS.half()}, TypeError, "half precision"),
        ({"features": []}, ValueError, "at least one level"),
        ({"features": [torch.zeros(2, 3, 4)]}, ValueError, r"\[N, C, H, W\]"),
        ({"features": [torch.zeros(2, 3, 4, 5), torch.zeros(1, 3, 2, 3)]}, ValueError, "same N and C"),
        ({"features": [torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 2, 3).double()]}, ValueError, "type or device"),
        ({"features": [torch.zeros(2, 3, 4, 5, dtype=torch.int32)]}, TypeError, "floating"),
        ({"features": [torch.zeros(2, 3, 0, 5)]}, ValueError, r"\[N, C, H, W\]"),
        ({"strides": (4,)}, ValueError, "strides"),
        ({"bins": 0}, ValueError, "bins=0"),
        ({"samples": 0}, ValueError, "samples=0"),
    ],
)
def test_wrong_input_is_refused_in_words(change, error, message):
    arguments = {"features": pyramid(), "rois": ROIS, "bins": 2, "samples": 1, "strides": STRIDES} | change
    with pytest.raises(error, match=message):
        roi_align(**arguments)


def test_any_number_of_threads_gives_the_same_bytes():
    features, before = pyramid(channels=70), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7, 7):
            torch.set_num_threads(threads)
            pooled = roi_align(features, ROIS, bins=7, samples=2, strides=STRIDES)
            results.append([pooled.detach(), *gradients(pooled, features)])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0], strict=True))


@pytest.mark.filterwarnings("ignore:.*")  # of opcheck itself
@pytest.mark.parametrize("count", [len(ROIS), 1, 0])
def test_what_torch_asks_of_an_operator(count):
    features, rois = pyramid(channels=5), ROIS[:count]
    levels = roi_levels(rois)
    torch.library.opcheck(op._roi_align, (features, rois, levels, 3, 2, STRIDES, False))
    gradient = torch.randn(count, 5, 3, 3)
    torch.library.opcheck(op._backward, (gradient, rois, levels, pyramid_shape(features), 2, STRIDES, True))


def test_it_compiles_whole():
    features = pyramid()
    pool = partial(roi_align, bins=3, samples=2, strides=STRIDES)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    found, expected = compiled(features, ROIS), pool(features, ROIS)
    assert torch.equal(found, expected)
    close(gradients(found, features), gradients(expected, features), 0)
