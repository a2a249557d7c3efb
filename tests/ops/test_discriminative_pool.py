"""Discriminative pooling by hand, against plain torch and by torch's own checks of operators."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2det_ops import discriminative_pool
from d2det_ops.discriminative_pool import loops, reference
from d2det_ops.discriminative_pool.op import _pool, _unpool

SIZES = [(3, 5, 6, 8), (2, 33, 8, 4), (4, 16, 7, 5), (1, 1, 2, 2), (5, 2, 1, 3), (0, 3, 4, 6)]
ORDERS = {"planes": torch.contiguous_format, "cells": torch.channels_last}
BOTH = pytest.mark.parametrize("gate_order", ORDERS)
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def draw(size, order="cells", gate_order="cells", seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    features, gate = (torch.randn(size, generator=generator) for _ in range(2))
    gradient = torch.randn(*size[:2], (size[2] + 1) // 2, (size[3] + 1) // 2, generator=generator)
    features, gate = features.to(memory_format=ORDERS[order]), (spread * gate).to(memory_format=ORDERS[gate_order])
    return features.requires_grad_(), gate.requires_grad_(), gradient


def with_gradients(pool, features, gate, gradient):
    pooled = pool(features, gate)
    return pooled, *torch.autograd.grad(pooled, (features, gate), gradient)


def check(features, gate, gradient, tolerance=1e-5):
    found = with_gradients(discriminative_pool, features, gate, gradient)
    expected = with_gradients(reference.discriminative_pool, features.double(), gate.double(), gradient.double())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=tolerance, rtol=tolerance)


def test_even_weights_give_a_clipped_mean():
    features, _, _ = draw((2, 3, 14, 10))
    pooled = discriminative_pool(features, torch.zeros_like(features))
    assert pooled.shape == (2, 3, 7, 5)
    torch.testing.assert_close(pooled[:, :, 0, 0], features[:, :, :2, :2].mean((2, 3)))
    torch.testing.assert_close(pooled[:, :, 3, 4], features[:, :, 5:8, 7:10].mean((2, 3)))


def test_the_exponent_weighs():
    features, gate = torch.zeros(2, 1, 1, 2, 2)
    features[0, 0, 1, 1], gate[0, 0, 1, 1] = 1.0, 0.3
    weight = math.exp(12 / (1 + math.exp(-0.3)) - 6)
    assert discriminative_pool(features, gate).item() == pytest.approx(weight / (3 + weight), rel=1e-5)


def test_gradients_by_hand():
    features, gate = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 2, requires_grad=True)
    features.data[0, 0, 0, 1] = 4.0  # the mean is 1, weights are 1 and change by 3 w
    discriminative_pool(features, gate).backward(torch.full((1, 1, 1, 1), 8.0))
    assert features.grad.flatten().tolist() == [2.0, 2.0, 2.0, 2.0]
    assert gate.grad.flatten().tolist() == pytest.approx([3 * 2 * (f - 1) for f in (0, 4, 0, 0)])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("order", ORDERS)
@BOTH
def test_equals_the_reference(size, order, gate_order):
    features, gate, gradient = draw(size, order, gate_order)
    check(features, gate, gradient)
    check(features, gate, gradient.to(memory_format=torch.channels_last))


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    order=st.sampled_from(list(ORDERS)),
    gate_order=st.sampled_from(list(ORDERS)),
    spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_equals_the_reference_whatever_the_size(size, order, gate_order, spread, seed):
    check(*draw(size, order, gate_order, seed, spread))


def test_the_written_gradients_are_those_of_autograd():
    features, gate, gradient = (part.detach().double() for part in draw((3, 5, 6, 7)))
    expected = with_gradients(
        reference.discriminative_pool, features.requires_grad_(), gate.requires_grad_(), gradient
    )[1:]
    written = reference.discriminative_pool_backward(gradient, features.detach(), gate.detach())
    torch.testing.assert_close(written, expected)


def test_gradients_match_differences():
    features, gate, _ = draw((2, 3, 4, 6), gate_order="planes")
    doubles = [part.detach().double().requires_grad_() for part in (features, gate)]
    assert torch.autograd.gradcheck(discriminative_pool, doubles)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks there itself
@pytest.mark.parametrize("size", [SIZES[0], SIZES[2], SIZES[4], SIZES[5]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@BOTH
def test_torch_finds_no_fault(size, dtype, gate_order):
    features, gate, gradient = draw(size, gate_order=gate_order)
    features, gradient = features.detach().to(dtype).requires_grad_(), gradient.to(dtype)
    torch.library.opcheck(_pool, (features, gate))
    torch.library.opcheck(_unpool, (gradient, features.detach(), gate.detach()))


@BOTH
def test_compiles_as_one_graph(gate_order):
    features, gate, gradient = draw((3, 5, 6, 8), gate_order=gate_order)
    whole = torch.compile(lambda f, g: 2 * discriminative_pool(f * 3, g.sin()), backend="aot_eager", fullgraph=True)
    compiled = with_gradients(whole, features, gate, gradient)
    eager = with_gradients(lambda f, g: 2 * discriminative_pool(f * 3, g.sin()), features, gate, gradient)
    torch.testing.assert_close(compiled, eager)


@HALVES
@BOTH
def test_half_precision_is_float32_inside(dtype, gate_order):
    features, gate, gradient = (
        part.detach().to(dtype).requires_grad_() for part in draw((3, 5, 6, 8), gate_order=gate_order)
    )
    ours = with_gradients(discriminative_pool, features, gate, gradient)
    exact = with_gradients(reference.discriminative_pool, features.float(), gate.float(), gradient.float())
    for half, full in zip(ours, exact, strict=True):
        assert half.dtype == dtype
        assert (half.float() - full).abs().max() <= torch.finfo(dtype).eps / 2 * full.abs().max()


@HALVES
def test_extreme_gates_overflow_nowhere(dtype):
    features, gate, gradient = (part.detach().to(dtype) for part in draw((2, 3, 6, 8)))
    for extreme in (1e4, -1e4, math.inf, -math.inf):
        gate[:, 1], gate[:, 2, ::2] = extreme, extreme
        ours = with_gradients(discriminative_pool, features.requires_grad_(), gate.clone().requires_grad_(), gradient)
        assert all(bool(part.isfinite().all()) for part in ours)
        assert ours[2][:, 1].abs().max().item() < 1e-15  # saturated


def test_dtypes_may_differ():
    features, gate, gradient = draw((3, 5, 6, 8))
    half = gate.detach().bfloat16().requires_grad_()
    pooled, of_features, of_gate = with_gradients(discriminative_pool, features, half, gradient)
    assert (pooled.dtype, of_features.dtype, of_gate.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    torch.testing.assert_close(pooled, reference.discriminative_pool(features, half))
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminative_pool(features, half).dtype == torch.float32
        assert discriminative_pool(half, features).dtype == torch.bfloat16
    assert discriminative_pool(features, gate.double()).dtype == torch.float32


@pytest.mark.parametrize("order", ORDERS)
def test_memory_formats(order):
    features, gate, gradient = draw((3, 5, 6, 8), "cells", order)
    pooled, of_features, of_gate = with_gradients(discriminative_pool, features, gate, gradient)
    assert pooled.stride() == (60, 1, 20, 5)
    assert of_features.stride() == features.stride()
    assert of_gate.stride() == gate.stride()


def test_tensors_that_are_parts_of_others():
    features, gate, _ = draw((3, 10, 12, 8))
    check(features[:, ::2, ::2], gate[:, 3:8, 6:].flip(0), torch.ones(1, 1, 1, 1).expand(3, 5, 3, 4))


def test_what_is_not_a_number_stays_in_its_windows():
    features, gate, _ = draw((1, 5, 8, 8))
    clean = discriminative_pool(features, gate)
    for part in (features, gate):
        spoilt = part.detach().clone()
        spoilt[0, 2, 3, 4] = torch.nan  # windows (1, 2) and (2, 2)
        pooled = discriminative_pool(*(spoilt if part is other else other for other in (features, gate)))
        assert pooled.isnan().nonzero().tolist() == [[0, 2, 1, 2], [0, 2, 2, 2]]
        assert torch.equal(pooled[:, [0, 1, 3, 4]], clean[:, [0, 1, 3, 4]])


def test_threads_change_nothing():
    features, gate, gradient = draw((7, 33, 6, 8), gate_order="planes")
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 3, 3, 16):
            torch.set_num_threads(count)
            runs.append(with_gradients(discriminative_pool, features, gate, gradient))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for run in runs[1:] for one, other in zip(runs[0], run, strict=True))


def test_weights_are_accurate():
    gate = np.concatenate([np.linspace(-60, 60, 100_001), np.linspace(-3, 3, 100_001)]).astype(np.float32)
    weights, slopes = np.empty_like(gate), np.empty_like(gate)
    loops._weigh_and_differ(gate, weights, slopes)
    share = 1 / (1 + np.exp(-gate.astype(np.float64)))
    exact = np.exp(12 * share - 6)
    assert np.abs(weights / exact - 1).max() <= 1.5e-6
    assert np.abs(slopes - exact * 12 * share * (1 - share)).max() <= 2e-6 * (36 * np.exp(3))
    again = np.empty_like(gate)
    loops._weigh(gate, again)
    np.testing.assert_allclose(again, exact, rtol=1.5e-6)


@pytest.mark.parametrize(
    ("features", "gate", "words"),
    [
        (torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 6), r"alike.*\(2, 3, 4, 4\) and \(2, 3, 4, 6\)"),
        (torch.ones(3, 4, 4), torch.ones(3, 4, 4), "alike"),
        (torch.ones(2, 0, 4, 4), torch.ones(2, 0, 4, 4), "above 0"),
        (torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4, dtype=torch.int64), "floating point.*torch.int64"),
        (torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4, device="meta"), "one device.*cpu and meta"),
    ],
)
def test_what_cannot_be_pooled_is_refused(features, gate, words):
    with pytest.raises(ValueError, match=words):
        discriminative_pool(features, gate)
