"""Deformable RoI pooling over a pyramid: the operator against its reference, arithmetic and other operators."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import deform_roi_pool, roi_align
from d2det_ops.deform_roi_pool import cpu, op, reference
from d2det_ops.pyramid import roi_levels
from d2det_ops.sampling import pyramid_shape
from tests.ops.regions import (
    CHANNELS,
    IMAGES,
    ROIS,
    STRANGE,
    STRIDES,
    close,
    gradients,
    offsets,
    pyramid,
    scattered_rois,
)

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["aligned", "legacy"])
GRIDS = pytest.mark.parametrize(("bins", "samples"), [(3, 1), (7, 2), (2, 3)])


def truth(features, rois, moves, bins, samples, legacy=False):
    levels = roi_levels(rois, len(features))
    return reference.deform_roi_pool(features, rois, levels, moves, bins, samples, STRIDES, legacy)


def pool(features, rois, moves, bins, samples, legacy=False):
    return deform_roi_pool(features, rois, moves, bins=bins, samples=samples, strides=STRIDES, legacy=legacy)


@GRIDS
def test_without_offsets_it_is_roi_align(bins, samples):
    features = pyramid()
    expected = roi_align(features, ROIS, bins=bins, samples=samples, strides=STRIDES)
    for moves in (None, torch.zeros(len(ROIS), 2, bins, bins)):
        assert torch.equal(pool(features, ROIS, moves, bins, samples), expected)


@GRIDS
@LEGACY
@pytest.mark.parametrize("moved", [False, True], ids=["still", "moved"])
def test_it_is_the_reference(bins, samples, legacy, moved):
    features, moves = pyramid(), offsets(bins) if moved else None
    pooled, expected = (function(features, ROIS, moves, bins, samples, legacy) for function in (pool, truth))
    torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)
    assert pooled.stride() == expected.stride()
    inputs = [*features, moves] if moved else features
    close(gradients(pooled, inputs), gradients(expected, inputs), 2e-6)


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
    features, rois = pyramid(seed, channels=channels)[:levels], scattered_rois(seed, count)
    moves = offsets(bins, seed, count=count)
    pooled, expected = (function(features, rois, moves, bins, samples, legacy) for function in (pool, truth))
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)
    close(gradients(pooled, [*features, moves]), gradients(expected, [*features, moves]), 1e-5)


def test_an_offset_moves_a_bin_by_its_share_of_the_roi():
    features = [torch.randn(1, 3, 20, 24)]
    roi, moved = torch.tensor([[0, 16.0, 16.0, 48.0, 40.0]]), torch.tensor([[0, 24.0, 28.0, 56.0, 52.0]])
    moves = torch.zeros(1, 2, 2, 2)
    moves[:, 0], moves[:, 1] = 0.25, 0.5  # 8 px right, 12 px down
    torch.testing.assert_close(pool(features, roi, moves, 2, 2), pool(features, moved, None, 2, 2))


def test_each_bin_has_its_own_offset():
    features, roi = [torch.randn(1, 3, 20, 24)], torch.tensor([[0, 16.0, 16.0, 48.0, 40.0]])
    moves = torch.zeros(1, 2, 3, 3)
    moves[0, 0, 1, 2] = 0.1
    changed = pool(features, roi, moves, 3, 1) != pool(features, roi, None, 3, 1)
    assert changed.any(1)[0].nonzero().tolist() == [[1, 2]]


def test_a_legacy_roi_is_whole_pixels_and_samples_lie_at_the_corners_of_bins():
    ramp = torch.arange(20.0)
    features = [torch.stack([ramp.expand(18, 20), ramp[:18, None].expand(18, 20)])[None]]  # x, y
    rois = torch.tensor([[0, 6.5, 9.4, 14.6, 18.5], [0, 7.0, 9.0, 15.0, 19.0]])  # 7 to 14 and 9 to 18 px, rounded
    pooled = pool(features, rois, None, 2, 1, legacy=True)
    torch.testing.assert_close(pooled[0], pooled[1])
    assert pooled[1, 0, 0].tolist() == [7 / 4 - 0.5, 11 / 4 - 0.5]
    assert pooled[1, 1, :, 0].tolist() == [9 / 4 - 0.5, 14 / 4 - 0.5]


def test_a_legacy_bin_is_the_mean_of_the_samples_that_lie_inside():
    features, roi = [torch.ones(1, 2, 8, 9)], torch.tensor([[0, -8.0, -8.0, 40.0, 36.0]])
    kept = pool(features, roi, None, 6, 3, legacy=True)
    assert set(kept.mul(1e4).round().unique().tolist()) == {0.0, 1e4}
    assert 0 < pool(features, roi, None, 6, 3)[0, 0, 0, 1] < 1


def test_on_the_centre_of_a_cell_a_legacy_offset_has_no_gradient():
    features, roi = [torch.randn(1, 3, 6, 7)], torch.tensor([[0, 6.0, 10.0, 15.0, 19.0]])  # on cell (2, 1)
    for function in (pool, truth):
        moves = torch.zeros(1, 2, 1, 1, requires_grad=True)
        pooled = function(features, roi, moves, 1, 1, True)
        torch.testing.assert_close(pooled[0, :, 0, 0], features[0][0, :, 2, 1])
        pooled.sum().backward()
        assert moves.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    features, moves = pyramid(dtype=dtype), offsets(3, dtype=dtype)
    pooled = pool(features, ROIS, moves, 3, 2)
    whole = [level.detach().float().requires_grad_() for level in [*features, moves]]
    expected = truth(whole[:-1], ROIS, whole[-1], 3, 2)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), expected, atol=4 * torch.finfo(dtype).eps, rtol=0)
    found = gradients(pooled, [*features, moves])
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(dtype).float()
    exact = torch.autograd.grad(expected, whole, upstream)
    assert {one.dtype for one in found} == {dtype}
    close([one.float() for one in found], list(exact), torch.finfo(dtype).eps)


@LEGACY
def test_gradients_match_differences(legacy):
    features = [level.double().detach().requires_grad_() for level in pyramid(channels=2, images=1)[1:]]
    moves, rois = offsets(2, count=5).double().detach().requires_grad_(), scattered_rois(3, 5).double()
    rois[:, 0] = 0

    def check(function):
        def whole(*inputs):
            return function(inputs[:-1], rois, inputs[-1], 2, 2, legacy)

        return torch.autograd.gradcheck(whole, [*features, moves])

    assert check(pool)
    assert check(truth)


@LEGACY
def test_the_adjoint_of_the_reference_is_its_gradient(legacy):
    features, moves, levels = pyramid(), offsets(3), roi_levels(ROIS)
    expected = truth(features, ROIS, moves, 3, 2, legacy)
    upstream, still = torch.randn(expected.shape), moves.detach()
    with torch.no_grad():
        found = reference.features_gradient(upstream, ROIS, levels, still, pyramid_shape(features), 2, STRIDES, legacy)
        found.append(reference.offsets_gradient(upstream, features, ROIS, levels, still, 2, STRIDES, legacy))
    close(found, list(torch.autograd.grad(expected, [*features, moves], upstream)), 2e-6)


@pytest.mark.parametrize(("wanted", "refused"), [("features", "offsets_gradient"), ("moves", "features_gradient")])
def test_a_gradient_nobody_wants_is_not_computed(monkeypatch, wanted, refused):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(cpu, refused, refuse)
    features, moves = pyramid(), offsets(3)
    inputs = features if wanted == "features" else [moves]
    for other in [moves] if wanted == "features" else features:
        other.requires_grad_(False)
    expected = gradients(truth(features, ROIS, moves, 3, 2), inputs)
    close(gradients(pool(features, ROIS, moves, 3, 2), inputs), expected, 2e-6)


def test_what_is_no_number_pools_to_zero_and_learns_nothing():
    features, moves = pyramid(), offsets(3)
    with torch.no_grad():
        moves[0, 0, 1, 1], moves[1, 1, 2, 2] = torch.nan, torch.inf
    for legacy in (False, True):
        for function in (pool, truth):
            pooled = function(features, ROIS, moves, 3, 2, legacy)
            assert pooled.isfinite().all()
            assert pooled[-STRANGE:].abs().max() == 0
            assert pooled[0, :, 1, 1].abs().max() == pooled[1, :, 2, 2].abs().max() == 0
            assert all(one.isfinite().all() for one in gradients(pooled, [*features, moves]))


@pytest.mark.parametrize("count", [0, 1])
def test_few_rois(count):
    features, moves = pyramid(), offsets(3, count=count)
    pooled = pool(features, ROIS[:count], moves, 3, 2)
    assert pooled.shape == (count, CHANNELS, 3, 3)
    expected = truth(features, ROIS[:count], moves, 3, 2)
    close(gradients(pooled, [*features, moves]), gradients(expected, [*features, moves]), 2e-6)


@pytest.mark.parametrize("image", [-1.0, IMAGES])
def test_an_image_beyond_the_batch_is_refused(image):
    rois = ROIS[:2].clone()
    rois[1, 0] = image
    with pytest.raises(ValueError, match=r"of image .* in a batch of 2"):
        pool(pyramid(), rois, None, 2, 1)
    assert truth(pyramid(), rois, None, 2, 1)[1].abs().max() == 0  # where nobody looks


@pytest.mark.parametrize(
    "moves",
    [torch.zeros(len(ROIS), 2, 3, 2), torch.zeros(1, 2, 3, 3), torch.zeros(len(ROIS), 2, 3, 3, dtype=torch.int64)],
)
def test_wrong_offsets_are_refused_in_words(moves):
    with pytest.raises(ValueError, match=r"offsets must be floating \(16, 2, 3, 3\), got"):
        pool(pyramid(), ROIS, moves, 3, 2)


def test_any_number_of_threads_gives_the_same_bytes():
    features, moves, before = pyramid(channels=70), offsets(7), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7, 7):
            torch.set_num_threads(threads)
            pooled = pool(features, ROIS, moves, 7, 2)
            results.append([pooled.detach(), *gradients(pooled, [*features, moves])])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0], strict=True))


@pytest.mark.filterwarnings("ignore:.*")  # of opcheck itself
@pytest.mark.parametrize("count", [len(ROIS), 1, 0])
def test_what_torch_asks_of_an_operator(count):
    features, rois, moves = pyramid(channels=5), ROIS[:count], offsets(3, count=count)
    levels, gradient, still = roi_levels(rois), torch.randn(count, 5, 3, 3), moves.detach()
    torch.library.opcheck(op._deform_roi_pool, (features, rois, levels, moves, 3, 2, STRIDES, False))
    torch.library.opcheck(op._deform_roi_pool, (features, rois, levels, None, 3, 2, STRIDES, True))
    shape, maps = pyramid_shape(features), [level.detach() for level in features]
    torch.library.opcheck(op._backward, (gradient, rois, levels, still, shape, 2, STRIDES, True))
    torch.library.opcheck(op._offsets_backward, (gradient, maps, rois, levels, still, 2, STRIDES, True))


def test_it_compiles_whole():
    features, moves = pyramid(), offsets(3)
    whole = partial(pool, bins=3, samples=2)
    compiled = torch.compile(whole, fullgraph=True, backend="aot_eager")
    found, expected = compiled(features, ROIS, moves), whole(features, ROIS, moves)
    assert torch.equal(found, expected)
    close(gradients(found, [*features, moves]), gradients(expected, [*features, moves]), 0)
